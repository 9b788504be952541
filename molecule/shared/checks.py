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
    broken = {name for name in parser.parse_args().expect_fail.split(",") if name}
    ephemeral = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
    targets = [Target(**json.loads(path.read_text(encoding="utf-8"))) for path in sorted(ephemeral.glob("target-*.json"))]
    scenario = os.environ["MOLECULE_SCENARIO_NAME"]
    outcomes = check_targets(targets, () if scenario == "practice" else (scenario,)).outcomes
    findings = read_findings()
    wrong = 0
    for outcome in outcomes:
        # A breakage may trip a neighbouring control too: only the announced ones must fail, and none may end in an error.
        fails = outcome.control in broken or outcome.control in findings
        good = outcome.outcome == "fail" if fails else outcome.outcome in ("pass", "not-applicable")
        if not good and not (broken and outcome.outcome == "fail"):
            wrong += 1
        if outcome.outcome != "pass" or not good:
            mark = "" if good else "!! "
            sys.stdout.write(f"{mark}{outcome.host} {outcome.control} {outcome.outcome}: {outcome.message}\n")
    passed = Counter(outcome.host for outcome in outcomes if outcome.outcome == "pass")
    # Where nothing at all was seen to hold, "not applicable" everywhere is a fault of the scenario; unless all was broken.
    blind = [] if broken else [target.name for target in targets if not passed[target.name]]
    sys.stdout.write(f"controls={len(outcomes)} pass={passed.total()} wrong={wrong} hosts_without_pass={len(blind)}\n")
    return 1 if wrong or blind or not targets else 0


def read_findings() -> set[str]:
    """Return the controls that fail on these machines whatever a deployment does; one that does not is as wrong as any other."""
    path = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "findings.yml"
    return set(yaml.safe_load(path.read_text(encoding="utf-8"))) if path.is_file() else set()


if __name__ == "__main__":
    sys.exit(main())
