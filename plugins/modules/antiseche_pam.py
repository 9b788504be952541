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
import multiprocessing
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ansible.module_utils.antiseche_set_aside import keep_copy, sync_folder
from ansible.module_utils.basic import AnsibleModule

PROFILES = Path("usr/share/pam-configs")
STACKS = Path("etc/pam.d")
SAVED = Path("var/lib/pam")
KINDS = ("auth", "account", "password", "session", "session-noninteractive")
ROOT = Path("/")
MAXIMUM_WAIT = 60  # seconds
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


def read(path: Path) -> str:
    """Return a text as it is, whatever its encoding and its line ends; empty when there is none."""
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return ""


def write(path: Path, text: str) -> None:
    """Write a text as `read` reads it."""
    path.write_bytes(text.encode("utf-8", "surrogateescape"))


def show(text: str) -> str:
    """Return a text that any terminal and any JSON reader can take."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def enabled_profiles(root: Path) -> set[str]:
    """Return the profiles that the present stacks were built from (hand edits do not count)."""
    names: set[str] = set()
    for kind in KINDS:
        names.update(re.findall(r"^Module: (\S+)", read(root / SAVED / kind), re.MULTILINE))
    return names - {"null"}


def build(sandbox: Path, profiles: dict[str, str], disabled: list[str]) -> None:
    """Let pam-auth-update build the stacks in a sandbox, from the profiles alone."""
    for folder in (STACKS, SAVED, PROFILES):
        (sandbox / folder).mkdir(parents=True)
    for path in (ROOT / PROFILES).iterdir():
        if path.is_file() and path.name not in disabled and not path.name.startswith(("#", ".")) and not path.name.endswith("~"):
            shutil.copy(path, sandbox / PROFILES / path.name)
    for name, content in profiles.items():
        write(sandbox / PROFILES / name, content)
    seen, enabled = ROOT / SAVED / "seen", enabled_profiles(ROOT)
    # What an administrator switched off stays off. With a record lost, nothing tells: the distribution's choice holds.
    if seen.exists() and all("Module: " in read(ROOT / SAVED / kind) for kind in KINDS):
        shutil.copy(seen, sandbox / SAVED / "seen")
    write(sandbox / "debconf.conf", DEBCONF.format(sandbox))
    wanted = sorted((enabled | set(profiles)) - set(disabled))
    environment = {
        **os.environ,
        "DEBIAN_FRONTEND": "noninteractive",
        "DEBCONF_SYSTEMRC": str(sandbox / "debconf.conf"),
        "DEBCONF_NOWARNINGS": "yes",
        "LC_ALL": "C",
    }
    argv = ["pam-auth-update", "--root", str(sandbox), "--force", "--enable", *wanted]
    done = subprocess.run(argv, capture_output=True, check=False, env=environment, timeout=MAXIMUM_WAIT, stdin=subprocess.DEVNULL)
    missing = [kind for kind in KINDS if not (sandbox / STACKS / f"common-{kind}").is_file()]
    if done.returncode or missing:
        said = done.stderr.decode("utf-8", "replace").strip()[:300]
        raise RuntimeError(f"pam-auth-update failed ({done.returncode}): {said}; nothing was changed")


def keep_known(sandbox: Path, disabled: list[str]) -> None:
    """Tell the next pam-auth-update of a package that the replaced profiles were seen, so that they stay off."""
    seen = sandbox / SAVED / "seen"
    names = set(read(seen).split()) | {name for name in disabled if (ROOT / PROFILES / name).exists()}
    write(seen, "".join(f"{name}\n" for name in sorted(names)))


def is_safe(path: Path) -> bool:
    """Say whether a file is root's own, a plain file, and closed to other writers."""
    try:
        info = path.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISREG(info.st_mode) and not info.st_mode & 0o022 and info.st_uid == os.geteuid()


def difference(sandbox: Path, profiles: dict[str, str], kinds: list[str]) -> dict[Path, tuple[str, str]]:
    """Return what differs between the machine and the sandbox: path to (before, after)."""
    paths = [PROFILES / name for name in sorted(profiles)]
    paths += [SAVED / kind for kind in kinds] + [STACKS / f"common-{kind}" for kind in kinds]
    found = {}
    for path in paths:
        before, after = read(ROOT / path), read(sandbox / path)
        if before != after or not is_safe(ROOT / path):
            found[path] = (before, after)
    return found


