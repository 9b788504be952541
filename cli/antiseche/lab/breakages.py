"""Deliberate breakages: what drift must find and repair, kept as data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from antiseche.i18n import _, language
from antiseche.lab.labs import Lab
from antiseche.lab.model import LabError

_TABLE = Path(__file__).with_name("breakages.yml")
# One person of the machine, whoever it is; administrators' separate accounts are not daily ones.
_PRELUDE = """set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
someone=$(awk -F: '$3 >= 1000 && $3 < 60000 && $1 !~ /^adm-/ {print $1; exit}' /etc/passwd)
[ -n "$someone" ]
"""


@dataclass(frozen=True)
class Breakage:
    """One thing done by hand, and the control that must notice."""

    id: str
    does: str
    run: str
    control: str


def breakages() -> list[Breakage]:
    """Return the table, in the language in force."""
    data: dict[str, list[dict[str, Any]]] = yaml.safe_load(_TABLE.read_text(encoding="utf-8"))
    return [Breakage(row["id"], row["does"][language()], row["run"], row["control"]) for row in data["breakages"]]


def break_machine(lab: Lab, machine: str, table: list[Breakage]) -> None:
    """Do everything in the table on a machine, from its console.

    Raises:
        LabError: one of them could not be done; a breakage that breaks nothing proves nothing.
    """
    for breakage in table:
        done = lab.exec(machine, ["sh", "-s"], f"{_PRELUDE}{breakage.run}\n".encode(), timeout=60)
        if done.rc != 0:
            raise LabError(_("Sur {machine}, « {what} » n'a pas pu être fait : {error}").format(
                machine=machine, what=breakage.does, error=done.stderr.decode(errors="replace").strip()[-300:]))  # fmt: skip
