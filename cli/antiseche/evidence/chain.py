"""Whether the store still says what was written: changed, removed, moved, or added afterwards.

It proves that nothing changed inside the chain. Whoever may write here could still cut its end with the matching lines
of the register: the digest printed in each report, kept elsewhere, shows that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from antiseche.engine import events
from antiseche.engine.events import EVENTS_NAME
from antiseche.evidence import ledger as register
from antiseche.evidence import store
from antiseche.evidence.ledger import Line
from antiseche.evidence.results import count
from antiseche.evidence.store import OBSERVATIONS_NAME, RESULTS_NAME, Snapshot
from antiseche.i18n import _
from antiseche.practice.folder import PracticeFolder
from antiseche.verify.observation import leaf_digest


def check_register(folder: PracticeFolder) -> list[str]:
    """Return what is wrong with the register and the snapshots it names, in words; reads digests only, so it is quick."""
    ledger = register.read(folder.runs_dir)
    found = register.problems(ledger)
    for line in ledger.lines:
        if store.read_bytes(folder.runs_dir, line) is None:
            path = folder.runs_dir / line.run / RESULTS_NAME
            there = path.exists()
            found.append(
                _("{path} : modifié depuis son écriture").format(path=path)
                if there
                else _("{path} : retiré, ou perdu").format(path=path)
            )
    known = {line.run for line in ledger.lines}
    for path in sorted(folder.runs_dir.glob(f"*/{RESULTS_NAME}")):
        if path.parent.name not in known:
            found.append(_("{path} : absent du registre, donc ajouté après coup").format(path=path))
    return found


def check_store(folder: PracticeFolder) -> list[str]:
    """Return everything that is wrong: the register, each snapshot, its observations, the events of deployments."""
    found = check_register(folder)
    leaves: dict[str, set[str]] = {}
    for line in register.read(folder.runs_dir).lines:
        if store.read_bytes(folder.runs_dir, line) is None:
            continue
        snapshot = store.read(folder.runs_dir, line)
        if snapshot is None:
            found.append(_("{run} : résultats illisibles").format(run=line.run))
            continue
        found += _content_problems(line, snapshot)
        found += _observation_problems(snapshot, leaves)
        found += _deployment_problems(folder.runs_dir, snapshot)
    return found


def _content_problems(line: Line, snapshot: Snapshot) -> Iterator[str]:
    deployments = [deployment["run"] for deployment in snapshot.data["deployments"]]
    if (snapshot.data["run"], snapshot.data["prev"], deployments) != (line.run, line.prev, line.deployments):
        yield _("{run} : le registre et les résultats ne disent pas la même chose").format(run=line.run)
    if snapshot.data["counts"] != count(snapshot.entries):
        yield _("{run} : le décompte n'est pas celui des résultats").format(run=line.run)
    if any(entry.outcome == "pass" and not entry.leaves for entry in snapshot.entries):
        yield _("{run} : un contrôle conforme sans observation").format(run=line.run)


def _observation_problems(snapshot: Snapshot, leaves: dict[str, set[str]]) -> Iterator[str]:
    """Yield the observations that are missing, changed, or that no result rests on."""
    path = snapshot.path.parent / OBSERVATIONS_NAME
    kept: set[str] = set()
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")  # other line ends may be inside a value
    except (OSError, UnicodeDecodeError):
        yield _("{path} : illisible").format(path=path)
        lines = []
    for number, line in enumerate(filter(None, lines), 1):
        leaf = _leaf(line)
        if leaf is None:
            yield _("{path}, ligne {n} : observation modifiée ou tronquée").format(path=path, n=number)
        else:
            kept.add(leaf)
    leaves[snapshot.run_id] = kept
    wanted = {leaf for entry in snapshot.entries if entry.run == snapshot.run_id for leaf in entry.leaves}
    if wanted - kept:
        yield _("{path} : {n} observations manquent").format(path=path, n=len(wanted - kept))
    if kept - wanted:
        yield _("{path} : {n} observations ajoutées après coup").format(path=path, n=len(kept - wanted))
    earlier = {entry.run for entry in snapshot.entries if entry.run and entry.run != snapshot.run_id}
    for run in sorted(earlier - leaves.keys()):
        yield _("{run} s'appuie sur {other}, qui n'est plus là").format(run=snapshot.run_id, other=run)


def _leaf(line: str) -> str | None:
    """Return the digest of an observation, or None when it is not what was committed to."""
    try:
        entry = json.loads(line)
        leaf = str(entry["leaf"])
        return leaf if leaf_digest(entry["salt"], entry["value"]) == leaf else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _deployment_problems(runs_dir: Path, snapshot: Snapshot) -> Iterator[str]:
    """Yield the deployments whose events are no longer those that were accounted for."""
    for deployment in snapshot.data["deployments"]:
        path = runs_dir / str(deployment["run"]) / EVENTS_NAME
        try:
            same = events.sha256(path) == deployment["events_sha256"]
        except OSError:
            same = False
        if not same:
            yield _("{path} : modifié ou retiré").format(path=path)
