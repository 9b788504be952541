"""The benchmark's figures: what may be said of runs made in turn, and what must not."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

import collection
import measure
import report
from measure import Cost

SECONDS = st.floats(min_value=0.1, max_value=1000)
ROW = {"hosts": 1, "wall": 8.0, "seconds_per_host": 8.0, "controller": 4.0, "hosts_cpu": 3.0, "tasks_per_host": 30}


def figures(wall=None, reason="not asked for", **row):
    row = {**ROW, "against_one_host": {"wall": 1.0, "controller": 1.0, "hosts_cpu": 1.0}, **row}
    found = {"drift": [row], "collection": None, "reason": reason}
    if wall is not None:
        ratio = {"wall": wall, "controller": 0.2, "hosts_cpu": 0.05}
        found["collection"] = {"wall": 100.0, "controller": 29.0, "hosts_cpu": 80.0, "executed": 135, "ratio": ratio}
    return found


@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=9), st.floats(min_value=0.1, max_value=10))
def test_a_load_that_weighs_on_both_runs_of_a_pair_changes_no_ratio(pairs, load):
    ours = [Cost(a, a, a) for a, _b in pairs]
    theirs = [Cost(b, b, b) for _a, b in pairs]
    slowed = (
        [Cost(c.wall * load, c.controller, c.hosts_cpu) for c in ours],
        [Cost(c.wall * load, c.controller, c.hosts_cpu) for c in theirs],
    )
    assert measure.ratio(*slowed).wall == pytest.approx(measure.ratio(ours, theirs).wall)


def test_one_slow_run_does_not_decide():
    ours = [Cost(8, 4, 3), Cost(80, 4, 3), Cost(8, 4, 3)]
    assert measure.ratio(ours, [Cost(100, 29, 80)] * 3).wall == pytest.approx(0.08)


def test_runs_without_their_counterpart_are_refused():
    with pytest.raises(ValueError, match="zip"):
        measure.ratio([Cost(1, 1, 1)], [])


def test_a_cost_counts_the_children_and_the_hosts():
    readings = iter([10.0, 12.5])
    cost = measure.cost_of(lambda: None, lambda: next(readings))
    assert cost.hosts_cpu == 2.5
    assert cost.wall >= 0
    assert cost.controller >= 0


@pytest.mark.parametrize(("wall", "reached", "word"), [(0.08, True, "reached"), (0.1, True, "reached"), (0.101, False, "missed")])
def test_the_goal_is_a_tenth(wall, reached, word):
    assert report.reached(figures(wall)) is reached
    assert f"goal 0.1: {word}" in report.verdict(figures(wall))


def test_without_the_collection_nothing_is_reached():
    assert report.reached(figures(reason="no network")) is None
    assert report.verdict(figures(reason="no network")).endswith("not measured (no network)")


def test_the_table_is_aligned_and_says_what_was_not_measured():
    lines = report.table(figures(0.08, against_one_host=None, hosts=16)).splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("drift, 16 hosts")
    assert lines[1].endswith("not measured")
    assert len({len(line) for line in lines}) == 1


def test_figures_are_kept_without_useless_digits():
    assert report.rounded({"a": [1.23456, {"b": 2}], "c": None}) == {"a": [1.235, {"b": 2}], "c": None}


def test_the_recap_of_a_play_is_read():
    said = (
        "ok=1 changed=9\nPLAY RECAP ****\nposte-01 : ok=135  changed=0  unreachable=0  failed=0  skipped=57  rescued=0  ignored=1"
    )
    assert collection.read_recap(said) == collection.Recap(tasks=192, executed=135, changed=0)


def test_a_folder_without_the_collection_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("DEVSEC_COLLECTIONS", str(tmp_path))
    where, reason = collection.find()
    assert where is None
    assert str(tmp_path) in reason


def test_the_given_folder_is_used(tmp_path, monkeypatch):
    (tmp_path / "ansible_collections/devsec/hardening/roles").mkdir(parents=True)
    monkeypatch.setenv("DEVSEC_COLLECTIONS", str(tmp_path))
    assert collection.find() == (tmp_path.resolve(), "")
