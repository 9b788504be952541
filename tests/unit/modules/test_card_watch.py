"""The watcher: which cards count, and that only their leaving locks."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
CPS3 = "3BAC00402A001225006480000310009000"  # a real card's answer
CPS4 = "3B9B188001001225006480040100009044"
CONTACTLESS = "3B8F80010031B8640000ECC07394018082900 00E".replace(" ", "")
VITALE = "3F6525000000000000000000000000000000"
PRESENT = 0x20
CHANGED = 0x2


class Scard(SimpleNamespace):
    """The part of pyscard that the watcher uses; ``moments`` are the successive states of the readers."""

    SCARD_S_SUCCESS, SCARD_E_TIMEOUT, SCARD_E_NO_READERS_AVAILABLE, SCARD_E_UNKNOWN_READER = 0, 1, 2, 3
    SCARD_E_NO_SERVICE = 4
    SCARD_STATE_UNAWARE, SCARD_STATE_CHANGED, SCARD_STATE_PRESENT, SCARD_SCOPE_SYSTEM = 0, CHANGED, PRESENT, 2
    moments: list[Any]

    def __init__(self, moments: list[Any]) -> None:
        super().__init__()
        self.moments = moments
        self.asked: list[int] = []

    def SCardListReaders(self, context: int, groups: list[str]) -> tuple[int, list[str]]:  # noqa: N802
        del context, groups
        now = self.moments[0]
        if now == "lost":
            self.moments.pop(0)
            return 4, []
        return (0, list(now)) if now else (2, [])

    def SCardGetStatusChange(self, context: int, wait: int, asked: list[Any]) -> tuple[int, list[Any]]:  # noqa: N802
        del context, asked
        self.asked.append(wait)
        now = self.moments.pop(0)
        return 0, [(name, CHANGED | (PRESENT if atr else 0x10), list(bytes.fromhex(atr))) for name, atr in now.items()]

    def SCardGetErrorMessage(self, code: int) -> str:  # noqa: N802
        return f"code {code}"


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, "smartcard", ModuleType("smartcard"))
    monkeypatch.setattr(sys.modules["smartcard"], "scard", Scard([]), raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = importlib.machinery.SourceFileLoader("card_watch", str(ROOT / "roles/cps/files/card-watch"))
    spec = importlib.util.spec_from_loader("card_watch", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=iter(range(10_000)).__next__, sleep=lambda _s: None))
    return module


@pytest.fixture
def cards(watch: ModuleType, tmp_path: Path) -> list[tuple[bytes, bytes]]:
    table = tmp_path / "cards.json"
    table.write_text(json.dumps(yaml.safe_load((ROOT / "roles/cps/defaults/main.yml").read_text())["cps_cards"]))
    watch.CARDS = str(table)
    known: list[tuple[bytes, bytes]] = watch.known_cards()
    return known


@pytest.mark.parametrize(
    "atr", [CPS3, CPS4, CONTACTLESS, "3B9B188001001225006480000401009044", "3BDC18FF00001225006480000401009000"]
)
def test_professional_cards_are_known(watch: ModuleType, cards: list[tuple[bytes, bytes]], atr: str) -> None:
    assert watch.is_known(bytes.fromhex(atr), cards)


@pytest.mark.parametrize(
    "atr", ["", "3B", VITALE, CPS4[:-2], CPS4 + "00", "3B7A18000073667465206364313434", CPS4.replace("9044", "9045")]
)
def test_other_cards_are_not(watch: ModuleType, cards: list[tuple[bytes, bytes]], atr: str) -> None:
    assert not watch.is_known(bytes.fromhex(atr), cards)


IN, OUT, OTHER, GONE = {"r": CPS4}, {"r": ""}, {"r": VITALE}, {}
STORIES = {
    "pulled": ([], [IN, IN, OUT], 1),
    "pulled-and-put-back": ([], [IN, OUT, IN, IN], 1),
    "pulled-twice": ([], [IN, OUT, IN, OUT], 2),
    "reader-unplugged": ([], [IN, {}, {}], 1),
    "put-in": ([], [OUT, IN, IN], 0),
    "other-card-pulled": ([], [OTHER, OTHER, OUT], 0),
    "other-card-instead": ([], [IN, OTHER], 1),
    "two-readers-one-pulled": ([], [{"r": CPS4, "s": CPS3}, {"r": CPS4, "s": ""}], 1),
    "never-there": ([], [OUT, OUT], 0),
}


def told(watch: ModuleType, cards: Any, moments: list[Any], before: set[Any], monkeypatch: pytest.MonkeyPatch) -> int:
    locks: list[int] = []
    monkeypatch.setattr(watch, "lock", lambda: locks.append(1))
    monkeypatch.setattr(watch, "scard", Scard([*moments, "lost"]))
    with pytest.raises(watch.Lost):
        watch.watch(1, cards, before)
    return len(locks)


@pytest.mark.parametrize(("before", "moments", "locks"), STORIES.values(), ids=STORIES)
def test_only_a_leaving_card_locks(
    watch: ModuleType, cards: Any, before: list[Any], moments: list[Any], locks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(watch, cards, moments, set(before), monkeypatch) == locks


def test_a_restart_of_the_card_service_locks_nothing(watch: ModuleType, cards: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before: set[Any] = set()
    assert told(watch, cards, [IN, IN], before, monkeypatch) == 0
    assert before
    assert told(watch, cards, [{}, {}, IN, IN], before, monkeypatch) == 0, "readers come back one after the other"
    assert told(watch, cards, [{}] * 20, before, monkeypatch) == 1, "a card pulled meanwhile does lock"


def test_only_local_text_sessions_get_a_prompt(watch: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = {
        "1": "Type=tty\nRemote=no\nClass=user\nTTY=tty1\n",
        "2": "Type=tty\nRemote=yes\nClass=user\nTTY=pts/0\n",
        "3": "Type=x11\nRemote=no\nClass=user\nTTY=tty7\n",
        "4": "Type=unspecified\nRemote=no\nClass=manager\nTTY=\n",
        "5": "Type=tty\nRemote=no\nClass=greeter\nTTY=tty2\n",
    }
    called: list[list[str]] = []

    def run(argv: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        called.append(argv)
        if argv[1] == "list-sessions":
            return subprocess.CompletedProcess(argv, 0, "".join(f"{name} 1000 lea seat0\n" for name in sessions), "")
        return subprocess.CompletedProcess(argv, 0, sessions.get(argv[2], "") if argv[1] == "show-session" else "", "")

    monkeypatch.setattr(watch, "subprocess", SimpleNamespace(run=run))
    watch.lock()
    assert ["loginctl", "lock-sessions"] in called
    started = [argv[-1] for argv in called if argv[0] == "systemctl"]
    assert started == ["antiseche-text-lock@1.service"]
