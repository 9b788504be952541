#!/usr/bin/python
# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Put profiles into Debian's PAM configuration, without ever landing a stack that refuses everybody.

Debian's own pam-auth-update builds the new stack in a temporary folder from the profiles alone; the result is
tried by libpam itself from there; only then do the files replace those of /etc/pam.d. So hand edits are found
and repaired, check mode knows the outcome exactly, and a stack that does not work never becomes the machine's.
"""
# ruff: noqa: E402 (Ansible wants its documentation before the imports)

from __future__ import annotations

DOCUMENTATION = r"""
module: antiseche_pam
short_description: PAM profiles, built by pam-auth-update and tried before they land
options:
  profiles:
    type: list
    elements: dict
    required: true
    description: Profiles to install and enable.
    options:
      name: {type: str, required: true, description: File name in /usr/share/pam-configs.}
      content: {type: str, required: true, description: The profile.}
  stacks:
    type: list
    elements: str
    required: true
    choices: [auth, account, password, session, session-noninteractive]
    description: The stacks that the caller answers for; the others are left alone, so that two roles never answer for one.
  disabled: {type: list, elements: str, default: [], description: Profiles that ours replace.}
  try_user: {type: str, default: root, description: Account whose login path is tried on the new stack.}
author: ["The Antisèche authors (@antiseche)"]
"""

EXAMPLES = r"""
- name: Private files by default
  antiseche_pam:
    profiles:
      - name: antiseche-umask
        content: "{{ lookup('ansible.builtin.template', 'umask.j2') }}"
    stacks: [session, session-noninteractive]
"""

RETURN = r"""
changes: {description: What was (or would be) changed, type: list, elements: str, returned: always}
"""

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

PROFILES = Path("usr/share/pam-configs")
STACKS = Path("etc/pam.d")
SAVED = Path("var/lib/pam")
SET_ASIDE = Path("/var/lib/antiseche/set-aside")
KINDS = ("auth", "account", "password", "session", "session-noninteractive")
ROOT = Path("/")
MAXIMUM_WAIT = 60
# What a stack may answer to a wrong password; anything else means that it is broken or open.
PAM_SUCCESS, PAM_REFUSALS = 0, {6, 7, 9, 10, 11, 12, 13}
DEBCONF = """Config: config
Templates: templates

Name: config
Driver: File
Filename: {0}/config.dat

Name: templates
Driver: File
Filename: {0}/templates.dat
"""


def enabled_profiles(root: Path) -> set[str]:
    """Return the profiles that the present stacks were built from (hand edits do not count)."""
    names: set[str] = set()
    for kind in KINDS:
        path = root / SAVED / kind
        if path.exists():
            names.update(re.findall(r"^Module: (\S+)", path.read_text(), re.MULTILINE))
    return names - {"null"}


def build(sandbox: Path, profiles: dict[str, str], disabled: list[str]) -> None:
    """Let pam-auth-update build the stacks in a sandbox, from the profiles alone."""
    for folder in (STACKS, SAVED, PROFILES):
        (sandbox / folder).mkdir(parents=True)
    for path in (ROOT / PROFILES).iterdir():
        if path.name not in disabled and not path.name.startswith(("#", ".")) and not path.name.endswith("~"):
            shutil.copy(path, sandbox / PROFILES / path.name)
    for name, content in profiles.items():
        (sandbox / PROFILES / name).write_text(content)
    seen = ROOT / SAVED / "seen"
    if seen.exists():  # so that what an administrator switched off stays off
        shutil.copy(seen, sandbox / SAVED / "seen")
    (sandbox / "debconf.conf").write_text(DEBCONF.format(sandbox))
    wanted = sorted((enabled_profiles(ROOT) | set(profiles)) - set(disabled))
    environment = {
        **os.environ,
        "DEBIAN_FRONTEND": "noninteractive",
        "DEBCONF_SYSTEMRC": str(sandbox / "debconf.conf"),
        "DEBCONF_NOWARNINGS": "yes",
        "LC_ALL": "C",
    }
    argv = ["pam-auth-update", "--root", str(sandbox), "--force", "--enable", *wanted]
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, env=environment, timeout=MAXIMUM_WAIT, stdin=subprocess.DEVNULL
    )
    missing = [kind for kind in KINDS if not (sandbox / STACKS / f"common-{kind}").is_file()]
    if done.returncode or missing:
        raise RuntimeError(f"pam-auth-update failed ({done.returncode}): {done.stderr.strip()[:300]}")


def keep_known(sandbox: Path, disabled: list[str]) -> None:
    """Tell the next pam-auth-update of a package that the replaced profiles were seen, so that they stay off."""
    seen = sandbox / SAVED / "seen"
    names = set(seen.read_text().split()) | {name for name in disabled if (ROOT / PROFILES / name).exists()}
    seen.write_text("".join(f"{name}\n" for name in sorted(names)))


def difference(sandbox: Path, profiles: dict[str, str], kinds: list[str]) -> dict[Path, tuple[str, str]]:
    """Return what differs between the machine and the sandbox: path to (before, after)."""
    paths = [PROFILES / name for name in sorted(profiles)]
    paths += [SAVED / kind for kind in kinds] + [STACKS / f"common-{kind}" for kind in kinds]
    found = {}
    for path in paths:
        before = (ROOT / path).read_text() if (ROOT / path).exists() else ""
        after = (sandbox / path).read_text()
        if before != after:
            found[path] = (before, after)
    return found


def missing_modules(sandbox: Path) -> list[str]:
    """Return the PAM modules that the new stacks name and that are not installed."""
    text = "".join((sandbox / STACKS / f"common-{kind}").read_text() for kind in KINDS)
    named = set(re.findall(r"^[^#\n]*?\b(pam_\w+\.so)", text, re.MULTILINE))
    installed = {path.name for root in ("lib", "usr/lib") for path in (ROOT / root).glob("*/security/pam_*.so")}
    return sorted(named - installed)


class Message(ctypes.Structure):
    """struct pam_message."""

    _fields_ = [("style", ctypes.c_int), ("text", ctypes.c_char_p)]


class Response(ctypes.Structure):
    """struct pam_response."""

    _fields_ = [("text", ctypes.c_void_p), ("code", ctypes.c_int)]


CONVERSATION = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(ctypes.POINTER(Message)),
    ctypes.POINTER(ctypes.POINTER(Response)),
    ctypes.c_void_p,
)


class Conversation(ctypes.Structure):
    """struct pam_conv."""

    _fields_ = [("call", CONVERSATION), ("data", ctypes.c_void_p)]


def try_login_path(sandbox: Path, user: str) -> None:
    """Let libpam itself walk the new stacks: the account phase must let the user in, no module may break."""
    service = sandbox / STACKS / "antiseche-try"
    # Debian's @include always reads /etc/pam.d, even with another folder: the stacks are copied in.
    service.write_text("".join((sandbox / STACKS / f"common-{kind}").read_text() for kind in KINDS[:4]))
    libc, pam = ctypes.CDLL(None), ctypes.CDLL("libpam.so.0")
    libc.calloc.restype, libc.strdup.restype = ctypes.c_void_p, ctypes.c_void_p

    def answer(count: int, _messages: Any, responses: Any, _data: Any) -> int:
        memory = libc.calloc(count, ctypes.sizeof(Response))
        responses[0] = ctypes.cast(memory, ctypes.POINTER(Response))
        for index in range(count):
            responses[0][index].text = libc.strdup(os.urandom(12).hex().encode())
        return 0

    conversation = Conversation(CONVERSATION(answer), None)

    def ask(login: str, phase: Any) -> int:
        handle = ctypes.c_void_p()
        where = str(sandbox / STACKS).encode()
        code = pam.pam_start_confdir(b"antiseche-try", login.encode(), ctypes.byref(conversation), where, ctypes.byref(handle))
        if code == PAM_SUCCESS:
            code = phase(handle, 0)
            pam.pam_end(handle, code)
        return int(code)

    code = ask(user, pam.pam_acct_mgmt)
    if code != PAM_SUCCESS:
        raise RuntimeError(f"the new PAM stacks would refuse {user} (code {code}); nothing was changed")
    # Nobody has this name: must be refused as such, neither accepted nor stopped by a broken module.
    code = ask("antiseche-nobody", pam.pam_authenticate)
    if code not in PAM_REFUSALS:
        raise RuntimeError(f"the new PAM stacks answer code {code} to a wrong password; nothing was changed")


def land(sandbox: Path, changed: dict[Path, tuple[str, str]]) -> None:
    """Set the old stacks aside, write everything beside its place, then rename back to back."""
    SET_ASIDE.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    pending = []
    for path in (*changed, SAVED / "seen"):
        target = ROOT / path
        if path.parent == STACKS and target.exists():
            shutil.copy2(target, SET_ASIDE / f"pam.d-{path.name}.{stamp}")
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(f".{target.name}.antiseche-new")
        with new.open("w") as file:
            file.write((sandbox / path).read_text())
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        pending.append((new, target))
    for new, target in pending:
        new.replace(target)


def main() -> None:
    """Compare, and unless in check mode, try and land."""
    module = AnsibleModule(
        argument_spec={
            "profiles": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {"name": {"type": "str", "required": True}, "content": {"type": "str", "required": True}},
            },
            "stacks": {"type": "list", "elements": "str", "choices": list(KINDS), "required": True},
            "disabled": {"type": "list", "elements": "str", "default": []},
            "try_user": {"type": "str", "default": "root"},
        },
        supports_check_mode=True,
    )
    profiles = {item["name"]: item["content"] for item in module.params["profiles"]}
    disabled = module.params["disabled"]
    try:
        with tempfile.TemporaryDirectory(prefix="antiseche-pam-") as name:
            sandbox = Path(name)
            build(sandbox, profiles, disabled)
            keep_known(sandbox, disabled)
            changed = difference(sandbox, profiles, module.params["stacks"])
            # In check mode a package that brings a module may not be there yet.
            missing = missing_modules(sandbox)
            if changed and not module.check_mode:
                if missing:
                    raise RuntimeError(f"PAM modules are not installed: {', '.join(missing)}; nothing was changed")
                try_login_path(sandbox, module.params["try_user"])
                land(sandbox, changed)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        module.fail_json(msg=f"PAM: {error}")
    kinds = {STACKS: "pam", PROFILES: "pam profile"}
    changes = [f"{kinds[path.parent]} {path.name}" for path in changed if path.parent in kinds]
    if changed and not changes:
        changes = ["pam state"]
    diff = [{"before": b, "after": a, "before_header": f"/{path}"} for path, (b, a) in changed.items() if path.parent in kinds]
    module.exit_json(changed=bool(changed), changes=changes, diff=diff)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
