"""Compares two event files: what check mode announced, and what the deployment then did."""

from __future__ import annotations

import sys
from pathlib import Path

from antiseche.engine.events import read_events
from antiseche.engine.summary import RunSummary, compare, summarize


def roles_only(path: Path) -> RunSummary:
    """Fold the events of roles; Molecule's own plays write to the same file."""
    return summarize(event for event in read_events(path) if event.role or event.event == "stats")


def main() -> int:
    """Print each difference; the exit code says whether there is one."""
    predicted, done = (roles_only(Path(name)) for name in sys.argv[1:3])
    difference = compare(predicted, done)
    for title, lines in (("announced, not done", difference.only_predicted), ("done, not announced", difference.only_done)):
        for line in sorted(lines):
            sys.stdout.write(f"{title}: {' | '.join(line)}\n")
    if not predicted.changes():
        sys.stdout.write("check mode announced nothing at all\n")
        return 1
    sys.stdout.write(f"announced={len(predicted.changes())} done={len(done.changes())}\n")
    return 1 if difference.only_predicted or difference.only_done else 0


if __name__ == "__main__":
    sys.exit(main())
