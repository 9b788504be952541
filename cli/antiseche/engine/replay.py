"""An engine that replays a recorded event file: displays and summaries without Ansible."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path

from antiseche.engine.events import Event, read_events
from antiseche.engine.spec import Outcome, RunSpec


class ReplayEngine:
    """Yields recorded events; for tests."""

    def __init__(self, recorded: Path | Iterable[Event], *, rc: int = 0, interrupted: bool = False) -> None:
        self._recorded = recorded
        self._end = Outcome(rc, interrupted)
        self.outcome = Outcome()
        self.specs: list[RunSpec] = []

    def run(self, spec: RunSpec, directory: Path) -> Generator[Event]:
        """Yield the recorded events; nothing is written."""
        del directory
        self.specs.append(spec)
        yield from read_events(self._recorded) if isinstance(self._recorded, Path) else self._recorded
        self.outcome = self._end
