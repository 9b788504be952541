"""Somebody who types answers: through standard input in this process, or at a real terminal."""

from __future__ import annotations

import io
import sys

import pytest
from command_line import Said, say


class Closed(io.StringIO):
    """Standard input that holds some lines and then ends; it has no descriptor, like a stand-in."""


def type_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lines: list[str], *words: str) -> Said:
    """Run a command line in this process and answer its questions with these lines."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", Closed("".join(line + "\n" for line in lines)))
        return say(capsys, *words)
