"""What a measure counts as: six results, waivers, age, and figures that always add up."""

from __future__ import annotations

import datetime as dt

import pytest
import scene as scenes
from hypothesis import given
from hypothesis import strategies as st

from antiseche.evidence.results import (
    MESSAGE_CHARACTERS,
    Effective,
    Result,
    carried,
    count,
    covers,
    followed,
    headline,
    judged,
    label,
    measured,
    never_measured,
    utc_text,
)
from antiseche.practice.schema import Waiver
from antiseche.verify.run import Outcome

NOON = scenes.NOON
AT = utc_text(NOON)


def waiver(**changes: object) -> Waiver:
    return Waiver.model_validate(scenes.waiver(**changes))


def measure(word: str = "pass", *, host: str = "accueil", at: str = AT, run: str = "R", message: str = "") -> Result:
    leaves = ("leaf",) if word in ("pass", "fail") else ()
    return measured(Outcome(host, "ALP-01", word, message, leaves), run=run, at=at)


def test_a_pass_without_observation_is_an_error() -> None:
    result = measured(Outcome("accueil", "ALP-01", "pass"), run="R", at=AT)

    assert (result.outcome, result.effective) == ("error", Effective.ERROR)
    assert "observation" in result.message


@pytest.mark.parametrize("word", ["", "Pass", "passed", "skipped", "ok", "waived", "\ud800", "x" * 10000])
def test_a_word_that_is_not_an_outcome_is_an_error(word: str) -> None:
    result = measured(Outcome("accueil", "ALP-01", word, "", ("leaf",)), run="R", at=AT)

    assert result.effective is Effective.ERROR
    assert len(result.message) < 200


@pytest.mark.parametrize("word", ["pass", "fail", "not-applicable", "error", "unknown"])
def test_without_waiver_a_fresh_measure_counts_as_what_it_is(word: str) -> None:
    assert judged(measure(word), 30, [], NOON).effective == word


@pytest.mark.parametrize(
    ("word", "expected"),
    [("pass", "pass"), ("fail", "waived"), ("unknown", "waived"), ("error", "error"), ("not-applicable", "not-applicable")],
)
def test_a_waiver_covers_what_fails_or_is_unknown_and_nothing_else(word: str, expected: str) -> None:
    result = judged(measure(word), 30, [waiver()], NOON)

    assert result.effective == expected
    assert result.outcome == word, "what was measured stays visible"
    assert result.waiver == ("D-001" if expected == "waived" else None)


@pytest.mark.parametrize(
    "changes", [{"control": "ALP-02"}, {"hosts": ["serveur"]}, {"expires_on": "2026-11-01"}, {"accepted_on": "2026-11-03"}]
)
def test_a_waiver_for_something_else_or_another_time_covers_nothing(changes: dict[str, object]) -> None:
    assert judged(measure("fail"), 30, [waiver(**changes)], NOON).effective is Effective.FAIL


@pytest.mark.parametrize(
    ("moment", "holds"),
    [
        ("2026-09-30T21:59:59+00:00", False),  # still 30 September in Paris (summer time)
        ("2026-09-30T22:00:00+00:00", True),
        ("2026-11-30T22:59:59+00:00", True),  # the last second of 30 November in Paris (winter time)
        ("2026-11-30T23:00:00+00:00", False),
        ("2026-12-01T10:59:59+12:00", True),  # Nouméa is already on the next day
        ("2026-11-30T20:00:00-03:00", False),  # Cayenne still on the last one
    ],
)
def test_a_waiver_begins_and_ends_with_its_days_in_paris(moment: str, holds: bool) -> None:
    assert covers(waiver(), "accueil", "ALP-01", dt.datetime.fromisoformat(moment)) is holds


@given(
    st.datetimes(dt.datetime(2026, 9, 1), dt.datetime(2027, 1, 1), timezones=st.timezones()),
    st.dates(dt.date(2026, 9, 1), dt.date(2026, 12, 31)),
    st.integers(0, 366),
)
def test_a_waiver_holds_on_its_days_whatever_the_clock_of_the_contractor(moment: dt.datetime, first: dt.date, days: int) -> None:
    last = first + dt.timedelta(days=days)
    given_ = waiver(accepted_on=first.isoformat(), expires_on=last.isoformat())

    in_utc = covers(given_, "accueil", "ALP-01", moment.astimezone(dt.UTC))

    assert covers(given_, "accueil", "ALP-01", moment) is in_utc
    day = moment.astimezone(dt.UTC).date()
    if first + dt.timedelta(days=1) <= day <= last - dt.timedelta(days=1):
        assert in_utc
    if day < first - dt.timedelta(days=1) or day > last + dt.timedelta(days=1):
        assert not in_utc


