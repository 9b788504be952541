"""What changed between two passes, and why."""

from __future__ import annotations

from pathlib import Path

import pytest
import scene as scenes
from hypothesis import given
from hypothesis import strategies as st
from scene import Scene, causes

from antiseche.catalogue import load_catalogue
from antiseche.evidence.drift import Cause, broken, cause_label, transitions
from antiseche.evidence.results import Effective, Known, Result

KEY = ("accueil", "ALP-01")
FAIL = {KEY: "fail"}


def test_a_first_pass_has_nothing_to_compare_with(scene: Scene) -> None:
    found = scene.verify(FAIL)

    assert found.previous is None
    assert found.transitions == []


def test_the_same_twice_is_no_change(scene: Scene) -> None:
    outcomes = {KEY: "fail", ("cabinet", "ALP-02"): "not-applicable", ("serveur", "BET-01"): "error"}
    scene.verify(outcomes)

    assert scene.verify(outcomes).transitions == []


def test_what_held_and_no_longer_does_drifted(scene: Scene) -> None:
    before = scene.verify()
    found = scene.verify(FAIL)

    assert causes(found) == {KEY: "drift"}
    (change,) = found.transitions
    assert (change.before, change.after) == ("pass", "fail")
    assert (change.seen_before, change.seen_after) == (before.snapshot.ended, found.snapshot.ended)


def test_the_first_drift_is_not_called_a_return(scene: Scene) -> None:
    scene.verify()
    scene.verify()

    assert causes(scene.verify(FAIL)) == {KEY: "drift"}


def test_what_was_mended_and_fails_again_is_a_return(scene: Scene) -> None:
    scene.verify(FAIL)
    scene.verify()

    assert causes(scene.verify(FAIL)) == {KEY: "reopened"}


def test_a_failure_that_lasts_does_not_make_the_next_one_of_another_control_a_return(scene: Scene) -> None:
    scene.verify(FAIL)
    scene.verify(FAIL)

    assert causes(scene.verify({**FAIL, ("accueil", "ALP-02"): "fail"})) == {("accueil", "ALP-02"): "drift"}


def test_the_kit_repaired_what_it_changed(scene: Scene) -> None:
    scene.verify({KEY: "fail", ("cabinet", "ALP-01"): "fail", ("accueil", "BET-01"): "fail"})
    scene.deploy(("accueil", "alpha"))

    assert causes(scene.verify()) == {
        KEY: "repaired-by-kit",
        ("cabinet", "ALP-01"): "repaired-otherwise",
        ("accueil", "BET-01"): "repaired-otherwise",
    }


@pytest.mark.parametrize(("kind", "check"), [("deploy", True), ("plan", False), ("drift", True)])
def test_what_only_predicted_repaired_nothing(scene: Scene, kind: str, check: bool) -> None:
    scene.verify(FAIL)
    scene.deploy(("accueil", "alpha"), kind=kind, check=check)

    assert causes(scene.verify()) == {KEY: "repaired-otherwise"}


def test_a_deployment_before_the_failure_did_not_repair_it(scene: Scene) -> None:
    scene.deploy(("accueil", "alpha"))
    scene.verify(FAIL)

    assert causes(scene.verify()) == {KEY: "repaired-otherwise"}


def test_a_deployment_counts_although_a_partial_pass_came_in_between(scene: Scene) -> None:
    scene.verify(FAIL)
    scene.deploy(("accueil", "alpha"), kind="fix")
    assert causes(scene.verify(hosts=("cabinet",))) == {}

    assert causes(scene.verify()) == {KEY: "repaired-by-kit"}


def test_a_drift_while_the_host_was_off_is_still_found(scene: Scene) -> None:
    held = scene.verify()
    off = scene.verify(gone=("accueil",))
    found = scene.verify(FAIL)

    assert causes(off)[KEY] == "visibility"
    assert causes(found)[KEY] == "drift"
    assert next(change for change in found.transitions if change.key == KEY).seen_before == held.snapshot.ended
    assert causes(found)["accueil", "ALP-02"] == "visibility", "the others are only visible again"


