"""The command line as a whole: start-up, help, errors and exit codes."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys

import click
import pytest

from antiseche import app, errors, i18n

HEAVY = {"ansible", "hypothesis", "jinja2", "pydantic", "pydantic_core", "pytest", "ruamel", "testinfra", "yaml", "keyring"}


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "ANTISECHE"))}
    return subprocess.run(
        [sys.executable, "-m", "antiseche", *arguments],
        env=env | environ,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def loaded_after(*arguments: str) -> set[str]:
    """Top-level modules in memory after this command line."""
    code = (
        "import json, sys; from antiseche.app import main; main(sys.argv[1:]);"
        " print('\\n' + json.dumps(sorted({name.partition('.')[0] for name in sys.modules} | set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["--lang=en", "--help"], ["nope"], []])
def test_nothing_heavy_is_imported_before_a_command_is_known(arguments: list[str]) -> None:
    loaded = loaded_after(*arguments)
    assert not loaded & HEAVY
    assert not {name for name in loaded if name.startswith("antiseche.") and name.count(".") > 1}


@pytest.mark.parametrize("name", list(app.COMMANDS))
def test_static_summary_equals_the_command_s_own_short_help(name: str) -> None:
    module, attribute, summary = app.COMMANDS[name]
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.get_short_help_str(limit=200).rstrip(".") == summary.rstrip(".")


@pytest.mark.parametrize("name", list(app.COMMANDS))
def test_every_command_and_option_has_help(name: str) -> None:
    module, attribute, _summary = app.COMMANDS[name]
    command = getattr(importlib.import_module(module), attribute)
    mute = [
        parameter.name
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden and not parameter.help
    ]
    assert mute == []


def test_help_speaks_french_unless_told_otherwise() -> None:
    french, english = run("--help").stdout, run("--help", LANG="en_US.UTF-8").stdout
    assert "Usage :" in french
    assert "Commandes" in french
    assert "Usage:" in english
    assert "Commands" in english
    assert run("--help", LANG="en_US.UTF-8", ANTISECHE_LANG="fr").stdout == french
    assert run("--lang", "en", "--help", LANG="fr_FR.UTF-8").stdout == english
    assert run("--help", LANG="C").stdout == french


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nope"], "nope"),
        (["--nope"], "--nope"),
        (["--lang", "de", "status"], "de"),
        (["--lang"], "--lang"),
        (["--lang=", "status"], "--lang"),
        (["Deploy"], "Deploy"),
        (["check-answers", "--nope"], "--nope"),
        (["deploy", "un", "deux"], "deux"),
    ],
)
def test_wrong_command_line_is_one_clear_message_and_exit_2(arguments: list[str], word: str) -> None:
    done = run(*arguments)
    assert done.returncode == errors.ExitCode.USAGE
    assert word in done.stderr
    assert "Traceback" not in done.stderr


class Boom(click.Group):
    """Stands for the application, with a command that raises what it is told to."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def main(self, *args: object, **kwargs: object) -> object:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.AntisecheError("raison"), 1),
        (errors.AnswersError("raison"), 2),
        (errors.MissingRequirementError("raison"), 1),
        (errors.HostUnreachableError("raison"), 4),
        (click.UsageError("raison"), 2),
        (click.exceptions.Abort(), 130),
        (KeyboardInterrupt(), 130),
        (RuntimeError("raison"), 1),
    ],
)
def test_every_error_has_its_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ANTISECHE_DEBUG", raising=False)
    monkeypatch.setattr(app, "build_app", lambda: Boom(error))
    assert app.main([]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    if str(error):
        assert "raison" in shown.err


def test_our_own_bug_shows_its_trace_only_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTISECHE_DEBUG", "1")
    monkeypatch.setattr(app, "build_app", lambda: Boom(RuntimeError("raison")))
    with pytest.raises(RuntimeError, match="raison"):
        app.main([])


@pytest.mark.parametrize("result", [0, 3, 4, 5])
def test_a_command_s_exit_code_is_the_program_s(result: int, monkeypatch: pytest.MonkeyPatch) -> None:
    group = click.Group("x")
    group.add_command(click.Command("go", callback=lambda: click.get_current_context().exit(result)))
    monkeypatch.setattr(app, "build_app", lambda: group)
    assert app.main(["go"]) == result


def test_completion_offers_commands_without_importing_them() -> None:
    done = run(_ANTISECHE_COMPLETE="bash_complete", COMP_WORDS="antiseche de", COMP_CWORD="1")
    assert done.stdout.split() == ["plain,deploy", "plain,demo"]


def test_an_old_terminal_encoding_does_not_break_the_help() -> None:
    done = run("--help", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "deploy" in done.stdout


@pytest.mark.parametrize(
    ("argv", "environ", "expected"),
    [
        ([], {}, "fr"),
        ([], {"LANG": "en_GB.UTF-8"}, "en"),
        ([], {"LANG": "en_GB.UTF-8", "LC_ALL": "fr_FR.UTF-8"}, "fr"),
        ([], {"LANG": "de_DE.UTF-8"}, "fr"),
        (["--lang", "en"], {"ANTISECHE_LANG": "fr"}, "en"),
        (["--lang=fr"], {"LANG": "en_US"}, "fr"),
        (["status", "--lang"], {"LANG": "en_US"}, "en"),
    ],
)
def test_language_choice(argv: list[str], environ: dict[str, str], expected: str) -> None:
    assert i18n.requested_language(argv, environ) == expected
