"""Lines that a terminal redraws in place, and plain lines elsewhere."""

from __future__ import annotations

import os
import shutil
import time
from typing import TextIO

_REDRAW_SECONDS = 0.1


class Screen:
    """A stream that shows how long work advances, for as long as somebody is there to see it."""

    def __init__(self, stream: TextIO, lines: int) -> None:
        """Write to a stream; ``lines`` is how many will be redrawn, which must fit on the terminal."""
        self._stream = stream
        self.live = _is_live(stream) and lines < _size(stream).lines - 1
        self._drawn = 0
        self._last = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time to draw again."""
        return time.monotonic() - self._last >= _REDRAW_SECONDS

    def draw(self, lines: list[str]) -> None:
        """Draw lines over the ones drawn before, cut where the terminal ends."""
        columns = max(_size(self._stream).columns, 2)
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self._write(up + "".join(f"\x1b[2K{line[: columns - 1]}\n" for line in lines))
        self._drawn, self._last = len(lines), time.monotonic()

    def say(self, line: str) -> None:
        """Write one plain line."""
        self._write(line + "\n")

    def leave(self) -> None:
        """Draw below from now on: somebody else wrote in between."""
        self._drawn = 0

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            pass  # the terminal is gone: that is no reason to stop half-way


def _is_live(stream: TextIO) -> bool:
    """Say whether lines of this stream can be redrawn."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def _size(stream: TextIO) -> os.terminal_size:
    """Return the size of the terminal that a stream writes to: the standard output may be a file."""
    try:
        return os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return shutil.get_terminal_size()
