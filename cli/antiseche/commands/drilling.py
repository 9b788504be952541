"""What ``drill`` does for one machine after another: secrets from the vault, restore, comparison, record."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from antiseche.engine import identities
from antiseche.engine.locking import practice_lock
from antiseche.errors import AnswersError, AntisecheError
from antiseche.evidence import drills
from antiseche.i18n import _
from antiseche.practice import vault_password
from antiseche.practice.answers import load_answers
from antiseche.practice.folder import PracticeFolder, find_practice
from antiseche.practice.schema import Backup, Practice
from antiseche.practice.secrets import Vault
from antiseche.verify import drill
from antiseche.verify.target import Target, practice_targets


@dataclass
class Drills:
    """A practice whose backups are to be tried."""

    folder: PracticeFolder
    practice: Practice
    backup: Backup
    vault: Vault = field(repr=False)
    targets: dict[str, Target] = field(repr=False)
    scratch: str | None
    sample: int
    people: tuple[str, str]
    offsite: bool = False

    @classmethod
    def of(cls, name: str, scratch: str | None, sample: int, password_file: Path | None, private_key: Path | None) -> Drills:
        """Read the answers and open the vault; no machine is asked anything yet.

        Raises:
            AnswersError: no backup is declared, no inventory, or no usable password.
        """
        folder = find_practice(name)
        practice = load_answers(folder)
        vault = Vault(vault_password.obtain(practice.practice.id, password_file))
        if practice.backup is None:
            raise AnswersError(
                _("« {name} » ne déclare aucune sauvegarde : répondez d'abord à « backup » (antiseche edit {name}).").format(
                    name=folder.name
                )
            )
        targets = {target.name: target for target in practice_targets(folder)}
        offered = identities.offered(folder.root, private_key, practice.maintenance.public_keys)
        for target in targets.values():
            target.identities.extend(offered)
        people = (practice.maintenance.contractor, practice.practice.name)
        return cls(folder, practice, practice.backup, vault, targets, scratch, sample, people)

    def checked(self, hosts: tuple[str, ...]) -> list[str]:
        """Return the machines to drill; those that were asked for by name can be.

        Raises:
            AnswersError: one is not backed up, or no other machine can take its files.
        """
        for name in hosts:
            drill.chosen_host(self.backup, name)
            drill.scratch_for(self.practice, self.backup, name, self.scratch)
        return list(dict.fromkeys(hosts)) or [item.host for item in self.backup.hosts]

    def run(self, name: str) -> dict[str, Any]:
        """Restore, compare, erase and record; return the record, where it is, and what else is to be known.

        Raises:
            AntisecheError: nothing could be restored; its exit code says why.
        """
        item = drill.chosen_host(self.backup, name)
        scratch = drill.scratch_for(self.practice, self.backup, name, self.scratch)
        making = drill.offsite_request if self.offsite else drill.local_request
        request = making(self.practice, item, self._secrets(name), self._secrets(self.backup.server), self.sample)
        with practice_lock(self.folder):
            answer = drill.ask(self._target(scratch), "restore", request, drill.RESTORE_SECONDS)
            live, warning = self._live(name, drill.unknown_to_manifest(answer))
            found = drill.compare(answer, live)
            entry = drills.record(name, scratch, self.people, answer, found, dt.datetime.now(dt.UTC), offsite=self.offsite)
            path = drills.keep(self.folder, entry)
            try:
                drill.ask(self._target(name), "record", drills.for_the_host(entry), drill.ANSWER_SECONDS)
            except AntisecheError as error:
                warning = _("l'exercice n'a pas pu être noté sur la machine : {reason}").format(reason=error)
        return {**entry, "record": str(path), "warning": warning}

    def _live(self, name: str, files: list[dict[str, Any]]) -> tuple[dict[str, str | None], str]:
        """Return the digests of live files; a machine that is off has none, and the manifest alone judges."""
        if not files:
            return {}, ""
        asked = [{key: one[key] for key in ("path", "size", "mtime_ns")} for one in files]
        try:
            answer = drill.ask(self._target(name), "hash", {"files": asked}, drill.ANSWER_SECONDS)
        except AntisecheError as error:
            return {}, _("la machine n'a pas pu être comparée : {reason}").format(reason=error)
        return dict(answer["hashes"]), ""

    def _target(self, name: str) -> Target:
        try:
            return self.targets[name]
        except KeyError:
            raise AnswersError(
                _("« {host} » n'est pas dans l'inventaire : lancez « antiseche inventory {name} ».").format(
                    host=name, name=self.folder.name
                )
            ) from None

    def _secrets(self, host: str) -> dict[str, Any]:
        path = self.folder.inventory_dir / "host_vars" / host / "vault.yml"
        return self.vault.read(path)
