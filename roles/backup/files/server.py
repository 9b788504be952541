# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""The server's half: what is kept, whether it can still be read, and the copy elsewhere. Clients can only add.

Runs as the rest-server's own user. Settings come as a systemd credential; passwords go to restic by private files.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from common import BackupError, failure_of, harmless, moment_of, now, read_json, restic, restic_or_fail, stamp, write_json
from offsite import of_machine, place_of

CHECK_DAYS = 6.5  # weekly, whatever the minute
WHOLE_BYTES = 2_000_000_000  # smaller repositories are read whole each time
ANSWER_SECONDS = 120
PARTS = 4  # larger ones within four weeks
# A snapshot arrives when it is made. One that says otherwise could make the retention drop the others.
ARRIVAL_SECONDS = 12 * 3600


class Repository:
    """One machine's repository on this server."""

    def __init__(self, folder: Path, host: dict[str, Any], private: Path) -> None:
        self.name = str(host["name"])
        self.folder: Path = folder / self.name
        self.secret = private / f"{self.name}.password"
        self.secret.touch(mode=0o600)
        self.secret.write_text(host["password"], encoding="utf-8")

    @property
    def exists(self) -> bool:
        """Whether a client has ever made it."""
        return (self.folder / "config").is_file()

    def environment(self) -> dict[str, str]:
        """Return where restic finds it."""
        cache = os.environ.get("CACHE_DIRECTORY", "/var/cache/antiseche-backup-server")
        return {"RESTIC_REPOSITORY": str(self.folder), "RESTIC_PASSWORD_FILE": str(self.secret), "RESTIC_CACHE_DIR": cache}

    def run(self, *arguments: str) -> str:
        """Run restic on it, or raise BackupError."""
        return restic_or_fail(arguments, self.environment())

    def size(self) -> int:
        """Return the bytes that it takes."""
        return sum(entry.stat().st_size for entry in self.folder.rglob("*") if entry.is_file())

    def snapshots(self) -> list[dict[str, Any]]:
        """Return what restic lists, oldest first."""
        found: list[dict[str, Any]] = json.loads(self.run("snapshots", "--json") or "[]")
        return sorted(found, key=lambda one: moment_of(one["time"]))

    def strange(self, snapshots: list[dict[str, Any]]) -> list[str]:
        """Return the snapshots whose date is not that of their arrival by this server's clock."""
        found = []
        for one in snapshots:
            arrived = (self.folder / "snapshots" / one["id"]).stat().st_mtime
            said = moment_of(one["time"]).timestamp()
            took = float((one.get("summary") or {}).get("total_duration", 0) or 0)
            if not -ARRIVAL_SECONDS - took < said - arrived < 3600:
                found.append(str(one["short_id"]))
        return found


def retain(repository: Repository, keep: dict[str, int], strange: list[str], state: dict[str, Any]) -> None:
    """Forget what the answers no longer want, by the age of snapshots that can be believed.

    Raises:
        BackupError: a snapshot has a date that is not its arrival's: nothing is forgotten.
    """
    if strange:
        raise BackupError("clock", ", ".join(strange[:5]))
    if keep:
        options = [
            *("--keep-within-daily", f"{keep['days']}d", "--keep-within-weekly", f"{keep['weeks'] * 7}d"),
            *("--keep-within-monthly", f"{keep['months']}m"),
        ]
        repository.run("forget", "--quiet", "--group-by", "host", *options, "--prune")
        state["retained"] = stamp(now())


def check(repository: Repository, state: dict[str, Any], size: int) -> None:
    """Check the structure, and read data: all of a small repository, a quarter of a larger one each week."""
    part = dt.date.today().isocalendar().week % PARTS + 1
    subset = ["--read-data"] if size <= WHOLE_BYTES else [f"--read-data-subset={part}/{PARTS}"]
    done = restic(["check", "--quiet", *subset], repository.environment())
    state["check"] = {"at": stamp(now()), "ok": done.rc == 0, "part": subset[0]}
    if done.rc != 0:
        error = failure_of(done)
        # Whatever a check complains about, unless it could not begin, is damage.
        known = error.code if error.code in ("password", "locked") else "corrupt"
        state["check"].update(BackupError(known, error.detail).as_json())


def check_is_due(state: dict[str, Any]) -> bool:
    """Say whether the last good check is old; one that found damage is repeated every day."""
    last = state.get("check") or {}
    if not last.get("ok"):
        return True
    return now() - dt.datetime.fromisoformat(last["at"]) > dt.timedelta(days=CHECK_DAYS)