def test_of_two_waivers_the_longer_one_is_named() -> None:
    two = [waiver(id="D-001", expires_on="2026-11-03"), waiver(id="D-002", expires_on="2026-11-20")]

    assert judged(measure("fail"), 30, two, NOON).waiver == "D-002"


@pytest.mark.parametrize("word", ["pass", "fail", "not-applicable"])
def test_a_measure_counts_for_its_days_to_the_second_and_then_is_unknown(word: str) -> None:
    month = dt.timedelta(days=30)

    assert judged(measure(word), 30, [], NOON + month).effective == word
    late = judged(measure(word), 30, [], NOON + month + dt.timedelta(seconds=1))
    assert late.effective is Effective.UNKNOWN
    assert late.outcome == word
    assert late.stale


def test_what_was_never_measured_is_unknown_and_not_called_stale() -> None:
    result = judged(never_measured("accueil", "ALP-01"), 30, [], NOON)

    assert result.effective is Effective.UNKNOWN
    assert not result.stale
    assert result.message


def test_an_old_measure_may_be_waived_like_any_unknown() -> None:
    late = judged(measure("pass"), 1, [waiver()], NOON + dt.timedelta(days=2))

    assert late.effective is Effective.WAIVED
    assert not late.stale


def test_a_series_goes_on_while_the_result_is_the_same() -> None:
    first = followed(measure(at="2026-11-01T12:00:00.000Z", run="A"), None, 30)
    second = followed(measure(at="2026-11-08T12:00:00.000Z", run="B"), first, 30)

    assert (first.passes, first.since) == (1, "2026-11-01T12:00:00.000Z")
    assert (second.passes, second.since) == (2, first.since)


def test_a_series_ends_with_another_result_or_a_gap_too_long() -> None:
    first = followed(measure(at="2026-11-01T12:00:00.000Z"), None, 30)
    failed = followed(measure("fail", at="2026-11-02T12:00:00.000Z"), first, 30)
    late = followed(measure(at="2026-12-15T12:00:00.000Z"), first, 30)

    assert (failed.passes, failed.since) == (1, "2026-11-02T12:00:00.000Z")
    assert (late.passes, late.since) == (1, "2026-12-15T12:00:00.000Z")


def test_the_last_conclusive_measure_is_remembered_through_errors() -> None:
    known = followed(measure("fail", run="A"), None, 30)
    off = followed(measure("error", run="B"), known, 30)
    still_off = followed(measure("error", run="C"), off, 30)

    assert still_off.known == known.known
    assert still_off.known is not None
    assert still_off.known.run == "A"
    assert not still_off.failed_before, "the failure is the known measure itself"
    assert followed(measure("pass", run="D"), still_off, 30).failed_before


@given(st.lists(st.sampled_from(["pass", "fail", "error", "unknown", "not-applicable"]), min_size=1, max_size=12))
def test_history_follows_the_outcomes(words: list[str]) -> None:
    result: Result | None = None
    for number, word in enumerate(words):
        at = utc_text(NOON + dt.timedelta(days=number))
        result = followed(judged(measure(word, at=at, run=str(number)), 30, [], NOON), result, 30)
    assert result is not None
    conclusive = [(n, word) for n, word in enumerate(words) if word in ("pass", "fail")]

    assert (result.known is None) == (not conclusive)
    if result.known is not None:
        assert (result.known.run, result.known.outcome) == (str(conclusive[-1][0]), conclusive[-1][1])
        assert result.failed_before == any(word == "fail" for _n, word in conclusive[:-1])
    same = 1
    while same < len(words) and words[-1 - same] == words[-1]:
        same += 1
    assert result.passes == same
    assert result.since == utc_text(NOON + dt.timedelta(days=len(words) - same))


