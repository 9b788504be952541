"""What is printed and kept of a bench."""

from __future__ import annotations

from typing import Any

GOAL = 0.1
"""Wall time of a drift pass over one host, against an unchanged run of the collection."""

COLUMNS = ("", "seconds", "per host", "controller CPU", "hosts' CPU", "tasks per host", "against 1 host")


def table(figures: dict[str, Any]) -> str:
    """Return one line per number of hosts, and one for the collection."""
    rows: list[tuple[str, ...]] = [COLUMNS]
    for row in figures["drift"]:
        against = row["against_one_host"]
        rows.append(
            (
                f"drift, {row['hosts']} {'host' if row['hosts'] == 1 else 'hosts'}",
                *(f"{row[name]:.1f}" for name in ("wall", "seconds_per_host", "controller", "hosts_cpu")),
                str(row["tasks_per_host"]),
                f"{against['wall']:.2f}" if against else "not measured",
            )
        )
    theirs = figures["collection"]
    if theirs:
        seconds = f"{theirs['wall']:.1f}"
        costs = (seconds, seconds, f"{theirs['controller']:.1f}", f"{theirs['hosts_cpu']:.1f}")
        rows.append(("devsec.hardening, 1 host", *costs, str(theirs["executed"]), ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    first, *others = widths
    return "\n".join(
        "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, others, strict=True))])
        for name, *cells in rows
    )


def verdict(figures: dict[str, Any]) -> str:
    """Return the comparison in one line, or why there is none."""
    theirs = figures["collection"]
    if theirs is None:
        return f"drift, 1 host / devsec.hardening, 1 host: not measured ({figures['reason']})"
    ratio = theirs["ratio"]
    return (
        f"drift, 1 host / devsec.hardening, 1 host: {ratio['wall']:.3f} of its time (goal {GOAL}:"
        f" {'reached' if reached(figures) else 'missed'}), {ratio['controller']:.3f} of its controller CPU,"
        f" {ratio['hosts_cpu']:.3f} of its host CPU"
    )


def reached(figures: dict[str, Any]) -> bool | None:
    """Say whether the goal is reached; None when it was not measured."""
    theirs = figures["collection"]
    return None if theirs is None else bool(theirs["ratio"]["wall"] <= GOAL)


def rounded(value: Any) -> Any:
    """Return the figures with no more digits than they are worth."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, 3) if isinstance(value, float) else value
