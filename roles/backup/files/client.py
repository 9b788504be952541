# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Backs this machine up to the practice's server when it is due, and leaves a state that everybody may read.

Started by antiseche-backup.timer every quarter of an hour; ``--now`` does not ask whether it is due.
"""

from __future__ import annotations

import argparse
import base64
import datetime as dt
import email.utils
import hashlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import snapshots
from common import Answer, BackupError, failure_of, now, read_json, restic, restic_or_fail, stamp, write_json

SETTINGS = Path("/etc/antiseche/backup")
STATE = Path("/var/lib/antiseche-backup")
# Backed up with the rest. Not below the state, whose writing touches its folder: a change to send, each time.
CONTENTS = Path("/var/lib/antiseche-backup-contents")
MANIFEST = CONTENTS / "manifest.json"
DUMPS = CONTENTS / "dumps"
CONNECT_SECONDS = 15
SKEW_SECONDS = 300
DUMP_SECONDS = 3600
MANIFEST_FILES = 2000
MANIFEST_BYTES = 500_000_000
# At a first deployment the server is being set up too, and its firewall not yet open.
FIRST_TRIES, FIRST_PAUSE = 30, 10
INCOMPLETE = 3  # restic: the snapshot was made, some files could not be read


def due(config: dict[str, Any], state: dict[str, Any], moment: dt.datetime) -> bool:
    """Say whether the last success is older than the last agreed hour, in the practice's time zone."""
    success = (state.get("success") or {}).get("at", "")
    if not success:
        return True
    hour, minute = map(int, config["hour"].split(":"))
    local = moment.astimezone(ZoneInfo(config["timezone"]))
    agreed = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if agreed > local:
        agreed -= dt.timedelta(days=1)
    last = dt.datetime.fromisoformat(success)
    return last < agreed or last > moment + dt.timedelta(seconds=SKEW_SECONDS)


def environment() -> dict[str, str]:
    """Return where restic finds the repository, its password and a place for its cache."""
    return {
        "RESTIC_REPOSITORY_FILE": str(SETTINGS / "repository"),
        "RESTIC_PASSWORD_FILE": str(SETTINGS / "password"),
        "RESTIC_PROGRESS_FPS": "0.1",  # nobody watches: sixty reports a second are work for nothing
        "RESTIC_CACHE_DIR": os.environ.get("CACHE_DIRECTORY", "/var/cache/antiseche-backup"),
    }


def common_options() -> list[str]:
    """Return the options of every call: the server's own certificate, and no other."""
    return ["--cacert", str(SETTINGS / "server.pem"), "--quiet"]


def server_clock() -> tuple[dt.datetime, bool]:
    """Ask the server for the repository's configuration; return its clock and whether the repository exists.

    Raises:
        BackupError: absent, another certificate, or credentials refused; within seconds.
    """
    address = urllib.parse.urlsplit((SETTINGS / "repository").read_text(encoding="utf-8").strip().removeprefix("rest:"))
    context = ssl.create_default_context(cafile=str(SETTINGS / "server.pem"))
    connection = http.client.HTTPSConnection(
        address.hostname or "", address.port or 443, timeout=CONNECT_SECONDS, context=context
    )
    password = urllib.parse.unquote(address.password or "")
    token = f"{urllib.parse.unquote(address.username or '')}:{password}".encode()
    headers = {"Authorization": "Basic " + base64.b64encode(token).decode()}
    try:
        connection.request("HEAD", address.path + "config", headers=headers)
        answer = connection.getresponse()
    except ssl.SSLError as error:
        raise BackupError("certificate", str(error)) from None
    except (OSError, http.client.HTTPException) as error:
        raise BackupError("absent", str(error)) from None
    finally:
        connection.close()
    if answer.status in (401, 403):
        raise BackupError("refused", f"HTTP {answer.status}")
    if answer.status not in (200, 404):
        raise BackupError("full" if answer.status == 507 else "other", f"HTTP {answer.status}")
    date = email.utils.parsedate_to_datetime(answer.headers.get("Date") or email.utils.format_datetime(now()))
    return date, answer.status == 200


