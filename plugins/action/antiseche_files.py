# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""Commit-confirm, the controller's half: a guarded change is confirmed over a connection opened after it.

Without a guard this is the plain module. With one, no role can forget the confirmation, and a change that cuts the
connection ends as "unreachable" with a sentence that says what the machine did about it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

try:
    from antiseche.i18n import _
except ImportError:  # plain ansible-playbook, without our package

    def _(message: str) -> str:
        return message


MARGIN = 45  # seconds that the machine may take beyond the delay
PAUSE = 2


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """Run the module; confirm what it guarded."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run, confirm, and on a cut connection wait for the machine to undo the change."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        guard = arguments.get("guard")
        if not isinstance(guard, Mapping) or self._task.check_mode:  # anything else is for the module to refuse
            result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
            return result
        started, token = time.monotonic(), secrets.token_hex(8)
        arguments["guard"] = {**guard, "token": token}
        try:
            result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
            if result.get("failed") or not (result.get("guard") or {}).get("pending"):
                return result
            self._connection.reset()
            confirmed = self._guard_module(guard, "confirmed", token, task_vars)
        except AnsibleConnectionFailure as error:
            # Not chained: Ansible would append ssh's own sentence to ours.
            raise AnsibleConnectionFailure(self._after_the_cut(guard, token, started, task_vars, error)) from None
        trace = confirmed.get("undone") or {}
        if confirmed.get("failed") and trace.get("token") == token:  # the power, or a delay that was too short
            raise AnsibleConnectionFailure(
                _(
                    "Le changement « {name} » n'a pas pu être confirmé à temps : la machine l'a annulé d'elle-même ({at}) et"
                    " répond de nouveau. Relancez le déploiement."
                ).format(name=guard["name"], at=trace.get("at", "?"))
            )
        if confirmed.get("failed"):
            result.update({"failed": True, "msg": confirmed.get("msg", "")})
        result["guard"] = {**result["guard"], "pending": bool(confirmed.get("pending", True))}
        return result

    def _guard_module(self, guard: Mapping[str, Any], state: str, token: str, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        arguments = {"name": guard["name"], "state": state, "token": token}
        done: dict[str, Any] = self._execute_module(module_name="antiseche_guard", module_args=arguments, task_vars=task_vars)
        return done

    def _after_the_cut(
        self, guard: Mapping[str, Any], token: str, started: float, task_vars: dict[str, Any] | None, error: Exception
    ) -> str:
        """Wait until the machine answers again or should have; return the sentence for the user."""
        seconds = int(guard.get("seconds", 60))
        deadline = started + seconds + MARGIN
        while time.monotonic() < deadline:
            try:
                self._connection.reset()
                seen = self._guard_module(guard, "reported", token, task_vars)
            except AnsibleConnectionFailure:
                seen = {}
            trace = seen.get("undone") or {}
            if seen and not seen.get("failed") and not seen.get("pending"):
                if trace.get("token") == token:
                    return _(
                        "Le changement « {name} » coupait l'accès de maintenance : la machine l'a annulé d'elle-même"
                        " ({at}) et répond de nouveau. Corrigez les réponses avant de recommencer."
                    ).format(name=guard["name"], at=trace.get("at", "?"))
                return str(error)  # cut before the change was armed: nothing to undo
            time.sleep(PAUSE)
        return _(
            "La machine ne répond plus depuis le changement « {name} ». Elle l'annule d'elle-même au bout de {n} secondes,"
            " ou à son prochain démarrage ; vérifiez qu'elle est allumée et reliée au réseau."
        ).format(name=guard["name"], n=seconds)
