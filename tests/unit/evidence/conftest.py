from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import scene as scenes
from stage import Stage

from antiseche import kit
from antiseche.catalogue import load_catalogue
from antiseche.engine import records


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave flushing out: a killed process loses nothing of what it wrote, only a machine does."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@pytest.fixture
def small_kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "kit"
    scenes.write_kit(root)
    monkeypatch.setattr(kit, "kit_dir", lambda: root)
    monkeypatch.setattr(records, "kit_dir", lambda: root)
    load_catalogue.cache_clear()
    yield root
    load_catalogue.cache_clear()


@pytest.fixture
def scene(small_kit: Path, tmp_path: Path) -> scenes.Scene:
    return scenes.Scene(tmp_path / "tilleuls")


@pytest.fixture
def stage(scene: scenes.Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Stage:
    monkeypatch.setenv("COLUMNS", "80")
    return Stage(scene, monkeypatch, capsys)
