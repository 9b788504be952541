"""`plan` and `deploy` over recorded events: what is shown, asked and returned."""

from __future__ import annotations

import io
import json
import os
import re
import termios
from functools import partial
from pathlib import Path

import pytest

from antiseche import app
from antiseche.commands import checking, confirm, progress, run_report, running, screen
from antiseche.engine.events import Event
from antiseche.engine.playbook_run import run_playbook
from antiseche.engine.replay import ReplayEngine
from antiseche.engine.summary import RunSummary, summarize
from antiseche.practice.folder import PracticeFolder
from antiseche.verify.run import Outcome

CHANGED = Event("result", host="accueil", role="firewall", task="Write", status="changed", changes=("file /etc/nftables.conf",))
OK = [CHANGED, Event("stats", host="accueil", data={"stats": {}}), Event("stats", host="serveur", data={"stats": {}})]
DOWN = [
    *OK[:2],
    Event("result", host="serveur", status="unreachable", message="ssh: connect to host 192.168.1.10 port 22: No route to host"),
    Event("stats", host="serveur", data={"stats": {"unreachable": 1}}),
]
FAILED = [
    Event("result", host="accueil", role="firewall", task="Write", status="failed", message="disque plein"),
    Event("stats", host="accueil", data={"stats": {"failures": 1}}),
    *DOWN[2:],
]


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> running.Prepared:
    folder = PracticeFolder(tmp_path / "tilleuls")
    folder.inventory_dir.mkdir(parents=True)
    folder.hosts_file.write_text("all: {children: {linux: {hosts: {accueil: , serveur: }}}}")
    found = running.Prepared(folder, ["accueil", "serveur"], (), (), {"firewall": "Pare-feu"}, None, (), False)
    monkeypatch.setattr(running, "prepare", lambda _request: found)
    return found


def replay(monkeypatch: pytest.MonkeyPatch, events: list[Event], *, rc: int = 0, interrupted: bool = False) -> ReplayEngine:
    engine = ReplayEngine(events, rc=rc, interrupted=interrupted)
    monkeypatch.setattr(running, "run_playbook", partial(run_playbook, engine=engine))
    return engine