def test_a_repair_while_the_host_was_off_is_attributed(scene: Scene) -> None:
    scene.verify(FAIL)
    scene.verify(gone=("accueil",))
    scene.deploy(("accueil", "alpha"))

    assert causes(scene.verify())[KEY] == "repaired-by-kit"


def test_what_could_not_be_seen_for_the_first_time_did_not_drift(scene: Scene) -> None:
    scene.verify(gone=("accueil",))

    assert causes(scene.verify(FAIL))[KEY] == "visibility"


def test_a_control_that_stops_applying_changes_the_scope(scene: Scene) -> None:
    scene.verify(FAIL)

    assert causes(scene.verify({KEY: "not-applicable"})) == {KEY: "scope"}
    assert causes(scene.verify()) == {KEY: "scope"}


def test_a_control_that_does_not_apply_is_out_of_sight_with_its_host(scene: Scene) -> None:
    scene.verify({KEY: "not-applicable"})

    assert causes(scene.verify({KEY: "not-applicable"}, gone=("accueil",)))[KEY] == "visibility"
    assert causes(scene.verify({KEY: "not-applicable"}))[KEY] == "visibility"


def test_a_control_that_stops_applying_while_its_host_is_off_changes_the_scope(scene: Scene) -> None:
    scene.verify()
    scene.verify(gone=("accueil",))

    assert causes(scene.verify({KEY: "not-applicable"}))[KEY] == "scope"


def test_a_host_that_comes_or_goes_changes_the_scope(scene: Scene) -> None:
    scene.replace_answers(hosts=scenes.ANSWERS["hosts"][:2])
    scene.write_inventory(("accueil", "cabinet"))
    scene.verify(hosts=("accueil", "cabinet"))
    scene.replace_answers()
    scene.write_inventory()
    came = scene.verify()
    scene.replace_answers(hosts=scenes.ANSWERS["hosts"][1:])
    scene.write_inventory(("cabinet", "serveur"))
    went = scene.verify(hosts=("cabinet", "serveur"))

    assert causes(came) == {("serveur", control): "scope" for control in scenes.CONTROLS}
    assert causes(went) == {("accueil", control): "scope" for control in scenes.CONTROLS}
    assert {change.after for change in went.transitions} == {None}


def test_a_rule_that_moved_is_not_a_drift(scene: Scene, small_kit: Path) -> None:
    scene.verify()
    check = small_kit / "roles" / "alpha" / "verify" / "test_alpha.py"
    check.write_text(check.read_text() + "\nSTRICTER = True\n")

    assert causes(scene.verify({KEY: "fail", ("accueil", "BET-01"): "fail"})) == {KEY: "rule", ("accueil", "BET-01"): "drift"}


def test_a_wording_that_moved_hides_no_drift(scene: Scene, small_kit: Path) -> None:
    scene.verify()
    controls = small_kit / "roles" / "alpha" / "controls.yml"
    controls.write_text(controls.read_text().replace("Phrase ALP-01.", "Mieux dit."))
    load_catalogue.cache_clear()

    assert causes(scene.verify(FAIL)) == {KEY: "drift"}


def test_an_answer_that_changed_is_not_a_drift(scene: Scene) -> None:
    scene.verify()
    scene.write_inventory(alpha_wish=1)

    assert causes(scene.verify({KEY: "fail", ("accueil", "BET-01"): "fail"})) == {KEY: "answers", ("accueil", "BET-01"): "drift"}


def test_a_waiver_granted_or_ended_is_no_drift(scene: Scene) -> None:
    scene.verify(FAIL)
    scene.replace_answers(waivers=[scenes.waiver()])
    granted = scene.verify(FAIL)
    scene.later(days=29)
    ended = scene.verify(FAIL)

    assert causes(granted) == {KEY: "disposition"}
    assert causes(ended)[KEY] == "disposition"
    assert ended.snapshot.results[KEY].effective is Effective.FAIL