def open_repository(state: dict[str, Any], exists: bool, accept_new: bool) -> None:
    """Make the repository the first time, never when one was there before. An existing one is opened by the backup itself.

    Raises:
        BackupError: lost.
    """
    if not exists:
        if state.get("repository") and not accept_new:
            raise BackupError("lost", "the server no longer has this machine's repository")
        restic_or_fail([*common_options(), "init"], environment())
    state.setdefault("repository", stamp(now()))


def dump(job: dict[str, Any]) -> str:
    """Run one dump command into a file of its own; return why it failed, empty when it did not."""
    DUMPS.mkdir(mode=0o700, parents=True, exist_ok=True)
    argv = [str(part) for part in job["command"]]
    if job.get("user") and job["user"] != "root":
        argv = ["runuser", "-u", job["user"], "--", *argv]
    target = DUMPS / job["name"]
    descriptor, name = tempfile.mkstemp(dir=DUMPS, prefix=f".{job['name']}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.PIPE, timeout=DUMP_SECONDS, check=False
            )
            stream.flush()
            os.fsync(stream.fileno())
        if done.returncode == 0:
            Path(name).replace(target)
            return ""
        words = done.stderr.decode(errors="replace").strip().splitlines()
        return f"{job['name']}: {words[-1] if words else done.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{job['name']}: {error.__class__.__name__}"
    finally:
        Path(name).unlink(missing_ok=True)


