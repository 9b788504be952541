"""Sample practices for the inventory tests."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Practice

PASSWORD = b"correct horse battery"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFyiQAW3QHF7pPP2vEiiMHAOaMKksR7O25bxafTvrx8h it@example"

SAMPLE: dict[str, Any] = {
    "practice": {"id": "tilleuls", "name": "Cabinet des Tilleuls"},
    "people": [
        {"login": "claire", "name": "Dr Claire Fontaine", "function": "doctor", "admin": True},
        {"login": "lucie", "name": "Lucie d'Aubigné", "function": "secretary"},
        {"login": "remi", "name": "Rémi Noël", "function": "locum", "until": "2026-12-31"},
        {"login": "paul", "name": "Paul Parti", "function": "nurse", "left": True},
    ],
    "hosts": [
        {"name": "accueil", "address": "192.168.1.11", "users": ["lucie", "paul"]},
        {"name": "cabinet1", "system": "debian12", "address": "192.168.1.12", "users": ["claire", "remi"]},
        {"name": "serveur", "kind": "server", "address": "192.168.1.10", "users": ["claire"]},
    ],
    "network": {"lan": "192.168.1.0/24", "printers": [{"name": "HP", "address": "192.168.1.50"}]},
    "software": [
        {"name": "MediLogiciel", "hosts": ["serveur"], "inbound": [{"name": "base de données", "ports": [5432]}]},
    ],
    "shares": [{"name": "courriers", "host": "serveur", "users": ["claire"]}],
    "maintenance": {"contractor": "Info & Cie", "addresses": ["203.0.113.4/32"], "public_keys": [KEY]},
    "choices": {"inbound_flows": [{"name": "téléphone", "protocol": "udp", "ports": [5060], "sources": ["192.168.1.60/32"]}]},
}


def sample(**changes: Any) -> Practice:
    """Return the sample practice with some top-level parts replaced."""
    return Practice.model_validate({**copy.deepcopy(SAMPLE), **changes})


def folder_in(path: Path) -> PracticeFolder:
    """Return an empty practice folder."""
    path.mkdir(exist_ok=True)
    return PracticeFolder(path)


def password(_create: bool = False) -> bytes:
    """Give the vault password as a command would."""
    return PASSWORD
