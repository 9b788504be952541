"""How long a drift pass takes, and how that compares with a well-known hardening collection.

    make bench                        1, 4 and 16 hosts, and the comparison where the collection is there
    python tests/bench --hosts 1      only what is asked

Wall times depend on the machine and on what else it does: only ratios of runs made in turn mean something. What could
not be measured is reported as "not measured", with the reason, and never as reached.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import collection
import practice
import report
from measure import Cost, cost_of, middle, ratio

from antiseche import i18n
from antiseche.errors import AntisecheError
from antiseche.lab import labs

LAB = "bench"
YARDSTICK_LAB = f"{LAB}-collection"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 4, 16], help="numbers of hosts to measure")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each kind, in turn; medians count")
    parser.add_argument("--system", default="debian13", choices=["debian12", "debian13"])
    parser.add_argument("--no-collection", action="store_true", help="skip the comparison")
    parser.add_argument("--json", type=Path, default=Path("dist/bench.json"), help="where the figures go")
    options = parser.parse_args()
    options.hosts = sorted(set(options.hosts))
    if options.hosts[0] < 1 or options.repeat < 1:
        parser.error("at least one host and one run")
    return options


def say(text: str) -> None:
    """Print a line at once: a bench is long."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Prepare everything, then time runs in turn."""
    figures: dict[str, Any] = {"system": options.system, "drift": [], "collection": None, "reason": "not asked for"}
    where = None
    if not options.no_collection:
        where, figures["reason"] = collection.find()
    bench = practice.start(LAB, options.hosts[-1], options.system, say)
    try:
        figures["drift"] = scale(bench, options.hosts, options.repeat)
        if where is not None:
            yardstick = collection.start(YARDSTICK_LAB, options.system, where, say)
            try:
                figures["collection"] = compare(bench, yardstick, options.repeat)
            finally:
                yardstick.stop()
    finally:
        bench.stop()
    return figures


def scale(bench: practice.Bench, counts: list[int], repeat: int) -> list[dict[str, Any]]:
    """Time passes over growing numbers of hosts, in turn."""
    bench.drift(counts[-1])
    costs: dict[int, list[Cost]] = {count: [] for count in counts}
    tasks = {}
    for number in range(1, repeat + 1):
        for count in counts:
            costs[count].append(cost_of(partial(bench.drift, count), partial(bench.hosts_seconds, count)))
            tasks[count] = bench.tasks()
            say(f"run {number}: drift over {count} hosts, {costs[count][-1].wall:.1f} s")
    base = costs.get(1)
    return [
        {
            "hosts": count,
            **vars(middle(costs[count])),
            "seconds_per_host": middle(costs[count]).wall / count,
            "tasks_per_host": tasks[count],
            "against_one_host": vars(ratio(costs[count], base)) if base else None,
        }
        for count in counts
    ]


def compare(bench: practice.Bench, yardstick: collection.Yardstick, repeat: int) -> dict[str, Any]:
    """Time a pass over one host and the collection on a machine like it, in turn."""
    ours: list[Cost] = []
    theirs: list[Cost] = []
    for number in range(1, repeat + 1):
        ours.append(cost_of(partial(bench.drift, 1), partial(bench.hosts_seconds, 1)))
        theirs.append(cost_of(yardstick.unchanged, yardstick.hosts_seconds))
        say(f"run {number}: drift {ours[-1].wall:.1f} s, devsec.hardening {theirs[-1].wall:.1f} s")
    return {
        **vars(middle(theirs)),
        **vars(yardstick.recap),
        "drift": vars(middle(ours)),
        "ratio": vars(ratio(ours, theirs)),
    }


def main() -> int:
    """Measure, print, and keep the figures; 1 when the goal is missed or a step failed."""
    options = arguments()
    i18n.select("fr")
    try:
        figures = measure(options)
    except (AntisecheError, practice.BenchError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing was measured\n")
        return 130
    finally:
        labs.down(LAB)
        labs.down(YARDSTICK_LAB)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report.rounded(figures), indent=1) + "\n", encoding="utf-8")
    say("\n" + report.table(figures))
    say(report.verdict(figures))
    say(f"figures: {options.json}")
    return 0 if report.reached(figures) is not False else 1


if __name__ == "__main__":
    sys.exit(main())
