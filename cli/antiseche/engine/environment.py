"""The surroundings of the playbook's process: a short list of variables and private directories."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

import antiseche
from antiseche import i18n
from antiseche.engine.spec import RunSpec

# Nothing else of the user's environment is passed on: an ANSIBLE_HOST_KEY_CHECKING or an
# ANSIBLE_LIBRARY set for another project must not weaken this run.
KEPT = ("PATH", "HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "TZ", "TMPDIR", "XDG_RUNTIME_DIR")
SOCKETS = "ANSIBLE_SSH_CONTROL_PATH_DIR"
# sun_path holds 108 bytes; ssh appends 17 to a name of 10 while it creates the socket.
_MAX_CONTROL_DIR = 75


def environment(spec: RunSpec, kit: Path, directory: Path) -> dict[str, str]:
    """Return the whole environment of the playbook's process."""
    private = private_directory(spec.folder.root)
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    ours = {
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_CONFIG": str(kit / "ansible.cfg"),
        "ANSIBLE_HOME": str(private),
        "ANSIBLE_LOCAL_TEMP": str(private / "tmp"),
        SOCKETS: str(sockets_directory(spec.folder.root)),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_STDOUT_CALLBACK": "antiseche_log",
        "ANSIBLE_DEPRECATION_WARNINGS": "0",
        "ANTISECHE_EVENTS": str(directory / "events.jsonl"),
        i18n.RUN_LANGUAGE: i18n.language(),
        "ANTISECHE_LIB": str(Path(antiseche.__file__).parent.parent),
    }
    if spec.diff:
        ours["ANTISECHE_DIFFS"] = str(directory / "diffs.jsonl")
    return kept | ours


def sockets_directory(practice: Path) -> Path:
    """Return the folder of the sockets of shared ssh connections, the same at each run over this practice."""
    return private_directory(practice) / "cp"


def private_directory(practice: Path) -> Path:
    """Return a directory that only this user can enter, the same at each run over this practice.

    It holds the sockets of shared ssh connections. One per practice: two practices may use the same
    private addresses, and a socket is found by address alone.
    """
    name = hashlib.sha256(os.fsencode(practice)).hexdigest()[:8]
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    for base in ([Path(runtime)] if runtime else []) + [Path("/tmp")]:  # noqa: S108 - checked below
        candidate = base / f"antiseche-{os.getuid()}-{name}"
        if len(os.fsencode(candidate)) <= _MAX_CONTROL_DIR and _ensure_private(candidate):
            return candidate
    return Path(tempfile.mkdtemp(prefix="antiseche-", dir="/tmp"))


def _ensure_private(path: Path) -> bool:
    """Create the directory, or check that the one there is ours: anybody may have made it first."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    except OSError:
        return False