def test_what_a_pass_did_not_look_at_keeps_its_date_and_its_run() -> None:
    old = followed(measure(at="2026-10-20T12:00:00.000Z", run="A"), None, 30)

    now = carried(old, 30, [], NOON)

    assert now == old


def test_what_a_pass_did_not_look_at_still_ages_and_its_waiver_still_ends() -> None:
    old = followed(judged(measure("fail"), 30, [waiver()], NOON), None, 30)

    after_waiver = carried(old, 60, [waiver()], NOON + dt.timedelta(days=40))
    too_old = carried(old, 30, [], NOON + dt.timedelta(days=40))

    assert old.effective is Effective.WAIVED
    assert after_waiver.effective is Effective.FAIL
    assert too_old.effective is Effective.UNKNOWN
    assert {after_waiver.at, too_old.at} == {old.at}
    assert after_waiver.since == utc_text(NOON + dt.timedelta(days=40))


results = st.builds(
    lambda effective: Result("h", "ALP-01", "error", effective),
    st.sampled_from(list(Effective)),
)


@given(st.lists(results, max_size=60))
def test_figures_add_up_and_only_what_does_not_apply_leaves_the_denominator(found: list[Result]) -> None:
    counts = count(found)

    assert counts["total"] == len(found) == sum(counts[str(effective)] for effective in Effective)
    assert counts["verifiable"] == sum(result.effective is not Effective.NOT_APPLICABLE for result in found)
    assert counts["pass"] <= counts["verifiable"]
    text = headline(counts)
    for figure in (counts["pass"], counts["verifiable"], counts["fail"], counts["waived"], counts["error"] + counts["unknown"]):
        assert str(figure) in text


def test_each_result_has_a_name_of_its_own() -> None:
    names = [label(effective) for effective in Effective]

    assert len(set(names)) == len(names)


SECRETS = [
    "root:$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7:19000:0:99999:7:::",
    "root:$6$saltsalt$" + "a" * 86,
    "root:$2b$12$" + "K" * 53,
    "root:$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b",
    "root:abJnggxhB/yWI:19000:0:99999:7:::",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n-----END OPENSSH PRIVATE KEY-----",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEAcut",
    "$ANSIBLE_VAULT;1.1;AES256\n38396131643062\n39383061",
    "db_password = Tilleul-2026!",
    '{"token": "abcdef123456"}',
    "curl --password Tilleul2026",
    "https://cabinet:Tilleul2026@depot.example/x",
    "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.e30.abc",
    "premier mot de passe A1b2-C3d4-E5f6-G7h8",
]
NEEDLES = [
    "F5Jx5fExrKuPp53xLKQ", "a" * 40, "K" * 30, "RdescudvJCsgt3ub", "abJnggxhB", "b3BlbnNzaC1rZXkt", "MIIEpAIBAAKC",
    "38396131643062", "Tilleul-2026", "abcdef123456", "Tilleul2026", "Tilleul2026", "eyJhbGciOiJIUzI1NiJ9", "A1b2-C3d4",
]  # fmt: skip


@pytest.mark.parametrize(("text", "needle"), list(zip(SECRETS, NEEDLES, strict=True)))
def test_no_secret_enters_by_a_message(text: str, needle: str) -> None:
    for message in (text, f"vu : « {text} »", f"avant\n{text}\naprès"):
        assert needle not in measure("fail", message=message).message


@given(st.text(max_size=60), st.integers(0, len(SECRETS) - 1), st.text(max_size=60))
def test_no_secret_enters_whatever_surrounds_it(before: str, index: int, after: str) -> None:
    message = measure("fail", message=f"{before}\n{SECRETS[index]}\n{after}").message

    assert NEEDLES[index] not in message


@given(st.text(max_size=5000) | st.text(st.characters(), min_size=3000, max_size=4000))
def test_any_message_is_kept_short_and_storable(text: str) -> None:
    message = measure("fail", message=text).message

    assert len(message) <= MESSAGE_CHARACTERS
    assert message.encode("utf-8").decode("utf-8") == message


@pytest.mark.parametrize("text", ["\ud800", "nul \x00", "\u2028ligne", "\x1b[31mrouge"])
def test_odd_characters_do_not_stop_a_pass(text: str) -> None:
    measure("fail", message=text).message.encode("utf-8")
