"""Processes that were started earlier: found again by number and start time, so that a number reused since does not count."""

from __future__ import annotations

from pathlib import Path


def remember(path: Path, pid: int) -> None:
    """Write down a process that was just started."""
    path.write_text(f"{pid} {start_time(pid)}", encoding="ascii")


def recorded(path: Path) -> int | None:
    """Return the process that was written down, or None when it has ended."""
    try:
        text, started = path.read_text(encoding="ascii").split()
        pid = int(text)
    except (OSError, ValueError):
        return None
    return pid if start_time(pid) == started else None


def start_time(pid: int) -> str:
    """Return when a process started, in clock ticks since this machine did; empty when it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else fields[19]
