"""Accounts of an imagined machine, for the tests of the planner."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import antiseche_accounts_plan as planner

Account, State, plan = planner.Account, planner.State, planner.plan

ROOT_LINE = "root:x:0:0:root:/root:/bin/bash\n"
ANNE = "anne:x:1001:1001:Anne,,:/home/anne:/bin/bash\n"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
ROOT = Account(0, 0, "root", "/root", "/bin/bash", "*")
MAINTENANCE = Account(999, 999, "", "/home/antiseche", "/bin/bash", "*")


def person(login: str = "anne", **more: Any) -> dict[str, Any]:
    return {"login": login, "name": login.title(), "groups": [], "state": "active", "expires": "", **more}


def account(uid: int = 1001, name: str = "Anne", **more: Any) -> Any:
    values = {"hash": "$y$j9T$x", "home": f"/home/{name.lower()}", "home_mode": 0o700, "home_uid": uid, **more}
    return Account(uid, uid, name, **values)


def state(**accounts: Any) -> Any:
    found = {"root": copy.copy(ROOT), "antiseche": copy.copy(MAINTENANCE), **accounts}
    return State(found, {login: (entry.gid, []) for login, entry in found.items()})


def wanted(*people: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"people": list(people), "groups": [], "maintenance_user": "antiseche", **more}


def texts(found: Any, want: dict[str, Any]) -> list[str]:
    return [change.text for change in plan(found, want)]


def machine(root: Path, passwd: str = ROOT_LINE + ANNE, shadow: str = "", group: str = "", gshadow: str = "") -> Path:
    (root / "etc").mkdir()
    for name, text in (("passwd", passwd), ("shadow", shadow), ("group", group), ("gshadow", gshadow)):
        (root / "etc" / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    return root