def stack(sandbox: Path, kind: str) -> str:
    """Return the text of one new stack."""
    return read(sandbox / STACKS / f"common-{kind}")


def named_modules(text: str) -> set[str]:
    """Return the PAM modules that a text names outside of comments."""
    return set(re.findall(r"^[^#\n]*?\b(pam_\w+\.so)", text, re.MULTILINE))


def missing_modules(sandbox: Path) -> list[str]:
    """Return the PAM modules that the new stacks name and that are not installed."""
    named = named_modules("".join(stack(sandbox, kind) for kind in KINDS))
    installed = {path.name for root in ("lib", "usr/lib") for path in (ROOT / root).glob("*/security/pam_*.so")}
    return sorted(named - installed)


def refuse_passwordless(sandbox: Path) -> None:
    """Refuse stacks that know no local password: they would answer correctly and let nobody in."""
    if not (ROOT / PROFILES / "unix").exists():
        return
    for kind in ("auth", "account", "password"):
        if "pam_unix.so" not in named_modules(stack(sandbox, kind)):
            raise RuntimeError(f"the new PAM stack {kind} would know no local account (pam_unix is missing); nothing was changed")


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
    write(service, "".join(stack(sandbox, kind) for kind in KINDS[:4]))
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


def isolated(trial: Callable[[], None]) -> None:
    """Run a trial in a child: a PAM module that crashes or hangs takes only the child with it."""

    def report(sender: Connection) -> None:
        try:
            trial()
        except (OSError, RuntimeError) as error:
            sender.send(str(error))
        else:
            sender.send("")

    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=report, args=(sender,))
    child.start()
    sender.close()
    try:
        if not receiver.poll(MAXIMUM_WAIT):
            raise RuntimeError("the new PAM stacks do not answer in time; nothing was changed")
        said = receiver.recv()
    except EOFError:
        raise RuntimeError("a module of the new PAM stacks crashes; nothing was changed") from None
    finally:
        child.kill()
        child.join()
    if said:
        raise RuntimeError(said)


def land(sandbox: Path, changed: dict[Path, tuple[str, str]]) -> None:
    """Set the old stacks aside, write everything beside its place, then rename back to back."""
    pending = []
    for path in (*changed, SAVED / "seen"):
        target = ROOT / path
        if path.parent == STACKS and (target.is_symlink() or target.is_file()):
            keep_copy(target, f"pam.d-{path.name}")
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = target.with_name(f".{target.name}.antiseche-new")
        new.unlink(missing_ok=True)
        with new.open("xb") as file:
            file.write((sandbox / path).read_bytes())
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        pending.append((new, target))
    for new, target in pending:
        new.replace(target)
    for folder in {target.parent for _new, target in pending}:
        sync_folder(folder)


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
    odd = [name for name in [*profiles, *disabled] if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*(?<!~)", name)]
    if odd:
        module.fail_json(msg=f"PAM: not names of profiles: {', '.join(odd)}", changes=[])
    try:
        with tempfile.TemporaryDirectory(prefix="antiseche-pam-") as name:
            sandbox = Path(name)
            build(sandbox, profiles, disabled)
            keep_known(sandbox, disabled)
            changed = difference(sandbox, profiles, module.params["stacks"])
            refuse_passwordless(sandbox)
            # In check mode a package that brings a module may not be there yet.
            missing = missing_modules(sandbox)
            if missing and changed and not module.check_mode:
                raise RuntimeError(f"PAM modules are not installed: {', '.join(missing)}; nothing was changed")
            if changed and not missing:
                isolated(lambda: try_login_path(sandbox, module.params["try_user"]))
            if changed and not module.check_mode:
                land(sandbox, changed)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        module.fail_json(msg=f"PAM: {error}", changes=[])
    kinds = {STACKS: "pam", PROFILES: "pam profile"}
    changes = [f"{kinds[path.parent]} {path.name}" for path in changed if path.parent in kinds]
    if changed and not changes:
        changes = ["pam state"]
    diff = [
        {"before": show(before), "after": show(after), "before_header": f"/{path}"}
        for path, (before, after) in changed.items()
        if path.parent in kinds
    ]
    module.exit_json(changed=bool(changed), changes=changes, diff=diff)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