def test_a_waiver_that_ends_shows_even_when_the_pass_looked_elsewhere(scene: Scene) -> None:
    scene.replace_answers(waivers=[scenes.waiver(expires_on="2026-11-03")])
    scene.verify(FAIL)
    scene.later(days=2)
    found = scene.verify(hosts=("cabinet",))

    assert causes(found) == {KEY: "disposition"}
    assert found.counts["fail"] == 0, "the score is that of what was looked at"
    assert found.snapshot.data["counts"]["fail"] == 1


def test_a_waived_drift_is_still_a_drift_but_asks_for_nothing(scene: Scene) -> None:
    scene.replace_answers(waivers=[scenes.waiver()])
    scene.verify()
    found = scene.verify(FAIL)

    assert causes(found) == {KEY: "drift"}
    assert found.failing() == []
    assert found.exit_code() == 0


def test_what_grew_too_old_is_told_as_out_of_sight(scene: Scene) -> None:
    scene.verify()
    scene.later(days=31)
    found = scene.verify(hosts=("cabinet",))
    again = scene.verify()

    assert causes(found)[KEY] == "visibility"
    assert causes(again)[KEY] == "visibility"


def test_each_cause_has_a_name_of_its_own() -> None:
    assert len({cause_label(cause) for cause in Cause}) == len(list(Cause))


words = st.sampled_from(["pass", "fail", "not-applicable", "error", "unknown"])
known = st.builds(
    Known,
    st.sampled_from(["pass", "fail"]),
    st.just("2026-11-01T00:00:00Z"),
    st.just("R0"),
    st.sampled_from("ab"),
    st.sampled_from("ab"),
)


@st.composite
def result(draw: st.DrawFn, run: str) -> Result:
    """A result as a snapshot may hold it: a conclusive measure is its own last known one."""
    word = draw(words)
    rule, wish = draw(st.sampled_from("ab")), draw(st.sampled_from("ab"))
    effective = draw(st.sampled_from([Effective(word), Effective.UNKNOWN, Effective.WAIVED]))
    last = Known(word, "2026-11-01T00:00:00Z", run, rule, wish) if word in ("pass", "fail") else draw(st.none() | known)
    return Result(*KEY, word, effective, run=run, at="t", rule=rule, wish=wish, known=last, failed_before=draw(st.booleans()))


@given(st.none() | result("R1"), st.none() | result("R2"), st.booleans())
def test_every_pair_of_results_has_one_sensible_cause(was: Result | None, now: Result | None, by_kit: bool) -> None:
    before, after = ({KEY: r} if r else {} for r in (was, now))

    found = transitions(before, after, ("t1", "t2"), lambda _now, _known: by_kit)

    assert len(found) <= 1
    if was is not None and now is not None and was.effective is now.effective and was.outcome == now.outcome:
        assert found == []
    for change in found:
        if change.cause in (Cause.DRIFT, Cause.REOPENED):
            assert now is not None
            assert now.outcome == "fail"
            assert was is not None
            assert was.known is not None
            assert was.known.outcome == "pass"
        if change.cause is Cause.REPAIRED_BY_KIT:
            assert by_kit
        if change.cause in (Cause.REPAIRED_BY_KIT, Cause.REPAIRED_OTHERWISE):
            assert now is not None
            assert now.outcome == "pass"
        assert broken([change]) == ([change] if change.cause in (Cause.DRIFT, Cause.REOPENED) else [])
    if was is not None and now is not None and now.outcome == "fail" and was.outcome == "pass":
        assert found, "what held and no longer does is always told"


@given(st.none() | result("R1"))
def test_nothing_follows_from_nothing(was: Result | None) -> None:
    same = {KEY: was} if was else {}

    assert transitions(same, same, ("t1", "t2"), lambda _now, _known: True) == []
