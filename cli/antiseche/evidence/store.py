"""The store: one full snapshot per run in ``runs/<id>/results.json``, each naming the digest of the one before.

Files only. A run cut short leaves no snapshot, or the whole one: the file is renamed into place. Anything else found
under that name is reported by `verify_chain` and never taken for a result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from antiseche.engine.records import Run
from antiseche.evidence.results import Effective, Result
from antiseche.i18n import _
from antiseche.practice.atomic import write_text
from antiseche.practice.folder import PracticeFolder
from antiseche.verify.observation import canonical, leaf_digest

RESULTS_NAME = "results.json"
OBSERVATIONS_NAME = "observations.jsonl"
FIRST = "0" * 64


@dataclass(frozen=True)
class Snapshot:
    """All results of one run, as they were."""

    path: Path
    sha256: str
    data: dict[str, Any] = field(repr=False)

    @property
    def run_id(self) -> str:
        """The run."""
        return str(self.data["run"])

    @property
    def ended(self) -> str:
        """UTC time at which the run ended."""
        return str(self.data["ended"])

    @property
    def results(self) -> dict[tuple[str, str], Result]:
        """Results by host and control."""
        return {
            (entry["host"], entry["control"]): Result(
                entry["host"],
                entry["control"],
                entry["outcome"],
                Effective(entry["effective"]),
                entry["message"],
                tuple(entry["leaves"]),
                entry["waiver"],
            )
            for entry in self.data["results"]
        }


def append(folder: PracticeFolder, run: Run, body: dict[str, Any], observations: list[dict[str, Any]]) -> Snapshot:
    """Write the observations, then the snapshot that commits to them. To be called under the practice's lock."""
    lines = "".join(json.dumps(entry, ensure_ascii=False, sort_keys=True) + "\n" for entry in observations)
    write_text(run.dir / OBSERVATIONS_NAME, lines, mode=0o600)
    last = latest(folder)
    data = {
        "v": 1,
        "run": run.id,
        "prev": last.sha256 if last else FIRST,
        "prev_run": last.run_id if last else None,
        **body,
    }
    text = canonical(data).decode()
    path = run.dir / RESULTS_NAME
    write_text(path, text, mode=0o600)
    return Snapshot(path, hashlib.sha256(text.encode()).hexdigest(), data)


def snapshots(folder: PracticeFolder) -> Iterator[Snapshot]:
    """Yield the snapshots of a practice that can be read, oldest first."""
    yield from snapshots_in(folder.runs_dir)


def snapshots_in(runs_dir: Path) -> Iterator[Snapshot]:
    """Yield the snapshots under a folder of runs, oldest first."""
    for path in _paths(runs_dir):
        snapshot = _read(path)
        if snapshot is not None:
            yield snapshot


def latest(folder: PracticeFolder) -> Snapshot | None:
    """Return the last snapshot that can be read."""
    for path in reversed(_paths(folder.runs_dir)):
        snapshot = _read(path)
        if snapshot is not None:
            return snapshot
    return None


def verify_chain(folder: PracticeFolder) -> list[str]:
    """Return what is wrong with the store, in words; empty when every snapshot follows from the one before."""
    problems: list[str] = []
    previous = FIRST
    for path in _paths(folder.runs_dir):
        snapshot = _read(path)
        if snapshot is None:
            problems.append(_("{path} : illisible ou tronqué").format(path=path))
            continue
        if snapshot.data.get("prev") != previous:
            problems.append(_("{path} : ne suit pas le passage précédent (passage retiré, déplacé ou modifié)").format(path=path))
        problems += _observation_problems(path, snapshot)
        previous = snapshot.sha256
    return problems


def _observation_problems(path: Path, snapshot: Snapshot) -> list[str]:
    """Return the observations that are missing, or are not what was committed to."""
    kept: set[str] = set()
    source = path.parent / OBSERVATIONS_NAME
    problems = []
    try:
        for line in source.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if leaf_digest(entry["salt"], entry["value"]) != entry["leaf"]:
                problems.append(_("{path} : l'observation {leaf} a été modifiée").format(path=source, leaf=entry["leaf"][:12]))
            kept.add(entry["leaf"])
    except (OSError, ValueError, KeyError, TypeError):
        problems.append(_("{path} : illisible ou tronqué").format(path=source))
    wanted = {leaf for entry in snapshot.data["results"] for leaf in entry["leaves"]}
    if wanted - kept:
        problems.append(_("{path} : {n} observations manquent").format(path=source, n=len(wanted - kept)))
    return problems


def _paths(runs_dir: Path) -> list[Path]:
    return sorted(runs_dir.glob(f"*/{RESULTS_NAME}")) if runs_dir.is_dir() else []


def _read(path: Path) -> Snapshot | None:
    try:
        raw = path.read_bytes()
        data = json.loads(raw)
    except (OSError, ValueError):
        return None
    if not isinstance(data, dict) or data.get("v") != 1 or "results" not in data:
        return None
    return Snapshot(path, hashlib.sha256(raw).hexdigest(), data)
