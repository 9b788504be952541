#!/usr/bin/python
# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Held packages as declared, security updates applied when the last success is too old, foreign sources reported."""
# ruff: noqa: E402 (Ansible wants its documentation before the imports)

from __future__ import annotations

DOCUMENTATION = r"""
module: antiseche_updates
short_description: Holds, overdue security updates and package sources of a Debian machine
description:
  - Holds the declared packages that are installed, and releases every other one.
  - When the last successful refresh and upgrade are older than C(max_age_days), does both now, as the nightly timers would.
  - Sources that are not declared are reported, never removed.
  - A machine that cannot reach its mirrors is not a failure of the run; it is reported, and its checks will say so.
  - Waits for other package managers at work; never stops dpkg in the middle of an installation.
options:
  held: {type: list, elements: str, default: [], description: Packages held on purpose.}
  origins: {type: list, elements: str, default: [], description: Third-party origins or labels that are admitted.}
  max_age_days: {type: int, default: 7, description: Greatest age of the last success.}
  timezone: {type: str, default: "", description: Time zone of the machine; left alone when empty.}
  settings: {type: path, description: "Our file of apt settings: files read later that only override it are set aside."}
author: ["The Antisèche authors (@antiseche)"]
"""

EXAMPLES = r"""
- name: No hold that nobody declared, no update overdue
  antiseche_updates:
    held: []
    max_age_days: 7
"""

RETURN = r"""
changes: {description: What was (or would be) changed, type: list, elements: str, returned: always}
foreign: {description: Package sources that nobody declared, type: list, elements: str, returned: always}
overriding: {description: Files that win over ours and hold other settings too, type: list, elements: str, returned: always}
late: {description: Why overdue updates could not be applied, type: str, returned: always}
"""

import fcntl
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from ansible.module_utils.antiseche_apt_settings import overriding, set_zone, zone_change
from ansible.module_utils.antiseche_set_aside import move
from ansible.module_utils.basic import AnsibleModule

OS_RELEASE = Path("/etc/os-release")
PERIODIC = Path("/var/lib/apt/periodic")
# Touched by apt after a refresh without any error, and after an upgrade that ended well.
STAMPS = ("update-success-stamp", "upgrade-stamp")
DAILY_LOCK = Path("/var/lib/apt/daily_lock")  # apt's own timers hold it while they work
WORKED = PERIODIC / "unattended-upgrades-stamp"  # touched by unattended-upgrade when it did not decline to work
LOCK_SECONDS = 300
RUN_SECONDS = 3600
STOP_SECONDS = 600  # what unattended-upgrade may need to end its current package
BUSY = re.compile(r"Could not get lock|Unable to (acquire|lock)|was locked by another process|Lock could not be acquired")
ENVIRONMENT = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
FORMAT = "$(SITE)|$(REPO_URI)|$(RELEASE)|$(ORIGIN)|$(LABEL)|$(CODENAME)"
CONFIGURED = "$(SITE)|$(REPO_URI)|$(RELEASE)"


class UpdateError(RuntimeError):
    """The updates could not be applied now."""

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


