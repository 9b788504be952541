# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Where the off-site repository of a machine is, as restic takes it; over SFTP also how its ssh behaves, to the letter."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from common import BackupError, reason_of

KNOCK_SECONDS = 60


def of_machine(offsite: dict[str, Any], name: str, private: Path) -> tuple[str, list[str]]:
    """Return the repository of a machine, and the options of restic that reach it.

    Over SFTP the provider's server is asked first: restic does not always pass on what its ssh says.

    Args:
        offsite: ``repository`` (without the machine's folder) or ``sftp``: user, host, port, path, host_key, key.
        name: of the machine.
        private: a folder that nobody else reads, in memory; over SFTP the key is written there.

    Raises:
        BackupError: the SFTP server does not answer, is another, or refuses the key.
    """
    sftp, place = offsite.get("sftp"), place_of(offsite, name)
    if not sftp:
        return place, []
    settings = ssh_settings(sftp, private)
    knock(sftp, settings)
    return place, ["-o", f"sftp.args=-F {settings}"]


def place_of(offsite: dict[str, Any], name: str) -> str:
    """Return the repository of a machine, without asking anybody; it may hold credentials."""
    sftp = offsite.get("sftp")
    if not sftp:
        return str(offsite["repository"]).rstrip("/") + f"/{name}/"
    return f"sftp://{sftp['user']}@{sftp['host']}:{sftp['port']}/{sftp['path'].rstrip('/')}/{name}"


def knock(sftp: dict[str, Any], settings: Path) -> None:
    """Open a session and close it again.

    Raises:
        BackupError: as of_machine.
    """
    argv = ["ssh", "-F", str(settings), "-p", str(sftp["port"]), "-l", sftp["user"], "-s", sftp["host"], "sftp"]
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, timeout=KNOCK_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise BackupError("absent", "ssh: timeout") from None
    except OSError as error:
        raise BackupError("other", f"ssh: {error.strerror}") from None
    if done.returncode != 0:
        raise BackupError(reason_of(done.stderr), done.stderr.strip() or f"ssh: {done.returncode}")


def ssh_settings(sftp: dict[str, Any], private: Path) -> Path:
    """Write the settings of ssh, the private key and the one host key that is believed; return the settings' path."""
    address = sftp["host"] if sftp["port"] == 22 else f"[{sftp['host']}]:{sftp['port']}"
    files = {"key": sftp["key"].strip() + "\n", "known_hosts": f"{address} {sftp['host_key']}\n"}
    settings = {
        "IdentityFile": private / "ssh_key",
        "UserKnownHostsFile": private / "ssh_known_hosts",
        # Nothing of the machine's own: neither an agent, nor other keys, nor hosts that somebody once accepted.
        "IdentityAgent": "none",
        "IdentitiesOnly": "yes",
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "BatchMode": "yes",
        "PreferredAuthentications": "publickey",
        "ConnectTimeout": "15",
        # A provider that falls silent is found out, however long the copy takes.
        "ServerAliveInterval": "20",
        "ServerAliveCountMax": "6",
    }
    files["config"] = "".join(f"{name} {value}\n" for name, value in settings.items())
    for name, text in files.items():
        path = private / f"ssh_{name}"
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
    return private / "ssh_config"
