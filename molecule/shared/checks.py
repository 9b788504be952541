"""Runs the checks of the scenario's role, or all of them, on its machines: the same way as ``antiseche verify``."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import sys
from collections import Counter
from pathlib import Path

import yaml

from antiseche.catalogue import Repair, load_catalogue
from antiseche.evidence.results import covers
from antiseche.practice.answers import load_answers
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Waiver
from antiseche.verify.run import check_targets
from antiseche.verify.target import Target


def kept_waivers() -> list[Waiver]:
    """Return the example's waivers of what only a hand can repair.

    What the kit deploys must hold on fresh machines, waived or not.
    """
    by_hand = {control.id for control in load_catalogue() if control.repair is Repair.HAND}
    answers = load_answers(PracticeFolder(Path(os.environ["ANTISECHE_PRACTICE"])))
    return [waiver for waiver in answers.waivers if waiver.control in by_hand]


def lacking() -> set[str]:
    """Return what these machines cannot make true, as ``CONTROL`` or ``CONTROL@MACHINE``: it fails there, always."""
    path = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "lacking.yml"
    listed = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else []
    return {"@".join(filter(None, (one["control"], one.get("machine")))) for one in listed}


def main() -> int:
    """Print each outcome that is not a pass; the exit code says whether all is as expected."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--expect-fail", default="", help="controls that must fail, on every machine or on CONTROL@MACHINE")
    broken = {name for name in parser.parse_args().expect_fail.split(",") if name}
    announced = broken | lacking()
    ephemeral = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
    targets = [Target(**json.loads(path.read_text(encoding="utf-8"))) for path in sorted(ephemeral.glob("target-*.json"))]
    scenario = os.environ["MOLECULE_SCENARIO_NAME"]
    outcomes = check_targets(targets, () if scenario == "practice" else (scenario,)).outcomes
    waivers = kept_waivers() if scenario == "practice" else []
    now = dt.datetime.now(dt.UTC)
    wrong = waived = 0
    for outcome in outcomes:
        # A breakage may trip a neighbouring control too: only the announced ones must fail, and none may end in an error.
        fails = bool({outcome.control, f"{outcome.control}@{outcome.host}"} & announced)
        good = outcome.outcome == "fail" if fails else outcome.outcome in ("pass", "not-applicable")
        if not good and outcome.outcome == "fail" and any(covers(w, outcome.host, outcome.control, now) for w in waivers):
            waived += 1
            good = True
        if not good and not (broken and outcome.outcome == "fail"):
            wrong += 1
        if outcome.outcome != "pass" or not good:
            mark = "" if good else "!! "
            sys.stdout.write(f"{mark}{outcome.host} {outcome.control} {outcome.outcome}: {outcome.message}\n")
    passed = Counter(outcome.host for outcome in outcomes if outcome.outcome == "pass")
    # Where nothing at all was seen to hold, "not applicable" everywhere is a fault of the scenario; unless all was broken.
    blind = [] if broken else [target.name for target in targets if not passed[target.name]]
    sys.stdout.write(
        f"controls={len(outcomes)} pass={passed.total()} waived={waived} wrong={wrong} hosts_without_pass={len(blind)}\n"
    )
    return 1 if wrong or blind or not targets else 0


if __name__ == "__main__":
    sys.exit(main())