def manifest(paths: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return size, date and digest of each file that must survive, and the declared paths that hold none."""
    found: dict[str, Any] = {}
    missing: list[str] = []
    total = 0
    for path in paths:
        before = len(found)
        root = Path(path)
        for file in [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file() and not p.is_symlink()):
            try:
                seen = file.stat()
                total += seen.st_size
                if len(found) >= MANIFEST_FILES or total > MANIFEST_BYTES:
                    return found, missing  # the rest is compared with the live files
                with file.open("rb") as stream:
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError:
                continue
            found[str(file)] = {"size": seen.st_size, "mtime_ns": seen.st_mtime_ns, "sha256": digest}
        if len(found) == before:
            missing.append(path)
    return found, missing


def keep_manifest(value: dict[str, Any]) -> None:
    """Write the manifest where the backup takes it; leave an equal one alone, or each backup would send it again."""
    if read_json(MANIFEST) != value:
        CONTENTS.mkdir(mode=0o700, exist_ok=True)
        write_json(MANIFEST, value, mode=0o600)


def make_snapshot(config: dict[str, Any], moment: dt.datetime | None) -> tuple[Answer, dict[str, Any]]:
    """Run the backup itself; return restic's answer and its summary.

    Args:
        config: what the answers want.
        moment: the server's clock, when this machine's is wrong.
    """
    arguments = [*common_options()[:2], "backup", "--json", "--exclude-caches", "--host", config["host"], "--tag", "antiseche"]
    if config.get("limit_kib"):
        arguments += ["--limit-upload", str(config["limit_kib"])]
    arguments += [f"--exclude={pattern}" for pattern in config["exclude"]]
    if moment is not None:
        local = dt.datetime.fromtimestamp(moment.timestamp())
        arguments += ["--time", local.strftime("%Y-%m-%d %H:%M:%S")]
    wanted = [*config["paths"], *config["must_survive"], str(MANIFEST), str(DUMPS)]
    done = restic([*arguments, "--", *dict.fromkeys(path for path in wanted if Path(path).exists())], environment())
    summary: dict[str, Any] = {}
    for line in done.out.splitlines():
        if '"summary"' in line:
            summary = json.loads(line)
    return done, summary


def capture(config: dict[str, Any], moment: dt.datetime | None) -> tuple[Answer, dict[str, Any], int, list[str]]:
    """Take the manifest and the backup of the same files.

    Returns:
        restic's answer and its summary, how many files must survive, and the declared paths that hold nothing.
    """
    files, missing = manifest(config["must_survive"])
    keep_manifest({"files": files})
    absent = [path for path in config["paths"] if not Path(path).exists()]
    done, summary = make_snapshot(config, moment)
    return done, summary, len(files), [*absent, *missing]


def back_up(config: dict[str, Any], state: dict[str, Any], accept_new: bool) -> None:
    """Make one snapshot and write into the state what came of it.

    Raises:
        BackupError: there is no new snapshot, or one that lacks something.
    """
    server_time, exists = server_clock()
    state["clock_skew"] = round((server_time - now()).total_seconds())
    open_repository(state, exists, accept_new)
    problems = [problem for problem in map(dump, config["dumps"]) if problem]
    started = now()
    moment = server_time if abs(state["clock_skew"]) > SKEW_SECONDS else None
    with snapshots.Freeze([*config["paths"], *config["must_survive"]], bool(config.get("snapshots")), STATE) as freeze:
        taken = capture(config, moment)
    if freeze.filled:  # from then on it answered nothing but errors
        taken = capture(config, moment)
    done, summary, files, lacking = taken
    if done.rc not in (0, INCOMPLETE) or not summary.get("snapshot_id"):
        raise failure_of(done)
    state["success"] = {
        "at": stamp(now()),
        "server_at": stamp(now() + dt.timedelta(seconds=state["clock_skew"])),
        "snapshot": str(summary["snapshot_id"]),
        "files": summary.get("total_files_processed", 0),
        "bytes": summary.get("total_bytes_processed", 0),
        "bytes_added": summary.get("data_added", 0),
        "seconds": round((now() - started).total_seconds()),
        "must_survive_files": files,
    }
    state["frozen"] = {**freeze.report(), "snapshot": state["success"]["snapshot"]} if freeze.wanted else None
    if problems:
        raise BackupError("dump", " ; ".join(problems))
    if lacking:
        raise BackupError("paths", ", ".join(lacking))
    if done.rc == INCOMPLETE:
        raise BackupError("unreadable", done.err.strip()[-300:])


def patiently(config: dict[str, Any], state: dict[str, Any], accept_new: bool) -> None:
    """Back up; a first backup waits for its server.

    Raises:
        BackupError: as back_up.
    """
    tries = 1 if state.get("success") else FIRST_TRIES
    for left in reversed(range(tries)):
        try:
            return back_up(config, state, accept_new)
        except BackupError as error:
            if error.code != "absent" or not left:
                raise
        time.sleep(FIRST_PAUSE)
    return None


def main() -> int:
    """Back up if it is due. A server that cannot be reached is a state, not a failed unit: laptops travel."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--now", action="store_true", help="do not ask whether it is due")
    parser.add_argument("--accept-new-repository", action="store_true", help="start again after the server lost it")
    options = parser.parse_args()
    config, state = read_json(SETTINGS / "client.json"), read_json(STATE / "state.json")
    if not config:
        sys.stderr.write("backup: no settings\n")
        return 1
    snapshots.clean_after_a_crash(STATE)
    if not (options.now or options.accept_new_repository or due(config, state, now())):
        return 0
    state.update({"version": 1, "host": config["host"], "attempt": stamp(now())})
    failure: dict[str, str] | None = None
    STATE.mkdir(mode=0o755, exist_ok=True)
    try:
        patiently(config, state, options.accept_new_repository)
    except (BackupError, OSError) as caught:
        error = caught if isinstance(caught, BackupError) else BackupError("other", str(caught))
        earlier = state.get("failure") or {}
        since = earlier.get("since", state["attempt"]) if earlier.get("code") == error.code else state["attempt"]
        failure = {**error.as_json(), "since": since}
        sys.stderr.write(f"backup: {error.code}: {error.detail}\n")
    state["failure"] = failure
    write_json(STATE / "state.json", state)
    return 0 if failure is None or failure["code"] == "absent" else 1


if __name__ == "__main__":
    sys.exit(main())
