"""Fixtures for tests of answers and command lines: French, whatever this machine speaks, and a place for practices."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from antiseche import i18n


@pytest.fixture(autouse=True)
def french(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of this machine's language or settings decides a test."""
    for name in list(os.environ):
        if name.startswith(("LC_", "LANG", "ANTISECHE")):
            monkeypatch.delenv(name)
    i18n.select("fr")
    yield
    i18n.select("fr")


@pytest.fixture
def practices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder of practices, in which the command line works."""
    folder = tmp_path / "cabinets"
    folder.mkdir()
    monkeypatch.setenv("ANTISECHE_PRACTICES", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder
