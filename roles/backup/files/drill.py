# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Restore drills: a sample of another machine's backup restored here, hashed and erased; or live files hashed.

``restore``, ``hash`` and ``record`` read one JSON object on stdin and answer one on stdout. Secrets come by stdin and stay in
a private folder in memory while restic runs.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import BackupError, moment_of, now, restic_or_fail, stamp, write_json
from offsite import of_machine

STATE = Path("/var/lib/antiseche-backup")
MANIFEST = "/var/lib/antiseche-backup-contents/manifest.json"
SAMPLE_FILE_BYTES = 200_000_000
MUST_FILES = 5000
MARGIN_BYTES = 500_000_000


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def under(path: str, roots: list[str]) -> bool:
    """Say whether a path is one of the roots or inside one."""
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


def pattern(path: str) -> str:
    """Return a line of restic's include file that means this path and no other."""
    text = re.sub(r"([\\*?\[\]])", r"\\\1", path).replace("$", "$$")
    return text if text == text.strip() else text[:-1] + "?"


def files_of(environment: dict[str, str], options: list[str], snapshot: str) -> dict[str, int]:
    """Return the regular files of a snapshot with their sizes."""
    found = {}
    for line in restic_or_fail([*options, "ls", "--json", snapshot], environment).splitlines():
        node = json.loads(line)
        if (
            node.get("struct_type", node.get("message_type")) == "node"
            and node.get("type") == "file"
            and "\n" not in node["path"]
        ):
            found[node["path"]] = int(node.get("size", 0))
    return found


def chosen(files: dict[str, int], must: list[str], sample: int) -> dict[str, str]:
    """Return what to restore and why: all that must survive, and a random sample of the rest."""
    wanted = dict.fromkeys([path for path in files if under(path, must)][:MUST_FILES], "must-survive")
    rest = [path for path, size in files.items() if path not in wanted and path != MANIFEST and size <= SAMPLE_FILE_BYTES]
    wanted.update((path, "sample") for path in random.SystemRandom().sample(rest, min(sample, len(rest))))
    return wanted


def restore(request: dict[str, Any]) -> dict[str, Any]:
    """Restore, hash, erase; return what was seen.

    Raises:
        BackupError: the repository cannot be opened, holds no snapshot, or there is no room here.
    """
    with tempfile.TemporaryDirectory(prefix="antiseche-drill-", dir="/run") as private:
        environment = {"RESTIC_CACHE_DIR": f"{private}/cache", **request.get("environment", {})}
        address, sftp_options = of_machine(request, request["host"], Path(private)) if request.get("sftp") else ("", [])
        for name in ("repository", "password", "certificate"):
            path = Path(private) / name
            path.touch(mode=0o600)
            path.write_text(request.get(name) or (address if name == "repository" else ""), encoding="utf-8")
        environment.update({"RESTIC_REPOSITORY_FILE": f"{private}/repository", "RESTIC_PASSWORD_FILE": f"{private}/password"})
        options = [*sftp_options, "--no-lock", "--no-cache", "--quiet"]
        options += ["--cacert", f"{private}/certificate"] if request.get("certificate") else []
        listed = json.loads(restic_or_fail([*options, "snapshots", "--json", "--host", request["host"]], environment) or "[]")
        listed = [
            one for one in listed if moment_of(one["time"]) < now() + dt.timedelta(hours=1)
        ]  # no forged date of years to come
        if not listed:
            raise BackupError("empty", "no snapshot of this machine")
        snapshot = max(listed, key=lambda one: moment_of(one["time"]))
        files = files_of(environment, options, snapshot["id"])
        wanted = chosen(files, request["must_survive"], request["sample"])
        scratch = Path(tempfile.mkdtemp(prefix="antiseche-drill-", dir="/var/tmp"))
        try:
            answer = restored(environment, options, snapshot, files, wanted, scratch)
        finally:
            shutil.rmtree(scratch)
    gone = [root for root in request["must_survive"] if not any(under(path, [root]) for path in files)]
    return {**answer, "missing": gone, "erased": not scratch.exists(), "snapshot_files": len(files)}


def restored(
    environment: dict[str, str],
    options: list[str],
    snapshot: dict[str, Any],
    files: dict[str, int],
    wanted: dict[str, str],
    scratch: Path,
) -> dict[str, Any]:
    """Restore what is wanted into the scratch folder and describe each file."""
    needed = sum(files[path] for path in wanted)
    if shutil.disk_usage(scratch).free < needed + MARGIN_BYTES:
        raise BackupError("room", f"{needed} bytes to restore")
    include = scratch / "include"
    names = [*wanted, *([MANIFEST] if MANIFEST in files else [])]
    include.write_text("".join(pattern(path) + "\n" for path in names), encoding="utf-8")
    started = time.monotonic()
    target = scratch / "restored"
    restic_or_fail([*options, "restore", snapshot["id"], "--target", str(target), "--include-file", str(include)], environment)
    seconds = time.monotonic() - started
    found = []
    for path, why in wanted.items():
        place = target / path.lstrip("/")
        if place.is_file() and not place.is_symlink():
            seen = place.stat()
            found.append({"path": path, "why": why, "size": seen.st_size, "mtime_ns": seen.st_mtime_ns, "sha256": digest(place)})
        else:
            found.append({"path": path, "why": why, "size": None, "mtime_ns": None, "sha256": None})
    try:
        manifest = json.loads((target / MANIFEST.lstrip("/")).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        manifest = {}
    return {
        "snapshot": {"id": snapshot["short_id"], "time": snapshot["time"]},
        "seconds": round(seconds, 1),
        "files": found,
        "manifest": {path: manifest[path] for path in wanted if path in manifest},
    }


def hashes(request: dict[str, Any]) -> dict[str, Any]:
    """Return the digests of live files that have not changed since; the others cannot prove anything."""
    found: dict[str, Any] = {}
    for item in request["files"]:
        path = Path(item["path"])
        try:
            seen = path.lstat()
            same = (seen.st_size, seen.st_mtime_ns) == (item["size"], item["mtime_ns"])
            found[item["path"]] = digest(path) if same and not path.is_symlink() else None
        except OSError:
            found[item["path"]] = None
    return {"hashes": found}


def record(request: dict[str, Any]) -> dict[str, Any]:
    """Leave on this machine that a drill of its backup was made, for its checks."""
    STATE.mkdir(mode=0o755, exist_ok=True)
    write_json(STATE / "drill.json", {**request, "recorded": stamp(now())})
    return {}


def main() -> int:
    """Answer one request."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))  # so that what was restored is erased
    try:
        request = json.load(sys.stdin)
        answer = {"restore": restore, "hash": hashes, "record": record}[sys.argv[1]](request)
    except BackupError as error:
        answer = {"failure": error.as_json()}
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
