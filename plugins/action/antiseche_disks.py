# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Escrow, the controller's half: no disk is encrypted with a key that the vault does not hold, and headers come back into it.

The keys are read again from the vault file, on the disk, and compared with those that the module is about to use. The copy of a
header is encrypted with the vault's password before it is written; it is written, and flushed, before the step counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

try:
    from antiseche.i18n import _
except ImportError:  # plain ansible-playbook, without our package

    def _(message: str) -> str:
        return message


_STORED = re.compile(r"[a-z0-9-]+\.([0-9a-f]{64})\.header")


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """Check the escrow, run the module, keep the headers."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run; the result holds no header any more."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        vault, folder = Path(str(arguments.pop("vault", ""))), Path(str(arguments.pop("escrow", "")))
        try:
            self._read_back(vault, arguments)
        except AnsibleError as error:
            return {**result, "failed": True, "changed": False, "changes": [], "msg": str(error)}
        held = [found[1] for path in _listed(folder) if (found := _STORED.fullmatch(path))]
        result.update(self._execute_module(module_args={**arguments, "held": held}, task_vars=task_vars))
        headers = result.pop("headers", None) or []
        said = result.pop("said", None)
        if result.get("failed") and (translated := _translated(said)):
            result["msg"] = f"{translated}."
        if not self._task.check_mode:
            try:
                for one in headers:
                    self._keep(folder, one)
            except (OSError, AnsibleError) as error:
                text = _("L'en-tête du volume n'a pas pu être rangé au coffre ({reason}) : relancez le déploiement.")
                result.update(
                    {"failed": True, "msg": text.format(reason=getattr(error, "strerror", None) or type(error).__name__)}
                )
        return result

    def _read_back(self, vault: Path, arguments: dict[str, Any]) -> None:
        """Refuse keys that are not, letter for letter, in the vault file of the host."""
        head = b"$ANSIBLE_VAULT;"
        try:
            with vault.open("rb") as stream:
                encrypted = stream.read(len(head)) == head
            stored = self._loader.load_from_file(str(vault), cache="none") if encrypted else None
        except (OSError, AnsibleError):
            stored = None
        names = [str(disk.get("name")) for disk in arguments.get("disks") or [] if isinstance(disk, dict)]
        keys, kept = arguments.get("keys") or {}, (stored or {}).get("disk_encryption_keys") or {}
        same = stored is not None and all(name in kept and _plain(kept[name]) == _plain(keys.get(name)) for name in names)
        root = arguments.get("root") or {}
        if root:
            same = same and _plain((stored or {}).get("disk_encryption_root")) == _plain(root)
        if not same:
            text = _(
                "Rien n'a été chiffré : les clés ne se relisent pas dans le coffre de la machine ({path})."
                " Lancez « antiseche inventory », puis recommencez."
            )
            raise AnsibleError(text.format(path=vault))

    def _keep(self, folder: Path, one: dict[str, str]) -> None:
        """Encrypt a header and write it in one step; read it back before it counts."""
        name = f"{one.get('name')}.{one.get('digest')}.header" if isinstance(one, dict) else ""
        if not _STORED.fullmatch(name):  # a machine must not choose where files go
            raise AnsibleError("bad header name")
        plain = json.dumps(one, sort_keys=True).encode()
        lib = self._loader._vault
        text: bytes = lib.encrypt(plain)
        if lib.decrypt(text) != plain:
            raise AnsibleError("the vault does not read back")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = folder / f".{name}.new"
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(folder / name)
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _translated(said: Any) -> str:
    """Tell a machine's sentence in the reader's language; empty when there is none of it.

    Only texts of our own catalogue are ever formatted: a machine must not choose a format string for the controller.
    """
    if isinstance(said, str):
        return said
    if not isinstance(said, dict):
        return ""
    if isinstance(said.get("parts"), list):
        found = [_translated(part) for part in said["parts"]]
        return " ; ".join(found) if all(found) else ""
    text, values = said.get("text"), said.get("values")
    if not isinstance(text, str) or not isinstance(values, dict) or (known := _(text)) == text:
        return ""
    with contextlib.suppress(KeyError, IndexError, ValueError):
        return known.format(**{name: _translated(value) for name, value in values.items()})
    return ""


def _listed(folder: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(path.name for path in folder.iterdir())
    return []


def _plain(value: Any) -> dict[str, str]:
    return {str(key): str(inner) for key, inner in value.items()} if isinstance(value, dict) else {}
