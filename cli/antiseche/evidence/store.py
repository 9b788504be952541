"""The store: one full snapshot per run in ``runs/<id>/results.json``, each naming the digest of the one before.

Files only. A run cut short leaves no snapshot, or the whole one. A snapshot counts only when its bytes are those that
the register (`ledger`) names; anything else under that name is reported by `chain` and never taken for a result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from antiseche.engine.records import Run
from antiseche.evidence import ledger as register
from antiseche.evidence.ledger import FIRST, Ledger, Line
from antiseche.evidence.results import Result
from antiseche.practice.atomic import explained, write_text
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Waiver
from antiseche.practice.staging import sync_directory
from antiseche.verify.observation import canonical

RESULTS_NAME = "results.json"
OBSERVATIONS_NAME = "observations.jsonl"
_STAGED_NAME = "results.json.new"


class Scope(BaseModel):
    """What a run looked at: hosts of the practice, those asked for, reached, not reached and why; roles (empty: all)."""

    hosts: list[str]
    expected: list[str]
    reached: list[str]
    unreachable: dict[str, str]
    roles: list[str]


class Deployment(BaseModel):
    """A run that changed hosts, and the digest of its events."""

    run: str
    kind: str
    events_sha256: str | None


class _Body(BaseModel):
    """What a snapshot must hold to be one; ``results`` are read apart."""

    model_config = ConfigDict(extra="allow")

    v: Literal[1]
    run: str
    prev: str = Field(pattern=r"^[0-9a-f]{64}$")
    kind: str
    parent: str | None
    operator: str
    started: AwareDatetime
    ended: AwareDatetime
    rehearsal: bool
    provenance: dict[str, Any]
    scope: Scope
    skew_seconds: dict[str, int]
    deployments: list[Deployment]
    waivers: list[Waiver]
    counts: dict[str, int]


_RESULTS = TypeAdapter(list[Result])
_TIMES = TypeAdapter(list[AwareDatetime])


@dataclass(frozen=True)
class Snapshot:
    """The state of the whole practice as one run left it."""

    path: Path
    sha256: str
    data: dict[str, Any] = field(repr=False)
    entries: tuple[Result, ...] = field(repr=False)

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
        return {result.key: result for result in self.entries}


def append(
    folder: PracticeFolder, run: Run, body: dict[str, Any], results: list[Result], observations: list[dict[str, Any]]
) -> Snapshot:
    """Write the observations, then the snapshot that commits to them. To be called under the practice's lock.

    The register is written between the snapshot's bytes and its name: killed at any moment, the run has left either
    nothing that counts or all of it.

    Raises:
        AntisecheError: the disk refuses; nothing of this run counts.
    """
    ledger = recovered(folder.runs_dir)
    own = {leaf for result in results if result.run == run.id for leaf in result.leaves}
    lines = [json.dumps(entry, ensure_ascii=False, sort_keys=True) for entry in observations if entry["leaf"] in own]
    write_text(run.dir / OBSERVATIONS_NAME, "".join(line + "\n" for line in lines), mode=0o600)
    data = {"v": 1, "run": run.id, "prev": ledger.head, **body, "results": [result.as_json() for result in results]}
    text = canonical(data).decode()
    digest = hashlib.sha256(text.encode()).hexdigest()
    write_text(run.dir / _STAGED_NAME, text, mode=0o600)
    deployments = [str(deployment["run"]) for deployment in body["deployments"]]
    register.add(ledger, Line(run=run.id, sha256=digest, prev=ledger.head, deployments=deployments))
    _name(run.dir)
    return Snapshot(run.dir / RESULTS_NAME, digest, data, tuple(results))


def recovered(runs_dir: Path) -> Ledger:
    """Return the register, after finishing what a killed command had begun. To be called under the practice's lock."""
    ledger = register.read(runs_dir)
    if ledger.lines:
        last = runs_dir / ledger.lines[-1].run
        if not (last / RESULTS_NAME).exists() and _digest(last / _STAGED_NAME) == ledger.head:
            _name(last)
        return ledger
    found = {path.parent.name: path for path in runs_dir.glob(f"*/{RESULTS_NAME}") if register.valid_run(path.parent.name)}
    return register.add(ledger, *_relisted(found)) if found else ledger


def snapshots(folder: PracticeFolder) -> Iterator[Snapshot]:
    """Yield the snapshots of a practice that the register vouches for, oldest first."""
    for line in register.read(folder.runs_dir).lines:
        snapshot = read(folder.runs_dir, line)
        if snapshot is not None:
            yield snapshot


def latest(folder: PracticeFolder) -> Snapshot | None:
    """Return the last snapshot that the register vouches for."""
    found = (read(folder.runs_dir, line) for line in reversed(register.read(folder.runs_dir).lines))
    return next((snapshot for snapshot in found if snapshot is not None), None)


def read(runs_dir: Path, line: Line) -> Snapshot | None:
    """Read the snapshot of a line; None when it is not there, or not what the register says."""
    found = read_bytes(runs_dir, line)
    return _parsed(*found, line.sha256) if found else None


def read_bytes(runs_dir: Path, line: Line) -> tuple[Path, bytes] | None:
    """Return where the snapshot of a line is and its bytes, if they are those that the register names.

    Between the register and the snapshot's name there is one step: whoever reads then finds the staged file.
    """
    for name in (RESULTS_NAME, _STAGED_NAME):
        path = runs_dir / line.run / name
        try:
            raw = path.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(raw).hexdigest() == line.sha256:
            return path, raw
    return None


def _parsed(path: Path, raw: bytes, digest: str) -> Snapshot | None:
    try:
        data = json.loads(raw)
        _Body.model_validate(data)
        entries = tuple(_RESULTS.validate_python(data.get("results")))
        _TIMES.validate_python([entry.at for entry in entries if entry.at])
    except (ValueError, ValidationError, RecursionError):
        return None
    return Snapshot(path, digest, data, entries)


def _relisted(found: dict[str, Path]) -> list[Line]:
    """Return lines for snapshots that no register names: along their own links, then by name."""
    by_prev: dict[str, list[Line]] = {}
    for run, path in sorted(found.items()):
        raw = path.read_bytes()
        snapshot = _parsed(path, raw, hashlib.sha256(raw).hexdigest())
        if snapshot is not None:
            deployments = [str(deployment["run"]) for deployment in snapshot.data["deployments"]]
            line = Line(
                run=run,
                sha256=snapshot.sha256,
                prev=str(snapshot.data["prev"]),
                deployments=deployments,
                relisted=True,
            )
            by_prev.setdefault(line.prev, []).append(line)
    lines: list[Line] = []
    head = FIRST
    while by_prev:
        following = by_prev.get(head) or min(by_prev.values(), key=lambda group: group[0].run)
        line = following.pop(0)
        by_prev = {prev: group for prev, group in by_prev.items() if group}
        lines.append(line)
        head = line.sha256
    return lines


def _name(directory: Path) -> None:
    try:
        (directory / _STAGED_NAME).replace(directory / RESULTS_NAME)
        sync_directory(directory)
    except OSError as error:
        raise explained(error, directory / RESULTS_NAME) from None


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
