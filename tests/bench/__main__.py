"""How long a drift pass takes, and how that compares with a well-known hardening collection.

    make bench                        1, 4 and 16 hosts, and the comparison where the collection is there
    python tests/bench --hosts 1      only what is asked

Wall times depend on the machine: only ratios within one session mean something. What could not be
measured is reported as "not measured", with the reason, and never as passed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import collection
import practice

from antiseche import i18n
from antiseche.errors import AntisecheError
from antiseche.lab import labs

GOAL = 0.1
LAB = "bench"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 4, 16], help="numbers of hosts to measure")
    parser.add_argument("--repeat", type=int, default=3, help="passes per number of hosts; the median counts")
    parser.add_argument("--system", default="debian13", choices=["debian12", "debian13"])
    parser.add_argument("--no-collection", action="store_true", help="skip the comparison")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args()


def say(text: str) -> None:
    """Print a line at once: a bench is long."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Deploy the practice once, time its drift passes, then the collection on a machine of its own."""
    figures: dict[str, Any] = {"drift": [], "collection": None, "reason": None, "ratio": None}
    bench = practice.start(LAB, max(options.hosts), options.system, say)
    try:
        for count in sorted(options.hosts):
            row = bench.drift(count, options.repeat)
            figures["drift"].append(row)
            say(
                "hosts={hosts} seconds={seconds} seconds_per_host={seconds_per_host} tasks_per_host={tasks_per_host}".format(
                    **row
                )
            )
    finally:
        bench.stop()
    if options.no_collection:
        figures["reason"] = "not asked for"
        return figures
    where, figures["reason"] = collection.find()
    if where is not None:
        figures["collection"] = collection.measure(f"{LAB}-collection", options.system, where, say)
        single = next((row for row in figures["drift"] if row["hosts"] == 1), None)
        if single is not None:
            figures["ratio"] = round(single["seconds"] / figures["collection"]["seconds"], 3)
    return figures


def report(figures: dict[str, Any]) -> int:
    """Print the ratios; 1 when the goal is missed."""
    by_count = {row["hosts"]: row["seconds"] for row in figures["drift"]}
    for count, seconds in by_count.items():
        if count > 1 and 1 in by_count:
            ratio = round(seconds / by_count[1], 2)
            say(f"drift over {count} hosts / drift over 1 host: {ratio}")
    if figures["collection"] is None:
        say(f"devsec.hardening: not measured ({figures['reason']})")
        return 0
    row = figures["collection"]
    say("devsec.hardening, second run: seconds={seconds} tasks={tasks} executed={executed} changed={changed}".format(**row))
    if figures["ratio"] is None:
        say("ratio: not measured (no pass over one host was asked for)")
        return 0
    verdict = "ok" if figures["ratio"] <= GOAL else "missed"
    say(f"drift over 1 host / devsec.hardening second run: {figures['ratio']} (goal {GOAL}): {verdict}")
    return 0 if verdict == "ok" else 1


def main() -> int:
    """Measure, print, and keep the figures."""
    options = arguments()
    i18n.select("fr")
    try:
        figures = measure(options)
    except (AntisecheError, practice.BenchError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        labs.down(LAB)
        labs.down(f"{LAB}-collection")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return report(figures)


if __name__ == "__main__":
    sys.exit(main())
