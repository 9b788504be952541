"""Records of restore drills: the fields of the restore sheet of the PGSSI-S (7.4.5.3), and what was seen."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from antiseche.practice.atomic import make_folder, write_text
from antiseche.practice.folder import PracticeFolder
from antiseche.verify.drill import Comparison

VERSION = 1
SHOWN_FILES = 500


def record(
    host: str,
    scratch: str,
    people: tuple[str, str],
    answer: dict[str, Any],
    found: Comparison,
    moment: dt.datetime,
    *,
    offsite: bool = False,
) -> dict[str, Any]:
    """Return the record of one drill.

    Args:
        host: whose backup it was.
        scratch: where it was restored.
        people: operator and requester.
        answer: of the scratch machine.
        found: the comparison.
        moment: when the drill ended, UTC.
        offsite: whether the off-site copy was restored.
    """
    verified = found.verified and bool(answer["erased"])
    return {
        "version": VERSION,
        "operator": people[0],
        "requester": people[1],
        "host": host,
        "scratch": scratch,
        "source": "offsite" if offsite else "server",
        "backup_date": answer["snapshot"]["time"],
        "restore_date": moment.isoformat(timespec="seconds"),
        "status": "verified" if verified else "not-verified",
        "snapshot": answer["snapshot"]["id"],
        "snapshot_files": answer["snapshot_files"],
        "files": [
            {"path": one["path"], "why": one["why"], "size": one["size"], "sha256": one["sha256"], "result": _result(one, found)}
            for one in answer["files"][:SHOWN_FILES]
        ],
        "restored": sum(one["sha256"] is not None for one in answer["files"]),
        "bytes": sum(one["size"] or 0 for one in answer["files"]),
        "seconds": answer["seconds"],
        "compared": len(found.identical) + len(found.different),
        "identical": len(found.identical),
        "different": found.different,
        "absent": found.absent,
        "changed_since": len(found.changed),
        "missing": found.missing,
        "erased": answer["erased"],
    }


def _result(one: dict[str, Any], found: Comparison) -> str:
    for word, paths in (("different", found.different), ("absent", found.absent), ("changed-since", found.changed)):
        if one["path"] in paths:
            return word
    return "identical"


def keep(folder: PracticeFolder, entry: dict[str, Any]) -> Path:
    """Write a record into the practice's folder; an earlier one is never replaced.

    Raises:
        AnswersError: the place cannot be written.
    """
    target = folder.root / "drills"
    make_folder(target)
    stamp = entry["restore_date"].replace(":", "").replace("-", "").partition("+")[0]
    path = target / f"{stamp}-{entry['host']}.json"
    number = 1
    while path.exists():
        number += 1
        path = target / f"{stamp}-{entry['host']}-{number}.json"
    write_text(path, json.dumps(entry, ensure_ascii=False, indent=1, sort_keys=True) + "\n")
    return path


def for_the_host(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what the machine keeps of a drill, for its checks: no path of anybody's file."""
    return {
        "version": VERSION,
        "at": entry["restore_date"],
        "verified": entry["status"] == "verified",
        "compared": entry["compared"],
        "restored": entry["restored"],
        "snapshot": entry["snapshot"],
        "scratch": entry["scratch"],
    }
