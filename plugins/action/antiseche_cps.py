# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""The middleware's file, the controller's half: looked for, recognised by its digest, and sent only where it is missing."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.urls import open_url
from ansible.plugins.action import ActionBase

try:
    from antiseche.i18n import _
except ImportError:  # plain ansible-playbook, without our package

    def _(message: str) -> str:
        return message


MOST_BYTES = 200_000_000  # the vendor's package has a few millions
SECONDS = 60


def is_address(source: str) -> bool:
    """Say whether the package is to be fetched. Plain http will do: the digest is what is trusted."""
    return source.lower().startswith(("https://", "http://"))


def place(source: str, inventory: str | None) -> Path:
    """Return where a path leads: from the practice's folder, which holds the inventory's."""
    path = Path(source).expanduser()
    return path if path.is_absolute() or not inventory else Path(inventory).parent / path


def fetched(address: str, folder: Path) -> Path:
    """Fetch the package into a folder."""
    target = folder / "middleware.rpm"
    try:
        with open_url(address, timeout=SECONDS) as answer, target.open("wb") as file:
            left = MOST_BYTES
            while chunk := answer.read(65536):
                left -= len(chunk)
                if left < 0:
                    raise AnsibleActionFail(
                        _("Le fichier de {address} est trop gros pour être la Cryptolib CPS.").format(address=address)
                    )
                file.write(chunk)
    except (OSError, ValueError) as error:
        raise AnsibleActionFail(
            _("La Cryptolib CPS n'a pas pu être téléchargée depuis {address} : {reason}").format(address=address, reason=error)
        ) from error
    return target


def refuse_another(path: Path, sha256: str) -> None:
    """Refuse a file that is absent, or not the pinned one."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AnsibleActionFail(
            _("La Cryptolib CPS est illisible ({path}) : {reason}. Corrigez « cps.middleware.source » dans les réponses.").format(
                path=path, reason=error.strerror
            )
        ) from error
    if found != sha256.lower():
        raise AnsibleActionFail(
            _(
                "{path} n'est pas le fichier attendu : son empreinte SHA-256 est {found}, les réponses donnent {expected}."
                " Rien n'a été installé ; vérifiez d'où il vient avant de corriger « cps.middleware.sha256 »."
            ).format(path=path, found=found, expected=sha256.lower())
        )


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """Run the module; when it lacks the vendor's file, send that and run it again."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask, send, ask again."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        first = self._execute_module(module_args=arguments, task_vars=task_vars)
        given = arguments.get("middleware")
        if first.get("failed") or not first.get("needs_file") or not isinstance(given, Mapping):
            return {**result, **first}
        with tempfile.TemporaryDirectory(prefix="antiseche-cps-") as folder:
            source = str(given.get("source") or "")
            path = fetched(source, Path(folder)) if is_address(source) else place(source, (task_vars or {}).get("inventory_dir"))
            refuse_another(path, str(given["sha256"]))
            if self._task.check_mode:
                return {**result, **first}
            remote = self._connection._shell.join_path(self._make_tmp_path(), "middleware.rpm")
            try:
                self._transfer_file(str(path), remote)
                arguments["middleware"] = {**given, "file": remote}
                second = self._execute_module(module_args=arguments, task_vars=task_vars)
            finally:
                self._remove_tmp_path(self._connection._shell.tmpdir)
        second["changes"] = [*first.get("changes", []), *second.get("changes", [])]
        second["changed"] = bool(second["changes"])
        return {**result, **second}
