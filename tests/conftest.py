"""What every test relies on, however the tests were started."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Hear Ctrl-C: a shell makes its background jobs deaf to it, and with them every program that a test interrupts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
