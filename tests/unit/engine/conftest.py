from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_kit import FakeKit

from antiseche import i18n


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKit:
    monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", "False")
    monkeypatch.setenv("PATH", os.environ["PATH"])
    return FakeKit(tmp_path)


@pytest.fixture
def in_french() -> Iterator[None]:
    """Read as a French reader does, and leave the language as it was."""
    before = i18n.language()
    i18n.select("fr")
    yield
    i18n.select(before)
