"""The real command line, and what a folder holds before and after it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from antiseche.app import main


class Said(NamedTuple):
    """What a command line answered."""

    code: int
    out: str
    err: str


def say(capsys: pytest.CaptureFixture[str], *words: str) -> Said:
    """Run a command line in this process."""
    capsys.readouterr()
    code = main(list(words))
    shown = capsys.readouterr()
    return Said(code, shown.out, shown.err)


def spawn(*words: str, stdin: str | None = None, timeout: float = 60, **environ: str) -> Said:
    """Run a command line in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "antiseche", *words],
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **environ},
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def tree(root: Path) -> dict[str, tuple[int, int, bytes | str]]:
    """Return everything under a folder: kind and rights, time of the last change of files, content."""
    found: dict[str, tuple[int, int, bytes | str]] = {}
    for path in sorted([root, *root.rglob("*")]):
        status = path.lstat()
        content: bytes | str = ""
        moment = 0 if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns
        if stat.S_ISLNK(status.st_mode):
            content = str(path.readlink())
        elif stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        found[str(path.relative_to(root))] = (status.st_mode, moment, content)
    return found
