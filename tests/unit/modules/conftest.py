"""Our module_utils where the modules look for them, and a machine without a systemd of its own."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils
import pytest
from module_process import PLUGINS, FakeCommands

ansible.module_utils.__path__.append(str(PLUGINS / "module_utils"))


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCommands:
    """Fake commands in front of the machine's; each notes how it was called."""
    return FakeCommands(tmp_path / "fake-commands", monkeypatch)
