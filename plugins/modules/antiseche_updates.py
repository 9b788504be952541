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
options:
  held: {type: list, elements: str, default: [], description: Packages held on purpose.}
  origins: {type: list, elements: str, default: [], description: Third-party origins or labels that are admitted.}
  max_age_days: {type: int, default: 7, description: Greatest age of the last success.}
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
late: {description: Why overdue updates could not be applied, type: str, returned: always}
"""

import fcntl
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

PERIODIC = Path("/var/lib/apt/periodic")
# Touched by apt after a refresh without any error, and after an upgrade that ended well.
STAMPS = ("update-success-stamp", "upgrade-stamp")
DAILY_LOCK = Path("/var/lib/apt/daily_lock")  # apt's own timers hold it while they work
LOCK_SECONDS = 300
RUN_SECONDS = 3600
ENVIRONMENT = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
FORMAT = "$(SITE)|$(REPO_URI)|$(RELEASE)|$(ORIGIN)|$(LABEL)|$(CODENAME)"
CONFIGURED = "$(SITE)|$(REPO_URI)|$(RELEASE)"


class UpdateError(RuntimeError):
    """The updates could not be applied now."""


def run(*argv: str, seconds: int = 60) -> str:
    """Run a command and return what it printed."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds, env=ENVIRONMENT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UpdateError(f"{argv[0]}: {error}") from error
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or "?").splitlines()
        raise UpdateError(f"{argv[0]}: {lines[-1]}")
    return done.stdout


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


def stamp_times() -> list[float | None]:
    """Return when each success was noted."""
    times: list[float | None] = []
    for name in STAMPS:
        try:
            times.append((PERIODIC / name).stat().st_mtime)
        except OSError:
            times.append(None)
    return times


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
        run("apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "update", seconds=RUN_SECONDS)
        run("unattended-upgrade", seconds=RUN_SECONDS)
    PERIODIC.mkdir(parents=True, exist_ok=True)
    (PERIODIC / "update-success-stamp").touch()
    (PERIODIC / "upgrade-stamp").touch()


def codename() -> str:
    """Return the release's codename."""
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip().strip('"')
    return ""


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "held": {"type": "list", "elements": "str", "default": []},
            "origins": {"type": "list", "elements": "str", "default": []},
            "max_age_days": {"type": "int", "default": 7},
        },
        supports_check_mode=True,
    )
    asked: dict[str, Any] = module.params
    late = ""
    try:
        held = run("apt-mark", "showhold").split()
        installed = run("dpkg-query", "-W", "-f", "${Package}\n").split() if asked["held"] else []
        hold, release = hold_plan(asked["held"], held, installed)
        changes = [f"hold {name}" for name in hold] + [f"release {name}" for name in release]
        if not module.check_mode:
            for verb, names in (("hold", hold), ("unhold", release)):
                if names:
                    run("apt-mark", verb, *names)
        read = run("apt-get", "indextargets", "--format", FORMAT, "Created-By: Packages")
        configured = run("apt-get", "indextargets", "--no-release-info", "--format", CONFIGURED, "Created-By: Packages")
    except UpdateError as error:
        module.fail_json(msg=str(error))
    if overdue(stamp_times(), time.time(), asked["max_age_days"]):
        try:
            if not module.check_mode:
                apply_updates()
            changes.append("updates security: applied")
        except UpdateError as error:
            late = str(error)
    foreign = foreign_sources(read, configured, codename(), asked["origins"])
    module.exit_json(changed=bool(changes), changes=changes, foreign=foreign, late=late)


if __name__ == "__main__":
    main()
