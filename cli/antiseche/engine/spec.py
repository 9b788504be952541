"""What to run: the request that commands hand to an engine."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from antiseche.engine.events import Event
from antiseche.practice.folder import PracticeFolder


@dataclass(frozen=True)
class RunSpec:
    """One pass of a playbook over a practice.

    Attributes:
        folder: the practice.
        kind: what the run is for: ``deploy``, ``plan``, ``drift``, ``fix``...
        playbook: name under the kit's ``playbooks/``, or an absolute path.
        limit: hosts; empty means all.
        roles: roles; empty means all.
        check: predict instead of change.
        diff: keep redacted differences in ``diffs.jsonl``.
        vault_password: of the practice's vaults; kept in memory, handed over on standard input.
        identities: key files that ssh may offer, see `antiseche.engine.identities`; empty leaves it to ssh.
        extra_vars: further variables; never a secret (they are arguments of a process).
        parent: run that this one follows.
    """

    folder: PracticeFolder
    kind: str
    playbook: str = "site.yml"
    limit: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    check: bool = False
    diff: bool = False
    vault_password: bytes | None = field(default=None, repr=False)
    identities: tuple[str, ...] = ()
    extra_vars: Mapping[str, Any] = field(default_factory=dict)
    parent: str | None = None


@dataclass
class Outcome:
    """How the process ended."""

    rc: int | None = None
    interrupted: bool = False


class Engine(Protocol):
    """Runs a request and yields what happens; `outcome` is known when the iteration is over."""

    outcome: Outcome

    def run(self, spec: RunSpec, directory: Path) -> Generator[Event]:
        """Run; files of the run go to ``directory``. Closing the generator ends the run."""
        ...
