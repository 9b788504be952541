from __future__ import annotations

import os
from pathlib import Path

import pytest
from fake_kit import FakeKit


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKit:
    monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", "False")
    monkeypatch.setenv("PATH", os.environ["PATH"])
    return FakeKit(tmp_path)