def run(*argv: str, seconds: int = 60) -> str:
    """Run a command and return what it printed. At the time limit it is asked to end, never killed: dpkg may be at work."""
    # Files, not pipes: a service that an installation starts may keep a pipe open for ever.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=ENVIRONMENT)
        except OSError as error:
            raise UpdateError(f"{argv[0]}: {error.strerror}") from error
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            process.terminate()
            try:
                process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                raise UpdateError(f"{argv[0]}: still at work after {seconds} seconds; left alone") from error
            raise UpdateError(f"{argv[0]}: stopped after {seconds} seconds") from error
        printed, said = (_text(file) for file in (output, errors))
    if process.returncode != 0:
        lines = (said.strip() or printed.strip() or f"exit {process.returncode}").splitlines()
        raise UpdateError(f"{argv[0]}: {'; '.join([line for line in lines if line.startswith('E:')] or lines[-1:])[:400]}", said)
    return printed


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def run_alone(*argv: str, seconds: int = 60) -> str:
    """Run a command that needs the package manager for itself: wait while another one is at work."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return run(*argv, seconds=seconds)
        except UpdateError as error:
            if not BUSY.search(error.said or str(error)) or time.monotonic() > deadline:
                raise
        time.sleep(2)


def hold_plan(declared: list[str], held: list[str], installed: list[str]) -> tuple[list[str], list[str]]:
    """Return what to hold and what to release."""
    return sorted((set(declared) & set(installed)) - set(held)), sorted(set(held) - set(declared))


def overdue(stamps: list[float | None], now: float, max_age_days: int) -> bool:
    """Say whether one of the successes is missing, too old, or dated in the future."""
    return any(stamp is None or stamp > now + 3600 or now - stamp > max_age_days * 86400 for stamp in stamps)


def foreign_sources(read: str, configured: str, codename: str, origins: list[str]) -> list[str]:
    """Return the sources that are neither Debian's for this release nor declared.

    What apt has never read has no origin yet; on a machine that has read nothing at all, that tells nothing.
    """
    found, known = set(), set()
    for line in read.splitlines():
        site, uri, suite, origin, label, source_codename = (line.split("|") + [""] * 6)[:6]
        known.add((uri, suite))
        ours = origin == "Debian" and (source_codename == codename or source_codename.startswith(f"{codename}-"))
        if not ours and not {origin, label, site} & set(origins):
            found.add(f"{origin or '?'} ({uri} {suite})")
    for line in configured.splitlines() if known else []:
        site, uri, suite = (line.split("|") + [""] * 3)[:3]
        if (uri, suite) not in known and site not in origins:
            found.add(f"? ({uri} {suite})")
    return sorted(found)


def stamp_time(path: Path) -> float | None:
    """Return when a success was noted."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def apply_updates() -> None:
    """Refresh the lists and install what the configuration admits, alone with apt's own timers kept out."""
    with DAILY_LOCK.open("a") as lock:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UpdateError("apt: another update is running") from None
                time.sleep(1)
        run_alone("apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "update", seconds=RUN_SECONDS)
        before = stamp_time(WORKED)
        run_alone("unattended-upgrade", seconds=RUN_SECONDS)
        if stamp_time(WORKED) in (None, before):  # it succeeds, too, when its configuration tells it to do nothing
            raise UpdateError("unattended-upgrade declined to work: look for Update-Days, InstallOnShutdown or DevRelease")
    for name in STAMPS:
        (PERIODIC / name).touch()


def codename() -> str:
    """Return the release's codename."""
    for line in OS_RELEASE.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip().strip("\"'")
    return ""


def adjust_settings(asked: dict[str, Any], check_mode: bool) -> tuple[list[str], list[str]]:
    """Put the time zone right and files that only override ours aside; return the changes, and the files left in place."""
    changes: list[str] = []
    found = zone_change(asked["timezone"]) if asked["timezone"] else ""
    if found:
        changes.append(f"timezone {found} to {asked['timezone']}")
        if not check_mode:
            set_zone(asked["timezone"])
    only, mixed = overriding(Path(asked["settings"])) if asked["settings"] else ([], [])
    for path in only:
        changes.append(f"set aside {path}")
        if not check_mode:
            move(path, str(path).strip("/"))
    return changes, [str(path) for path in mixed]


def adjust_holds(declared: list[str], check_mode: bool) -> list[str]:
    """Hold and release packages; return the changes."""
    held = run("apt-mark", "showhold").split()
    known = run("dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n").splitlines() if declared else []
    installed = [line.split()[1] for line in known if line.startswith("installed ")]
    hold, release = hold_plan(declared, held, installed)
    if not check_mode:
        for verb, names in (("hold", hold), ("unhold", release)):
            if names:
                run_alone("apt-mark", verb, *names)
    return [f"hold {name}" for name in hold] + [f"release {name}" for name in release]


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "held": {"type": "list", "elements": "str", "default": []},
            "origins": {"type": "list", "elements": "str", "default": []},
            "max_age_days": {"type": "int", "default": 7},
            "timezone": {"type": "str", "default": ""},
            "settings": {"type": "path"},
        },
        supports_check_mode=True,
    )
    asked: dict[str, Any] = module.params
    late = ""
    changes: list[str] = []
    try:
        changes, left = adjust_settings(asked, module.check_mode)
        changes += adjust_holds(asked["held"], module.check_mode)
        read = run("apt-get", "indextargets", "--format", FORMAT, "Created-By: Packages")
        configured = run("apt-get", "indextargets", "--no-release-info", "--format", CONFIGURED, "Created-By: Packages")
        foreign = foreign_sources(read, configured, codename(), asked["origins"])
    except (UpdateError, OSError, ValueError) as error:
        module.fail_json(msg=str(error), changed=bool(changes), changes=changes)
    if overdue([stamp_time(PERIODIC / name) for name in STAMPS], time.time(), asked["max_age_days"]):
        try:
            if not module.check_mode:
                apply_updates()
            changes.append("updates security: applied")
        except (UpdateError, OSError) as error:
            late = str(error)
    module.exit_json(changed=bool(changes), changes=changes, foreign=foreign, late=late, overriding=left)


if __name__ == "__main__":
    main()
