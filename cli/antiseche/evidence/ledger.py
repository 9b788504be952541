"""The register of a practice's runs: ``runs/chain.jsonl``, one line per snapshot in the order in which they were written.

Each line names the digest of its snapshot and of the one before. The line is written before the snapshot takes its
name: a snapshot that the register does not know was added by somebody else, and one that it knows must be there.
Order never depends on clocks or names.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from antiseche.i18n import _
from antiseche.practice.atomic import explained, write_text

LEDGER_NAME = "chain.jsonl"
FIRST = "0" * 64
_RUN_ID = r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}"


class Line(BaseModel):
    """One snapshot.

    Attributes:
        run: the run, which is also its folder.
        sha256: digest of its ``results.json``.
        prev: digest of the snapshot before; `FIRST` for the first one.
        deployments: runs that changed hosts since the snapshot before.
        relisted: listed again from the snapshots themselves, because the register was missing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    v: int = Field(1, ge=1, le=1)
    run: str = Field(pattern=rf"^{_RUN_ID}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    prev: str = Field(pattern=r"^[0-9a-f]{64}$")
    deployments: list[str] = []
    relisted: bool = False


@dataclass(frozen=True)
class Ledger:
    """The register as it is on disk. ``damaged`` numbers the lines that cannot be read, from 1."""

    path: Path
    text: str = field(default="", repr=False)
    lines: tuple[Line, ...] = ()
    damaged: tuple[int, ...] = ()

    @property
    def head(self) -> str:
        """Digest that the next snapshot names as the one before."""
        return self.lines[-1].sha256 if self.lines else FIRST

    @property
    def deployments(self) -> set[str]:
        """Runs that changed hosts and are accounted for."""
        return {run for line in self.lines for run in line.deployments}

    def deployments_after(self, run: str) -> set[str]:
        """Return the accounted runs that changed hosts after this snapshot was taken."""
        position = next((n for n, line in enumerate(self.lines) if line.run == run), len(self.lines))
        return {deployment for line in self.lines[position + 1 :] for deployment in line.deployments}


def read(runs_dir: Path) -> Ledger:
    """Read the register; an absent one is empty.

    Raises:
        AntisecheError: it is there and the system refuses to read it.
    """
    path = runs_dir / LEDGER_NAME
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return Ledger(path)
    except OSError as error:
        raise explained(error, path) from None
    lines, damaged = [], []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            lines.append(Line.model_validate_json(line))
        except ValidationError:
            damaged.append(number)
    return Ledger(path, text, tuple(lines), tuple(damaged))


def add(ledger: Ledger, *lines: Line) -> Ledger:
    """Append lines; what was there before keeps its bytes, and a failure leaves the old register.

    Raises:
        AntisecheError: the disk refuses.
    """
    text = ledger.text if not ledger.text or ledger.text.endswith("\n") else ledger.text + "\n"
    text += "".join(json.dumps(line.model_dump(), sort_keys=True, separators=(",", ":")) + "\n" for line in lines)
    write_text(ledger.path, text, mode=0o600)
    return Ledger(ledger.path, text, (*ledger.lines, *lines), ledger.damaged)


def problems(ledger: Ledger) -> list[str]:
    """Return what is wrong with the register itself, in words."""
    found = [_("{path}, ligne {n} : illisible").format(path=ledger.path, n=number) for number in ledger.damaged]
    previous, seen = FIRST, set()
    for line in ledger.lines:
        if line.run in seen:
            found.append(_("{run} : inscrit deux fois au registre").format(run=line.run))
        elif line.prev != previous:
            found.append(_("{run} : ne suit pas le passage précédent (ligne retirée, ajoutée ou déplacée)").format(run=line.run))
        seen.add(line.run)
        previous = line.sha256
    again = sum(line.relisted for line in ledger.lines)
    if again:
        found.append(
            _("le registre avait disparu : {n} passages y ont été réinscrits, d'autres ont pu être retirés").format(n=again)
        )
    return found


def valid_run(name: str) -> bool:
    """Say whether a folder may be that of a run."""
    return re.fullmatch(_RUN_ID, name) is not None
