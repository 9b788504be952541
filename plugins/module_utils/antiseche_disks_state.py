# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""What is remembered of a volume while it is being made, and its lines in crypttab and fstab.

The memory tells a volume that a power cut left half made from somebody's data: it is written, and on the disk, before the first
byte of the volume is. Without it, what is not blank is never formatted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.antiseche_disks_say import N_, say

FORMATTING = "formatting"
MADE = "made"


def write_whole(path: Path, text: str, mode: int) -> None:
    """Replace a file in one step, flushed to the disk; an existing file keeps its mode."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileNotFoundError):
        mode = path.stat().st_mode & 0o777
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Memory:
    """One volume's memory: phase, the disk it is for, and the header whose keys were tried."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.json"
        try:
            read = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            read = {}
        self.values: dict[str, Any] = read if isinstance(read, dict) else {}

    def remember(self, **values: Any) -> None:
        """Keep values, on the disk when this returns."""
        self.values = {**self.values, **values}
        write_whole(self.path, json.dumps(self.values, sort_keys=True) + "\n", 0o600)

    def phase(self, uuid: str, identity: dict[str, Any] | None) -> str:
        """Return the phase, empty when it was another volume's or another disk's."""
        if self.values.get("uuid") != uuid or (identity is not None and self.values.get("identity") != identity):
            return ""
        return str(self.values.get("phase", ""))


def tried(digest: str, *secrets: str) -> str:
    """Return the mark of keys that were tried against a header: another header or another key gives another mark."""
    return hashlib.sha256("\n".join([digest, *secrets]).encode()).hexdigest()


def with_entry(text: str, column: int, key: str, line: str) -> str:
    """Return a table with one entry put right: its line replaced where it stands, or added; all other bytes stay.

    Raises:
        ValueError: the table holds the entry twice.
    """
    lines = text.splitlines(keepends=True)
    found = [number for number, old in enumerate(lines) if not old.lstrip().startswith("#") and _field(old, column) == key]
    if len(found) > 1:
        raise ValueError(say(N_("« {key} » y figure deux fois"), key=key))
    if found:
        if lines[found[0]].split() == line.split():
            return text
        lines[found[0]] = line + "\n"
        return "".join(lines)
    return text + ("" if not text or text.endswith("\n") else "\n") + line + "\n"


def _field(line: str, column: int) -> str:
    fields = line.split()
    return fields[column] if len(fields) > column else ""


def read_table(path: Path) -> str:
    """Return a table's text; a missing one is empty."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return ""
