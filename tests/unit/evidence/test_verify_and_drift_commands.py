"""``verify``, ``drift`` and ``status`` as typed: what they print, write and return; hosts and Ansible are made up."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import scene as scenes
from scene import Scene

from antiseche import app
from antiseche.commands import checking, confirm, running
from antiseche.engine import playbook_run
from antiseche.engine.records import Run
from antiseche.engine.spec import RunSpec
from antiseche.engine.summary import Change, Failure, HostStatus, HostSummary, RunSummary
from antiseche.errors import AntisecheError, ExitCode
from antiseche.evidence import chain, store
from antiseche.evidence.drift import Cause, cause_label
from antiseche.verify.run import Verification

KEY = ("accueil", "ALP-01")
FAIL = {KEY: "fail"}
Changes = Iterable[tuple[str, str]]


class Stage:
    """Decides what the checks and the playbook find, pass after pass, and keeps what was asked of them."""

    def __init__(self, scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.scene = scene
        self.checks: list[dict[str, Any]] = []
        self.predictions: list[RunSummary | Exception] = []
        self.fixes: list[RunSummary] = []
        self.specs: list[RunSpec] = []
        self._capsys = capsys
        monkeypatch.setattr(checking, "run_checks", self._run_checks)
        monkeypatch.setattr(playbook_run, "run_playbook", self._run_playbook)
        monkeypatch.setattr(running, "prepare", self._prepare)
        self.out = self.err = ""

    def run(self, *arguments: str) -> int:
        """Type a command."""
        code = app.main([arguments[0], str(self.scene.folder.root), *arguments[1:]])
        self.out, self.err = self._capsys.readouterr()
        return code

    def json(self, *arguments: str) -> dict[str, Any]:
        """Type a command with ``--json``; its output is one document and its exit code is in it."""
        code = self.run(*arguments, "--json")
        document: dict[str, Any] = json.loads(self.out)
        assert document["exit_code"] == code
        return document

    def _run_checks(self, _folder: Any, hosts: Any, roles: Any, *_others: Any) -> Verification:
        found = self.checks.pop(0) if self.checks else {}
        self.scene.later(minutes=1)
        return self.scene.verification(
            found.get("outcomes"), hosts=hosts or scenes.HOSTS, roles=roles, gone=found.get("gone", ())
        )

    def _run_playbook(self, spec: RunSpec, *_arguments: Any, run: Run | None = None, **_options: Any) -> tuple[Run, RunSummary]:
        self.specs.append(spec)
        if spec.kind == "fix":
            summary = self.fixes.pop(0)
            changed = [(host.name, change.role) for host in summary.hosts.values() for change in host.changes]
            return self.scene.deploy(*changed, kind="fix"), summary
        answer = self.predictions.pop(0) if self.predictions else playbook(hosts=spec.limit)
        if isinstance(answer, Exception):
            raise answer
        assert run is not None
        return run, answer

    def _prepare(self, request: running.Request) -> running.Prepared:
        hosts = list(request.limit) or list(scenes.HOSTS)
        titles = {"alpha": "Thème alpha", "beta": "Thème beta"}
        return running.Prepared(self.scene.folder, hosts, request.limit, request.roles, titles, None, None, False)


def playbook(
    changes: Changes = (), *, failed: Iterable[str] = (), gone: Iterable[str] = (), hosts: Iterable[str] = ()
) -> RunSummary:
    """Return what a playbook would have done."""
    found = {name: HostSummary(name, finished=True, tasks=3) for name in hosts or scenes.HOSTS}
    for name, role in changes:
        found[name].changes.append(Change(role, "Write", f"file /etc/{role}"))
        found[name].changed += 1
    for name in failed:
        found[name].failures.append(Failure("alpha", "Write", "boum"))
    for name in gone:
        found[name].unreachable = "No route to host"
    summary = RunSummary(found, complete=True)
    summary.close()
    return summary


@pytest.fixture
def stage(scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Stage:
    monkeypatch.setenv("COLUMNS", "80")
    return Stage(scene, monkeypatch, capsys)


# --- verify ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ({}, ExitCode.OK),
        ({"outcomes": FAIL}, ExitCode.NOT_CONFORMING),
        ({"outcomes": {KEY: "error"}}, ExitCode.NOT_CONFORMING),
        ({"outcomes": {KEY: "not-applicable"}}, ExitCode.OK),
        ({"gone": ("serveur",)}, ExitCode.UNREACHABLE),
        ({"outcomes": FAIL, "gone": ("serveur",)}, ExitCode.UNREACHABLE),
        ({"gone": scenes.HOSTS}, ExitCode.UNREACHABLE),
        ({"outcomes": scenes.everything("error")}, ExitCode.FAILURE),
    ],
)
def test_verify_returns_what_it_found(stage: Stage, found: dict[str, Any], code: ExitCode) -> None:
    stage.checks = [found, found]

    assert stage.run("verify") == code
    assert "Rapport : " in stage.out
    assert stage.json("verify")["exit_code"] == code


def test_verify_names_control_host_what_was_seen_and_what_to_do(stage: Stage) -> None:
    stage.checks = [{"outcomes": {**FAIL, ("cabinet", "ALP-01"): "fail", ("serveur", "BET-01"): "error"}}]
    stage.run("verify")

    assert "✗ ALP-01 Cassé ALP-01. (gravité faible)" in stage.out
    assert "accueil, cabinet : vu ALP-01 autrement" in stage.out
    assert "à faire : Réparer ALP-01." in stage.out
    assert "! BET-01 Erreur de vérification : Titre BET-01" in stage.out
    assert "6 conformes sur 9 vérifiables ; 2 écarts ; 0 dérogation ; 1 non vérifié" in stage.out
    assert "antiseche drift" in stage.out


def test_verify_does_not_offer_a_repair_that_the_kit_cannot_do(stage: Stage) -> None:
    stage.checks = [{"outcomes": {("serveur", "BET-01"): "fail"}}]
    stage.run("verify")

    assert "(à la main)" in stage.out
    assert "antiseche drift" not in stage.out


def test_verify_says_once_who_did_not_answer(stage: Stage) -> None:
    stage.checks = [{"gone": ("serveur",)}]
    stage.run("verify")

    assert "serveur (injoignable)" in stage.out
    assert stage.err.count("injoignable") == 1
    assert "✗" not in stage.out
    assert "!" not in stage.out


def test_verify_limited_says_that_it_is(stage: Stage) -> None:
    stage.run("verify")
    stage.run("verify", "--limit", "accueil", "--role", "alpha")

    assert "cabinet" not in stage.out
    assert "2 conformes sur 2 vérifiables" in stage.out
    assert "Passage partiel : 1 machine sur 3, 2 contrôles sur 9" in stage.out


@pytest.mark.parametrize(("option", "value"), [("--limit", "acceuil"), ("--role", "gamma")])
def test_verify_refuses_names_that_it_does_not_know(stage: Stage, option: str, value: str) -> None:
    assert stage.run("verify", option, value) == ExitCode.USAGE
    assert len(stage.err.strip().splitlines()) >= 1
    assert store.latest(stage.scene.folder) is None


def test_verify_in_json_is_one_document(stage: Stage) -> None:
    stage.run("verify")
    stage.checks = [{"outcomes": FAIL}]
    document = stage.json("verify")

    assert set(document) == {
        "command", "practice", "run", "run_dir", "report", "exit_code", "rehearsal", "partial", "scope", "counts", "unreachable",
        "results", "transitions",
    }  # fmt: skip
    assert document["counts"]["fail"] == 1
    assert len(document["results"]) == len(scenes.EVERYTHING)
    assert set(document["results"][0]) == {
        "host", "control", "outcome", "effective", "message", "leaves", "waiver", "run", "at", "rule", "wish", "since", "passes",
        "known", "failed_before",
    }  # fmt: skip
    assert [change["cause"] for change in document["transitions"]] == ["drift"]
    assert set(document["transitions"][0]) == {"host", "control", "before", "after", "seen_before", "seen_after", "cause"}


def test_verify_closes_what_a_kill_left(stage: Stage) -> None:
    cut = scenes.records.create_run(stage.scene.folder, "verify")
    stage.run("verify")

    assert cut.id in stage.err
    assert scenes.records.load_run(cut.dir).finished  # type: ignore[union-attr]


def test_what_a_host_answers_does_not_drive_the_terminal(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def hostile(*arguments: Any, **options: Any) -> Verification:
        found = Scene.verification(stage.scene, FAIL)
        first = found.outcomes[0]
        found.outcomes[0] = type(first)(*KEY, "fail", "\x1b[2J\x1b]0;titre\x07\r\u202eécrasé\u0085", first.leaves)
        return found

    monkeypatch.setattr(checking, "run_checks", hostile)
    stage.run("verify")

    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", stage.out)
    assert "écrasé" in stage.out


@pytest.mark.parametrize("columns", ["20", "80", "200"])
@pytest.mark.parametrize("number", [1, 3, 20])
def test_tables_fit_the_terminal(stage: Stage, monkeypatch: pytest.MonkeyPatch, columns: str, number: int) -> None:
    hosts = [f"poste-au-nom-vraiment-tres-long-de-la-salle-de-soins-{n:02}"[-60:] for n in range(number)]
    stage.scene.write_inventory(hosts)
    monkeypatch.setattr(stage.scene, "answers", scenes.answers())
    monkeypatch.setattr(
        checking,
        "run_checks",
        lambda *_a: Scene.verification(stage.scene, {(h, "ALP-01"): "fail" for h in hosts[:7]}, hosts=hosts),
    )
    monkeypatch.setenv("COLUMNS", columns)
    stage.run("verify")

    shown = [line for line in stage.out.splitlines() if not line.startswith("Rapport : ") and "antiseche drift" not in line]
    assert max(map(len, shown)) <= max(60, min(int(columns), 110))
    assert sum(line.startswith("poste") for line in shown) == number


# --- drift -----------------------------------------------------------------------------------------------------------

DriftCase = tuple[dict[str, Any], RunSummary | Exception, ExitCode]
DRIFTS: list[DriftCase] = [
    ({}, playbook(), ExitCode.OK),
    ({"outcomes": FAIL}, playbook(), ExitCode.NOT_CONFORMING),
    ({}, playbook([("accueil", "alpha")]), ExitCode.NOT_CONFORMING),
    ({"outcomes": FAIL}, playbook([("accueil", "alpha")]), ExitCode.NOT_CONFORMING),
    ({"gone": ("serveur",)}, playbook(gone=["serveur"]), ExitCode.UNREACHABLE),
    ({"gone": ("serveur",)}, playbook(), ExitCode.UNREACHABLE),
    ({}, playbook(gone=["serveur"]), ExitCode.UNREACHABLE),
    ({"outcomes": FAIL, "gone": ("serveur",)}, playbook([("accueil", "alpha")], gone=["serveur"]), ExitCode.UNREACHABLE),
    ({}, playbook(failed=["accueil"]), ExitCode.TASK_FAILED),
    ({"outcomes": FAIL}, playbook(failed=["accueil"]), ExitCode.TASK_FAILED),
    ({}, RunSummary(error="Ansible s'est arrêté"), ExitCode.FAILURE),
    ({"outcomes": scenes.everything("error")}, playbook(), ExitCode.FAILURE),
    ({"outcomes": scenes.everything("error")}, playbook([("accueil", "alpha")]), ExitCode.FAILURE),
]


@pytest.mark.parametrize(("found", "prediction", "code"), DRIFTS)
def test_drift_returns_the_gravest_thing_that_it_found(
    stage: Stage, found: dict[str, Any], prediction: RunSummary, code: ExitCode
) -> None:
    stage.run("verify")
    stage.checks, stage.predictions = [found, found], [prediction, prediction]

    assert stage.run("drift") == code
    assert ("Rien n'a dérivé." in stage.out) is (not found and not any(h.changes for h in prediction.hosts.values()))
    assert stage.json("drift")["exit_code"] == code
    assert [spec.check for spec in stage.specs] == [True, True], "nothing was changed"


def test_drift_says_equal_things_once(stage: Stage) -> None:
    stage.run("verify")
    stage.checks = [{"outcomes": {(host, "ALP-01"): "fail" for host in scenes.HOSTS}}]
    stage.predictions = [playbook([(host, "alpha") for host in scenes.HOSTS])]
    stage.run("drift")

    assert stage.out.count("ALP-01 Cassé") == 1
    assert "accueil, cabinet, serveur : vu ALP-01 autrement" in stage.out
    assert stage.out.count("/etc/alpha") == 1
    assert "3 contrôles tenaient et ne tiennent plus." in stage.out
    assert len(stage.out.splitlines()) < 15


def test_drift_does_not_count_again_what_was_told_before(stage: Stage) -> None:
    stage.checks = [{"outcomes": FAIL}, {"outcomes": FAIL}]
    stage.run("drift")
    stage.run("drift")

    assert "aucune dérive nouvelle." in stage.out
    assert stage.out.count("✗ ALP-01") == 1


def test_drift_tells_what_is_not_a_drift_apart(stage: Stage) -> None:
    stage.checks = [{"outcomes": FAIL}, {}]
    stage.run("verify")
    stage.run("drift")

    assert "Rien n'a dérivé." in stage.out
    assert "corrigé autrement (1)" in stage.out
    assert "ALP-01 Titre ALP-01 : accueil" in stage.out


def test_drift_says_once_who_did_not_answer_and_what_failed(stage: Stage) -> None:
    stage.checks = [{"gone": ("serveur",)}]
    stage.predictions = [playbook(gone=["serveur"], failed=["accueil"])]
    stage.run("drift")

    assert stage.err.count("injoignable") == 1
    assert stage.err.count("boum") == 1


def test_a_prediction_that_cannot_start_leaves_no_open_run(stage: Stage) -> None:
    stage.predictions = [AntisecheError("pas d'inventaire")]

    assert stage.run("drift") == ExitCode.FAILURE
    assert all(run.finished for run in scenes.records.runs(stage.scene.folder))
    assert store.latest(stage.scene.folder) is None


def test_checks_that_cannot_start_stop_the_prediction(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: Any) -> Verification:
        raise KeyboardInterrupt

    monkeypatch.setattr(checking, "run_checks", broken)

    assert stage.run("drift") == ExitCode.INTERRUPTED
    (run,) = scenes.records.runs(stage.scene.folder)
    assert run.record["interrupted"]
    assert store.latest(stage.scene.folder) is None


def fixing(
    stage: Stage, *, before: dict[str, Any], after: dict[str, Any], fix: RunSummary, again: RunSummary | None = None
) -> None:
    """Prepare a drift pass, a repair and the pass that follows."""
    stage.run("verify")
    stage.checks = [before, after]
    stage.predictions = [playbook([("accueil", "alpha")]), again or playbook(hosts=["accueil"])]
    stage.fixes = [fix]


DONE = playbook([("accueil", "alpha")], hosts=["accueil"])


def test_fix_repairs_looks_again_and_says_what_holds(stage: Stage) -> None:
    fixing(stage, before={"outcomes": FAIL}, after={}, fix=DONE)

    assert stage.run("drift", "--fix", "--yes") == ExitCode.OK
    assert "Après réparation, vérifié de nouveau :" in stage.out
    assert "corrigé par le kit (1)" in stage.out
    assert "1 différence de configuration corrigée" in stage.out
    _found, applied, again = stage.specs
    assert (applied.limit, applied.roles, applied.check) == (("accueil",), ("alpha",), False)
    assert (again.limit, again.roles, again.check) == (("accueil",), ("alpha",), True)
    kinds = [run.kind for run in scenes.records.runs(stage.scene.folder)]
    assert sorted(kinds) == ["drift", "drift", "fix", "verify"]
    assert chain.check_store(stage.scene.folder) == []


def test_fix_does_not_claim_what_the_checks_still_deny(stage: Stage) -> None:
    fixing(stage, before={"outcomes": FAIL}, after={"outcomes": FAIL}, fix=DONE)

    assert stage.run("drift", "--fix", "--yes") == ExitCode.NOT_CONFORMING
    assert "corrigé par le kit" not in stage.out
    assert stage.out.count("✗ ALP-01") == 2


def test_fix_does_not_claim_what_a_second_prediction_still_denies(stage: Stage) -> None:
    fixing(stage, before={}, after={}, fix=DONE, again=playbook([("accueil", "alpha")], hosts=["accueil"]))

    assert stage.run("drift", "--fix", "--yes") == ExitCode.NOT_CONFORMING
    assert "corrigée" not in stage.out
    assert "Configuration encore différente" in stage.out


@pytest.mark.parametrize(
    ("again", "code"),
    [
        (playbook(failed=["accueil"], hosts=["accueil"]), ExitCode.TASK_FAILED),
        (playbook(gone=["accueil"], hosts=["accueil"]), ExitCode.UNREACHABLE),
        (RunSummary({"accueil": HostSummary("accueil", HostStatus.NOT_STARTED)}, error="arrêt"), ExitCode.FAILURE),
    ],
)
def test_fix_claims_nothing_about_a_host_that_was_not_looked_at_to_the_end(
    stage: Stage, again: RunSummary, code: ExitCode
) -> None:
    fixing(stage, before={}, after={}, fix=DONE, again=again)

    assert stage.run("drift", "--fix", "--yes") == code
    assert "corrigée" not in stage.out


def test_fix_that_fails_says_so_and_what_still_holds(stage: Stage) -> None:
    failed = playbook(failed=["accueil"], hosts=["accueil"])
    fixing(stage, before={"outcomes": FAIL}, after={"outcomes": FAIL}, fix=failed)

    assert stage.run("drift", "--fix", "--yes") == ExitCode.TASK_FAILED
    assert "boum" in stage.err


def test_fix_repairs_who_answers_and_still_says_who_does_not(stage: Stage) -> None:
    fixing(stage, before={"outcomes": FAIL, "gone": ("serveur",)}, after={"gone": ("serveur",)}, fix=DONE)

    assert stage.run("drift", "--fix", "--yes") == ExitCode.UNREACHABLE
    assert stage.specs[1].limit == ("accueil",)
    assert stage.specs[1].roles == ("alpha",), "an unreachable host does not widen the repair"
    assert "corrigé par le kit (1)" in stage.out


@pytest.mark.parametrize(
    ("found", "prediction"),
    [
        ({}, playbook()),
        ({"gone": scenes.HOSTS}, playbook(gone=scenes.HOSTS)),
        ({"outcomes": scenes.everything("error")}, playbook()),
    ],
)
def test_fix_does_nothing_where_there_is_nothing_that_it_could_do(
    stage: Stage, found: dict[str, Any], prediction: RunSummary
) -> None:
    stage.checks, stage.predictions = [found], [prediction]
    stage.run("drift", "--fix", "--yes")

    assert [spec.kind for spec in stage.specs] == ["drift"]


def test_fix_deploys_nothing_for_what_only_hands_can_mend(stage: Stage) -> None:
    stage.checks = [{"outcomes": {("serveur", "BET-01"): "fail"}}]

    assert stage.run("drift", "--fix", "--yes") == ExitCode.NOT_CONFORMING
    assert [spec.kind for spec in stage.specs] == ["drift"]
    assert "Rien que le kit puisse réparer." in stage.err

    stage.checks = [{"outcomes": {("serveur", "BET-01"): "fail"}}]
    stage.run("drift")
    assert "Pour réparer" not in stage.out


def test_fix_leaves_alone_a_host_whose_checks_did_not_answer(stage: Stage) -> None:
    fixing(stage, before={"outcomes": FAIL, "gone": ("serveur",)}, after={"gone": ("serveur",)}, fix=DONE)
    stage.predictions[0] = playbook([("accueil", "alpha"), ("serveur", "beta")])

    stage.run("drift", "--fix", "--yes")

    assert (stage.specs[1].limit, stage.specs[1].roles) == (("accueil",), ("alpha",))


def test_fix_applies_only_the_roles_that_can_mend_something(stage: Stage) -> None:
    outcomes = {("serveur", "BET-01"): "fail", ("accueil", "ALP-02"): "error"}
    stage.checks = [{"outcomes": outcomes}, {"outcomes": {("serveur", "BET-01"): "fail"}}]
    stage.fixes = [DONE]

    assert stage.run("drift", "--fix", "--yes") == ExitCode.NOT_CONFORMING
    assert (stage.specs[1].limit, stage.specs[1].roles) == (("accueil",), ("alpha",))


def test_fix_asks_first_and_no_means_no(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(question: str, *, yes: bool) -> bool:
        asked.append(question)
        return yes

    monkeypatch.setattr(confirm, "confirm", answer)
    stage.checks = [{"outcomes": FAIL}]

    assert stage.run("drift", "--fix") == ExitCode.NOT_CONFORMING
    assert "accueil" in asked[0]
    assert "Rien n'a été réparé." in stage.err
    assert [spec.kind for spec in stage.specs] == ["drift"]
    assert stage.out.count("✗ ALP-01") == 1, "what was found is shown once"


def test_fix_that_is_interrupted_says_where_things_are(stage: Stage) -> None:
    summary = playbook(hosts=["accueil"])
    summary.interrupted = True
    fixing(stage, before={"outcomes": FAIL}, after={}, fix=summary)

    assert stage.run("drift", "--fix", "--yes") == ExitCode.INTERRUPTED
    assert "antiseche drift" in stage.err


def test_drift_in_json_is_one_document(stage: Stage) -> None:
    fixing(stage, before={"outcomes": FAIL}, after={}, fix=DONE)
    document = stage.json("drift", "--fix", "--yes")

    assert set(document) == {
        "command", "practice", "run", "run_dir", "report", "exit_code", "rehearsal", "partial", "scope", "counts", "unreachable",
        "results", "transitions", "configuration", "found", "repair",
    }  # fmt: skip
    difference = {"host": "accueil", "role": "alpha", "change": "file /etc/alpha"}
    assert document["configuration"] == []
    assert document["found"]["configuration"] == [difference]
    assert document["found"]["counts"]["fail"] == 1
    assert document["repair"]["configuration_repaired"] == [difference]
    assert [change["cause"] for change in document["transitions"]] == ["repaired-by-kit"]


def test_drift_without_fix_has_no_repair_in_json(stage: Stage) -> None:
    stage.checks = [{"outcomes": FAIL}]

    assert stage.json("drift")["repair"] is None


def test_drift_limited_looks_no_further(stage: Stage) -> None:
    stage.run("verify")
    stage.predictions = [playbook(hosts=["accueil"])]
    document = stage.json("drift", "--limit", "accueil")

    assert {result["host"] for result in document["results"]} == {"accueil"}
    assert document["partial"]
    assert stage.specs[-1].limit == ("accueil",)


# --- status ----------------------------------------------------------------------------------------------------------


def status(stage: Stage, *arguments: str) -> int:
    return stage.run("status", *arguments)


def test_status_of_a_practice_that_was_never_verified(stage: Stage) -> None:
    assert status(stage) == ExitCode.OK
    assert "jamais vérifié : antiseche verify tilleuls" in stage.out


def test_status_says_where_things_stand(stage: Stage) -> None:
    stage.scene.replace_answers(waivers=[scenes.waiver(expires_on="2026-10-31")])
    stage.checks = [{"outcomes": FAIL, "gone": ("serveur",)}]
    stage.run("verify", "--limit", "accueil", "--limit", "serveur")
    run = scenes.records.create_run(stage.scene.folder, "deploy")

    assert status(stage) == ExitCode.OK
    for words in (
        "Cabinet des Tilleuls", "2 conformes sur 9 vérifiables", "1 écart", "injoignables : serveur",
        "jamais vérifiées : cabinet", f"passage inachevé : {run.id}", "dérogation D-001 (ALP-01) : échue le 2026-10-31",
    ):  # fmt: skip
        assert words in stage.out, words


def test_status_says_what_is_wrong_with_the_register(stage: Stage) -> None:
    for _ in range(8):
        stage.run("verify")
    for path in stage.scene.folder.runs_dir.glob("*/results.json"):
        path.write_text("{}")

    assert status(stage) == ExitCode.FAILURE
    assert stage.out.count("registre :") == 6
    assert "et 3 autres anomalies" in stage.out


def test_status_in_json(stage: Stage) -> None:
    stage.run("verify")
    document = stage.json("status")

    (entry,) = document["practices"]
    assert set(document) == {"command", "exit_code", "practices"}
    assert set(entry) == {"folder", "name", "rehearsal", "problem", "last", "unfinished", "waivers", "chain"}
    assert set(entry["last"]) == {
        "run", "ended", "age_days", "counts", "headline", "unreachable", "never_verified", "stale", "backups",
    }  # fmt: skip


def test_status_of_all_practices(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    def show(base: Any) -> str:
        monkeypatch.setenv("ANTISECHE_PRACTICES", str(base))
        assert app.main(["status"]) == ExitCode.OK
        return capsys.readouterr().out

    empty = tmp_path_factory.mktemp("aucun")
    assert str(empty) in show(empty)
    many = tmp_path_factory.mktemp("plusieurs")
    for n in range(20):
        Scene(many / f"cabinet-{n}")
    assert show(many).count("jamais vérifié") == 20


def test_status_of_an_unknown_practice(stage: Stage) -> None:
    assert app.main(["status", "inconnu"]) == ExitCode.USAGE


Verb = Callable[[Stage], int]


@pytest.mark.parametrize("verb", ["verify", "drift", "status"])
def test_every_verb_speaks_english_too(stage: Stage, verb: str) -> None:
    stage.checks = [{"outcomes": FAIL}]

    code = app.main(["--lang", "en", verb, str(stage.scene.folder.root)])
    out, err = stage._capsys.readouterr()
    app.main(["--lang", "fr", "--help"])

    assert code in (ExitCode.OK, ExitCode.NOT_CONFORMING)
    assert not re.search(r"\b(machine injoignable|conformes|écart|à faire|Rapport|jamais|passage)\b", out + err)


def keys(value: Any) -> set[str]:
    """Return every key of a document, but names of hosts and what a playbook's own summary holds."""
    if isinstance(value, list):
        return set().union(*map(keys, value)) if value else set()
    if isinstance(value, dict):
        own = {key for key in value if key not in scenes.HOSTS}
        return own.union(*(keys(item) for key, item in value.items() if key not in ("summary", "known")))
    return set()


def test_every_key_of_the_documents_is_in_the_guide(stage: Stage) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guide" / "derive.md").read_text(encoding="utf-8")
    fixing(stage, before={"outcomes": FAIL, "gone": ("serveur",)}, after={"gone": ("serveur",)}, fix=DONE)
    found = keys(stage.json("drift", "--fix", "--yes")) | keys(stage.json("status"))

    assert {key for key in found if f"`{key}`" not in guide} == set()


def test_every_cause_is_in_the_guide() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guide" / "derive.md").read_text(encoding="utf-8")

    assert [cause for cause in Cause if f"| {cause_label(cause)} | `{cause}` |" not in guide] == []