def copy_away(repository: Repository, offsite: dict[str, Any], private: Path, believed: list[str], state: dict[str, Any]) -> None:
    """Copy the believed snapshots that the off-site repository lacks; it is made the first time. Nothing is removed there.

    Raises:
        BackupError: the provider cannot be reached, refuses, or is full.
    """
    place = private / f"{repository.name}.offsite"
    place.touch(mode=0o600)
    target = harmless(place_of(offsite, repository.name))
    if state.get("offsite", {}).get("place", target) != target:
        state["offsite"] = {}  # another provider: nothing is there yet
    address, options = of_machine(offsite, repository.name, private)
    place.write_text(address, encoding="utf-8")
    there = {
        "RESTIC_REPOSITORY_FILE": str(place),
        "RESTIC_PASSWORD_FILE": str(repository.secret),
        "RESTIC_CACHE_DIR": repository.environment()["RESTIC_CACHE_DIR"],
        **offsite.get("environment", {}),
    }
    source = ["--from-repo", str(repository.folder), "--from-password-file", str(repository.secret)]
    limit = ["--limit-upload", str(offsite["limit_kib"])] if offsite.get("limit_kib") else []
    known = restic([*options, "cat", "config", "--quiet"], there, ANSWER_SECONDS)
    if known.rc != 0:
        error = failure_of(known)
        if error.code != "lost":
            raise error
        if state.get("offsite", {}).get("at"):
            raise BackupError("lost", "the off-site repository is no longer there")
        restic_or_fail([*options, "init", "--quiet", *source, "--copy-chunker-params"], there)
    restic_or_fail([*options, "copy", "--quiet", *limit, *source, *believed], there)
    state["offsite"] = {"at": stamp(now()), "place": target, "failure": None}


def maintain(repository: Repository, config: dict[str, Any], private: Path, state: dict[str, Any], now_: bool) -> None:
    """Do everything for one repository; one step that fails does not hide the others."""
    state["exists"] = repository.exists
    if not repository.exists:
        return
    failure: dict[str, str] | None = None
    believed: list[str] = []
    try:
        size = repository.size()
        state["bytes"] = size
        repository.run("unlock", "--quiet")
        snapshots = repository.snapshots()
        strange = repository.strange(snapshots)
        state["strange"] = strange
        # What is dated otherwise than its arrival does not go elsewhere: from there nothing is ever removed.
        believed = [str(one["id"]) for one in snapshots if one["short_id"] not in strange]
        state["snapshots"] = len(snapshots)
        state["latest"] = stamp(moment_of(snapshots[-1]["time"])) if snapshots else ""
        if now_ or check_is_due(state):
            check(repository, state, size)
        if (state.get("check") or {}).get("ok"):  # nothing is removed from what may be damaged
            retain(repository, config.get("keep") or {}, strange, state)
    except (BackupError, OSError) as error:
        failure = (error if isinstance(error, BackupError) else BackupError("other", str(error))).as_json()
    state["failure"] = failure
    offsite = config.get("offsite") or {}
    if offsite:
        try:
            if not believed:
                raise BackupError("empty", (failure or {}).get("detail", "no snapshot that can be believed"))
            copy_away(repository, offsite, private, believed, state)
        except BackupError as error:
            state["offsite"] = {**state.get("offsite", {}), "failure": error.as_json()}


def main() -> int:
    """Maintain all repositories; leave a state without a secret."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--now", action="store_true", help="check now, even if the weekly check is not due")
    options = parser.parse_args()
    config = read_json(Path(os.environ["CREDENTIALS_DIRECTORY"]) / "server.json")
    private = Path(os.environ["RUNTIME_DIRECTORY"])
    target = Path(os.environ["STATE_DIRECTORY"]) / "state.json"
    if not config:
        sys.stderr.write("backup: no settings\n")
        return 1
    state = read_json(target)
    folder = Path(config["folder"])
    hosts = state.get("hosts") or {}
    for host in config["hosts"]:
        one = dict(hosts.get(host["name"]) or {})
        maintain(Repository(folder, host, private), config, private, one, options.now)
        hosts[host["name"]] = one
        usage = shutil.disk_usage(folder)
        state = {"version": 1, "at": stamp(now()), "hosts": hosts, "free": usage.free, "total": usage.total}
        write_json(target, state)
    bad = [name for name, one in hosts.items() if one.get("failure") or not (one.get("check") or {"ok": True})["ok"]]
    for name in bad:
        sys.stderr.write(f"backup: {name}: {hosts[name].get('failure') or hosts[name].get('check')}\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
