"""The card middleware as ``doctor`` sees it: what would stop a deployment is said before it starts."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from antiseche.kit import kit_dir
from antiseche.practice.answers import load_answers
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Middleware, Practice
from antiseche.verify import doctor
from antiseche.verify.doctor import OK, PROBLEM, WARNING, Request

DIGEST = hashlib.sha256(b"rpm").hexdigest()


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    example = load_answers(PracticeFolder(kit_dir() / "inventories/exemple"))
    (tmp_path / "x.rpm").write_bytes(b"rpm")
    return Request(PracticeFolder(tmp_path), example, tuple(example.hosts))


def supplied(practice: Practice, source: str, sha256: str = DIGEST) -> Practice:
    given = Middleware(source=source, sha256=sha256, version="5.2.4")
    return practice.model_copy(update={"cps": practice.cps.model_copy(update={"middleware": given})})


@pytest.mark.parametrize(
    ("source", "sha256", "status", "said"),
    [
        ("x.rpm", DIGEST.upper(), OK, "5.2.4"),
        ("https://exemple.test/x.rpm", DIGEST, OK, "à télécharger"),
        ("y.rpm", DIGEST, PROBLEM, "illisible"),
        ("x.rpm", "0" * 64, PROBLEM, "n'a pas l'empreinte"),
    ],
)
def test_the_middleware_of_the_answers(request_: Request, source: str, sha256: str, status: str, said: str) -> None:
    found = doctor._middleware(replace(request_, practice=supplied(request_.practice, source, sha256)))
    assert found[0] == status
    assert said in found[1]


def test_none_is_a_warning(request_: Request) -> None:
    assert doctor._middleware(request_) == (WARNING, "non fournie : les cartes ne serviront pas encore")


def test_it_is_asked_only_where_there_is_a_reader(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_ansible", "_ssh_client", "_folder", "_key", "_vault_source", "_inventory", "_known_hosts"):
        monkeypatch.setattr(doctor, name, lambda _request: (OK, ""))
    assert "Cryptolib CPS" in [one.subject for one in doctor._controller(request_)]
    without = replace(request_, hosts=tuple(host for host in request_.hosts if not host.card_reader))
    assert "Cryptolib CPS" not in [one.subject for one in doctor._controller(without)]
