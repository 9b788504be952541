"""The controller's half: the file is looked for where the answers say, recognised, and sent only when it is missing."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from test_action_and_lookup import load_plugin

ACTION = load_plugin("action", "antiseche_cps")
CONTENT = b"the vendor's package"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Machine(ACTION.ActionModule):  # type: ignore[misc, name-defined]  # loaded by path
    """The action with a machine that remembers what it was asked."""

    def __init__(self, answers: list[dict[str, Any]], *, check: bool = False, **middleware: str) -> None:
        self._task = SimpleNamespace(args={"middleware": middleware} if middleware else {}, check_mode=check)
        shell = SimpleNamespace(join_path=lambda *parts: "/".join(parts), tmpdir="/remote")
        self._connection = SimpleNamespace(_shell=shell)
        self.answers, self.asked, self.sent, self.removed = answers, [], [], []  # type: ignore[var-annotated]

    def _execute_module(self, module_args: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        del task_vars
        self.asked.append(module_args)
        return self.answers.pop(0)

    def _make_tmp_path(self) -> str:
        return "/remote"

    def _transfer_file(self, local: str, remote: str) -> None:
        self.sent.append((Path(local).read_bytes(), remote))

    def _remove_tmp_path(self, path: str) -> None:
        self.removed.append(path)


@pytest.fixture(autouse=True)
def _base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ACTION.ActionBase, "run", lambda *_args, **_more: {})


@pytest.fixture
def practice(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "inventory").mkdir()
    (tmp_path / "middleware.rpm").write_bytes(CONTENT)
    return {"inventory_dir": str(tmp_path / "inventory")}


NEEDED = {"needs_file": True, "changes": ["set aside /tmp/CPS"]}
DONE = {"needs_file": False, "changes": ["middleware CPS 5.2.2: installed"]}


def test_the_file_is_sent_when_it_is_missing(practice: dict[str, Any]) -> None:
    machine = Machine([dict(NEEDED), dict(DONE)], source="middleware.rpm", sha256=DIGEST.upper(), version="5.2.2")
    result = machine.run(task_vars=practice)
    assert machine.sent == [(CONTENT, "/remote/middleware.rpm")]
    assert machine.asked[1]["middleware"]["file"] == "/remote/middleware.rpm"
    assert result["changes"] == NEEDED["changes"] + DONE["changes"]  # type: ignore[operator]
    assert result["changed"] is True
    assert machine.removed == ["/remote"]


@pytest.mark.parametrize(
    "first", [{"needs_file": False, "changes": []}, {"failed": True, "msg": "x", "needs_file": True}], ids=str
)
def test_nothing_is_sent_that_nobody_needs(practice: dict[str, Any], first: dict[str, Any]) -> None:
    machine = Machine([first], source="absent.rpm", sha256=DIGEST, version="5.2.2")
    assert machine.run(task_vars=practice) == first
    assert machine.sent == []


def test_without_middleware_the_module_answers_alone(practice: dict[str, Any]) -> None:
    machine = Machine([{"supplied": False, "needs_file": False}])
    assert machine.run(task_vars=practice)["supplied"] is False


def test_check_mode_looks_at_the_file_and_sends_nothing(practice: dict[str, Any]) -> None:
    machine = Machine([dict(NEEDED)], check=True, source="middleware.rpm", sha256=DIGEST, version="5.2.2")
    assert machine.run(task_vars=practice) == NEEDED
    assert machine.sent == []
    with pytest.raises(AnsibleActionFail, match="n'est pas le fichier attendu"):
        Machine([dict(NEEDED)], check=True, source="middleware.rpm", sha256="0" * 64, version="5.2.2").run(task_vars=practice)


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("source", "sentence"), [("absent.rpm", "illisible"), (".", "illisible"), ("http://127.0.0.1:1/x.rpm", "téléchargée")]
)
def test_a_file_that_is_not_there_is_one_sentence(practice: dict[str, Any], source: str, sentence: str, check: bool) -> None:
    machine = Machine([dict(NEEDED)], check=check, source=source, sha256=DIGEST, version="5.2.2")
    with pytest.raises(AnsibleActionFail, match=sentence):
        machine.run(task_vars=practice)
    assert machine.sent == []


def test_the_folder_is_emptied_when_the_module_fails(practice: dict[str, Any]) -> None:
    machine = Machine([dict(NEEDED), {"failed": True, "msg": "no"}], source="middleware.rpm", sha256=DIGEST, version="5.2.2")
    result = machine.run(task_vars=practice)
    assert result["failed"] is True
    assert machine.removed == ["/remote"]


@pytest.fixture
def server(practice: dict[str, Any]) -> Iterator[str]:
    folder = str(Path(practice["inventory_dir"]).parent)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()


def test_an_address_is_fetched_here_and_recognised(
    practice: dict[str, Any], server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"source": f"{server}/middleware.rpm", "version": "5.2.2"}
    machine = Machine([dict(NEEDED), dict(DONE)], sha256=DIGEST, **given)
    machine.run(task_vars=practice)
    assert machine.sent[0][0] == CONTENT
    with pytest.raises(AnsibleActionFail, match="n'est pas le fichier attendu"):
        Machine([dict(NEEDED)], sha256="0" * 64, **given).run(task_vars=practice)
    monkeypatch.setattr(ACTION, "MOST_BYTES", 3)
    with pytest.raises(AnsibleActionFail, match="trop gros"):
        Machine([dict(NEEDED)], sha256=DIGEST, **given).run(task_vars=practice)


def test_paths_count_from_the_practices_folder(tmp_path: Path) -> None:
    inventory = str(tmp_path / "inventory")
    assert ACTION.place("x.rpm", inventory) == tmp_path / "x.rpm"
    assert ACTION.place("/srv/x.rpm", inventory) == Path("/srv/x.rpm")
    assert ACTION.place("~/x.rpm", inventory) == Path.home() / "x.rpm"
    assert ACTION.is_address("HTTPS://example.org/x.rpm")
    assert not ACTION.is_address("https.rpm")
