"""Runs the checks of the scenario's role, or all of them, on its machines: the same way as ``antiseche verify``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path

import yaml

from antiseche.verify.run import check_targets
from antiseche.verify.target import Target


def main() -> int:
    """Print each outcome that is not a pass; the exit code says whether all is as expected."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--expect-fail", default="", help="controls that must fail on every machine")
    parser.add_argument("--expect-fail-on", default="", help="controls that must fail on one machine: CONTROL@MACHINE")
    options = parser.parse_args()
    broken = {name for name in options.expect_fail.split(",") if name}
    broken_there = {name for name in options.expect_fail_on.split(",") if name}
    everything = broken | broken_there
    # What the scenario's machines cannot make true must fail there, always.
    lacking = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "lacking.yml"
    known = yaml.safe_load(lacking.read_text(encoding="utf-8")) if lacking.is_file() else []
    broken_there |= {f"{one['control']}@{one['machine']}" for one in known}
    ephemeral = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
    targets = [Target(**json.loads(path.read_text(encoding="utf-8"))) for path in sorted(ephemeral.glob("target-*.json"))]
    scenario = os.environ["MOLECULE_SCENARIO_NAME"]
    outcomes = check_targets(targets, () if scenario == "practice" else (scenario,)).outcomes
    wrong = 0
    for outcome in outcomes:
        # A breakage may trip a neighbouring control too: only the announced ones must fail, and none may end in an error.
        announced = outcome.control in broken or f"{outcome.control}@{outcome.host}" in broken_there
        good = outcome.outcome == "fail" if announced else outcome.outcome in ("pass", "not-applicable")
        if not good and not (everything and outcome.outcome == "fail"):
            wrong += 1
        if outcome.outcome != "pass" or not good:
            mark = "" if good else "!! "
            sys.stdout.write(f"{mark}{outcome.host} {outcome.control} {outcome.outcome}: {outcome.message}\n")
    passed = Counter(outcome.host for outcome in outcomes if outcome.outcome == "pass")
    # Where nothing at all was seen to hold, "not applicable" everywhere is a fault of the scenario; unless all was broken.
    blind = [] if everything else [target.name for target in targets if not passed[target.name]]
    sys.stdout.write(f"controls={len(outcomes)} pass={passed.total()} wrong={wrong} hosts_without_pass={len(blind)}\n")
    return 1 if wrong or blind or not targets else 0


if __name__ == "__main__":
    sys.exit(main())