@pytest.mark.parametrize(("events", "code"), [(OK, 0), (DOWN, 4), (FAILED, 5)])
@pytest.mark.parametrize("verb", ["plan", "deploy"])
def test_exit_codes_and_one_json_document(
    verb: str,
    events: list[Event],
    code: int,
    prepared: running.Prepared,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    replay(monkeypatch, events)
    assert app.main([verb, "tilleuls", "--json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == code
    assert set(document["hosts"]) == {"accueil", "serveur"}


def test_a_plan_is_told_role_by_role(
    prepared: running.Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = replay(monkeypatch, OK)
    assert app.main(["plan", "tilleuls"]) == 0
    out = capsys.readouterr().out
    assert "Pare-feu : 1 changement\n" in out
    assert re.search(r"~ \w+ /etc/nftables.conf", out)
    assert "antiseche deploy tilleuls" in out
    assert engine.specs[0].check


def test_deploy_check_changes_nothing(prepared: running.Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = replay(monkeypatch, OK)
    assert app.main(["deploy", "tilleuls", "--check", "--yes"]) == 0
    assert [spec.check for spec in engine.specs] == [True]


def test_unreachable_is_explained(
    prepared: running.Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replay(monkeypatch, DOWN)
    assert app.main(["deploy", "tilleuls"]) == 4
    assert "serveur : injoignable : éteinte, ou hors du réseau" in capsys.readouterr().err


def test_an_interruption_tells_the_state_and_what_to_do(
    prepared: running.Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replay(monkeypatch, [Event("task_start", host="accueil", role="firewall", task="Write")], rc=99, interrupted=True)
    assert app.main(["deploy", "tilleuls", "--limit", "accueil"]) == 130
    err = capsys.readouterr().err
    assert "accueil : rôles terminés : - ; en cours : Pare-feu" in err
    assert "serveur : pas commencée" in err
    assert "antiseche deploy tilleuls --limit accueil" in err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "expected"), [("oui", True), ("O", True), ("y", True), ("yes", True), ("", False), ("non", False), ("n", False)]
)
def test_answers_to_a_question(typed: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("click.prompt", lambda *_args, **_kwargs: typed)
    assert confirm.confirm("?", yes=False) is expected


def test_json_is_not_consent(
    prepared: running.Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = replay(monkeypatch, OK)
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("click.prompt", lambda *_args, **_kwargs: "non")
    assert app.main(["deploy", "tilleuls", "--json"]) == 0
    assert engine.specs == []
    document = json.loads(capsys.readouterr().out)
    assert (document["declined"], document["run"], document["exit_code"]) == (True, None, 0)


def test_a_terminal_redraws_one_line_per_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    shown = progress.Progress({"firewall": "Pare-feu"}, ["accueil", "serveur"], stream=terminal)
    shown.update(Event("task_start", host="accueil", role="firewall", task="Write"))
    for event in DOWN:
        shown.update(event)
    shown.close()
    text = terminal.getvalue()
    assert "Pare-feu" in text
    assert "\x1b[2A" in text
    assert "injoignable" in text.split("\x1b[2A")[-1]


@pytest.mark.parametrize("columns", [1, 2, 20, 80])
def test_lines_never_reach_the_edge(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that wraps would be redrawn in the wrong place."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(screen, "_size", lambda _stream: os.terminal_size((columns, 24)))
    terminal = Terminal()
    shown = progress.Progress({"firewall": "Pare-feu"}, ["accueil"], stream=terminal)
    shown.update(Event("task_start", host="accueil", role="firewall", task="Write"))
    shown.close()
    drawn = [line.split("\x1b[2K")[1] for line in terminal.getvalue().splitlines() if "\x1b[2K" in line]
    assert drawn
    assert max(map(len, drawn)) <= max(columns - 1, 1)


def test_more_hosts_than_lines_are_told_in_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(screen, "_size", lambda _stream: os.terminal_size((80, 5)))
    terminal = Terminal()
    shown = progress.Progress({}, [f"poste{n}" for n in range(5)], stream=terminal)
    shown.update(Event("task_start", host="poste1", role="firewall", task="Write"))
    assert terminal.getvalue() == "poste1 : firewall\n"


def test_the_width_is_that_of_the_terminal_written_to() -> None:
    """The standard output may be a file while the progress goes to a narrow terminal."""
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (10, 33))
    with os.fdopen(slave, "w") as stream:
        assert screen._size(stream) == (33, 10)
    os.close(master)
    assert screen._size(io.StringIO()).columns > 0


def test_what_somebody_else_wrote_is_not_drawn_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """As "Ctrl-C again to kill", in the middle of a run."""
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    shown = progress.Progress({}, ["accueil", "serveur"], stream=terminal)
    shown.update(CHANGED)
    shown.screen.leave()
    terminal.write("message\n")
    shown.close()
    assert "\x1b[2A" not in terminal.getvalue().split("message")[1]


def test_a_terminal_that_goes_away_does_not_stop_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(5, "Input/output error")

    shown = progress.Progress({}, ["accueil"], stream=Gone())
    for event in FAILED:
        shown.update(event)
    shown.close()


@pytest.mark.parametrize(("kind", "words"), [("xterm", "accueil  contrôles 2/2"), ("dumb", "accueil : 2 contrôles faits\n")])
def test_checks_are_counted_host_by_host(kind: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", kind)
    terminal = Terminal()
    shown = checking.CheckProgress(["accueil", "serveur"], 2, stream=terminal)
    for control in ("PAR-01", "PAR-02"):
        shown.update(Outcome("accueil", control, "pass"))
    shown.close()
    assert words in terminal.getvalue()
    assert ("\x1b" in terminal.getvalue()) == (kind == "xterm")


def test_plain_lines_hold_no_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    shown = progress.Progress({"firewall": "Pare-feu"}, ["accueil"], stream=terminal)
    shown.update(Event("task_start", host="accueil", role="firewall", task="Write"))
    shown.update(Event("task_start", host="accueil", role="firewall", task="Reload"))
    for event in FAILED:
        shown.update(event)
    assert terminal.getvalue().splitlines() == ["accueil : Pare-feu", "accueil : échec de « Write »", "serveur : injoignable"]


def test_the_table_has_one_line_per_host() -> None:
    lines = run_report.table(summarize(DOWN), check=False).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["accueil", "serveur"]
    assert run_report.table(RunSummary(), check=True)


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ("Host key verification failed.", "clé d'hôte"),
        ("Permission denied (publickey)", "refuse la clé"),
        ("Connection refused", "port SSH"),
        ("Connection timed out", "éteinte"),
        ("something else", "something else"),
    ],
)
def test_reasons(message: str, word: str) -> None:
    assert word in run_report.unreachable_reason(message)


@pytest.mark.parametrize(
    "arguments", [["plan"], ["deploy", "nulle-part"], ["plan", "nulle-part", "--limit"], ["deploy", "x", "--nonsense"]]
)
def test_wrong_command_lines(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err
