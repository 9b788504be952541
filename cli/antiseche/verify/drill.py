"""A restore drill: part of a machine's backup restored on another machine, and compared with what it should be.

The restored files are hashed where they are restored, then erased. What they should be was written down when the backup was
made (the manifest), or is what the live file still is: same size, same date of change.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from antiseche.engine.redact import plain
from antiseche.errors import AnswersError, AntisecheError, ExitCode, HostUnreachableError
from antiseche.i18n import N_, _
from antiseche.practice.backup_vars import sftp_target
from antiseche.practice.rules.backup import PORT
from antiseche.practice.schema import Backup, HostBackup, Practice, System
from antiseche.verify.backend import ssh_command
from antiseche.verify.target import Target

Request = dict[str, Any]
PROGRAM = "/usr/local/lib/antiseche/backup/drill.py"
RESTORE_SECONDS = 4 * 3600
ANSWER_SECONDS = 900
# What the program on the machines answers when it cannot restore; the words are those of the checks.
REASONS = {
    "absent": N_("le serveur de sauvegarde ne répond pas"),
    "password": N_("le mot de passe du coffre n'ouvre pas ces sauvegardes"),
    "refused": N_("le serveur refuse l'identifiant du coffre : déployez d'abord"),
    "certificate": N_("le serveur qui répond n'est pas celui qui est reconnu"),
    "lost": N_("il n'y a aucune sauvegarde à cet endroit"),
    "empty": N_("la machine n'a encore aucune sauvegarde"),
    "corrupt": N_("une partie des sauvegardes est abîmée"),
    "locked": N_("une autre opération tient les sauvegardes"),
    "full": N_("le disque est plein"),
    "host_key": N_("le serveur SFTP qui répond n'a pas la clé déclarée : ce n'est pas l'hébergeur reconnu, ou il en a changé"),
    "key": N_("l'hébergeur refuse la clé du coffre : donnez-lui la partie publique"),
    "room": N_("la place manque sur la machine d'essai"),
}


# What the program answers to each verb; a machine that leaves some of it out is not believed about the rest.
ANSWERS = {
    "restore": {"snapshot", "seconds", "files", "manifest", "missing", "erased", "snapshot_files"},
    "hash": {"hashes"},
    "record": set[str](),
}


class DrillFailedError(AntisecheError):
    """Nothing could be restored."""

    exit_code = ExitCode.TASK_FAILED


class NoPlaceError(AnswersError):
    """No machine of the practice can take the restored files."""


@dataclass(frozen=True)
class Comparison:
    """What a drill found.

    Attributes:
        identical: paths that were restored and are what they should be.
        different: paths whose content is another one.
        absent: paths that were asked for and did not come.
        changed: paths that were restored, but nothing says what they should be any more: the live file has changed.
        missing: declared paths of which the snapshot holds nothing.
    """

    identical: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def verified(self) -> bool:
        """Whether something was compared and nothing is wrong."""
        return bool(self.identical) and not (self.different or self.absent or self.missing)


def chosen_host(answers: Backup, name: str) -> HostBackup:
    """Return what the answers say of a backed-up machine.

    Raises:
        AnswersError: it is not one.
    """
    for item in answers.hosts:
        if item.host == name:
            return item
    raise AnswersError(
        _("« {host} » n'est pas parmi les machines sauvegardées : {known}.").format(
            host=name, known=", ".join(item.host for item in answers.hosts)
        )
    )


def scratch_for(practice: Practice, answers: Backup, host: str, wanted: str | None) -> str:
    """Return the machine to restore on: never the one that was backed up, and one whose restic knows how.

    Raises:
        AnswersError: the wanted one will not do.
        NoPlaceError: none will do.
    """
    systems = {one.name: one.system for one in practice.hosts}
    able = [
        name
        for name in dict.fromkeys([answers.server, *(item.host for item in answers.hosts)])
        if name != host and systems.get(name) is not System.DEBIAN12
    ]
    if wanted is not None and wanted not in able:
        raise AnswersError(
            _("L'exercice de {host} ne peut pas se faire sur « {wanted} » ; machines possibles : {able}.").format(
                host=host, wanted=wanted, able=", ".join(able) or _("aucune")
            )
        )
    if not able:
        raise NoPlaceError(
            _("Aucune autre machine ne peut recevoir l'exercice de {host} : il faut une machine sous Debian 13, "
              "serveur de sauvegarde ou elle-même sauvegardée.").format(host=host)
        )  # fmt: skip
    return wanted or able[0]


def local_request(practice: Practice, item: HostBackup, secrets: dict[str, Any], server: dict[str, Any], sample: int) -> Request:
    """Return what the scratch machine needs to restore from the practice's server; it goes there by ssh's standard input.

    Raises:
        AnswersError: a vault has not got the secrets.
    """
    answers = practice.backup
    assert answers is not None
    address = next(str(one.address) for one in practice.hosts if one.name == answers.server)
    place = f"[{address}]" if ":" in address else address
    user_password = _needed(secrets, "backup_rest_password", item.host)
    return {
        "host": item.host,
        "repository": f"rest:https://{item.host}:{user_password}@{place}:{PORT}/{item.host}/",
        "password": _needed(secrets, "backup_password", item.host),
        "certificate": _needed(server, "backup_tls_certificate", answers.server),
        "must_survive": list(item.must_survive),
        "sample": sample,
    }


def offsite_request(
    practice: Practice, item: HostBackup, secrets: dict[str, Any], server: dict[str, Any], sample: int
) -> Request:
    """Return what the scratch machine needs to restore from the off-site copy.

    Raises:
        AnswersError: none is declared, or a vault has not got the secrets.
    """
    answers = practice.backup
    assert answers is not None
    if answers.offsite is None:
        raise AnswersError(_("Aucune copie distante n'est déclarée : l'exercice se fait sans --offsite."))
    request: Request = {
        "host": item.host,
        "password": _needed(secrets, "backup_password", item.host),
        "must_survive": list(item.must_survive),
        "sample": sample,
    }
    if answers.offsite.kind == "sftp":
        return {**request, "sftp": {**sftp_target(answers.offsite), "key": _needed(server, "backup_offsite_key", answers.server)}}
    credentials = _needed(server, "backup_offsite_credentials", answers.server)
    user, password = (quote(str(credentials.get(key, "")), safe="") for key in ("user", "password"))
    folder = f"{answers.offsite.url.rstrip('/')}/{item.host}/"
    if answers.offsite.kind == "s3":
        names = {
            "AWS_ACCESS_KEY_ID": str(credentials.get("user", "")),
            "AWS_SECRET_ACCESS_KEY": str(credentials.get("password", "")),
        }
        return {**request, "repository": f"s3:{folder}", "environment": names}
    return {**request, "repository": "rest:" + folder.replace("https://", f"https://{user}:{password}@", 1)}


def _needed(secrets: dict[str, Any], name: str, host: str) -> Any:
    if not secrets.get(name):
        raise AnswersError(
            _("Le coffre de {host} n'a pas « {name} » : lancez « antiseche inventory », ou complétez-le à la main.").format(
                host=host, name=name
            )
        )
    return secrets[name]


def ask(target: Target, verb: str, request: dict[str, Any], seconds: int) -> dict[str, Any]:
    """Run the drill program on a machine, as root; the request never is an argument.

    Raises:
        HostUnreachableError: no connection.
        DrillFailedError: the program is not there, did not end, or could not restore.
    """
    command = [*ssh_command(target)[:-1], f"sudo -n /usr/bin/python3 -B {PROGRAM} {verb}"]
    try:
        done = subprocess.run(
            command, input=json.dumps(request), capture_output=True, text=True, errors="replace", timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise DrillFailedError(_("{host} n'a pas fini à temps : l'exercice est abandonné.").format(host=target.name)) from None
    if done.returncode == 255:
        words = (plain(done.stderr).strip().splitlines() or [_("pas de réponse")])[-1]
        raise HostUnreachableError(_("{host} est injoignable : {reason}").format(host=target.name, reason=words))
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = None
    if done.returncode != 0 or not isinstance(answer, dict):
        if "No such file" in done.stderr:
            raise DrillFailedError(
                _("{host} n'a pas encore le rôle « sauvegardes » : lancez « antiseche deploy » d'abord.").format(host=target.name)
            )
        words = (plain(done.stderr).strip().splitlines() or ["?"])[-1][:200]
        raise DrillFailedError(_("L'exercice s'est arrêté sur {host} : {reason}").format(host=target.name, reason=words))
    if answer.get("failure"):
        code = str(answer["failure"].get("code"))
        words = _(REASONS[code]) if code in REASONS else plain(str(answer["failure"].get("detail", "?")))[:200]
        raise DrillFailedError(_("Rien n'a pu être restauré sur {host} : {reason}.").format(host=target.name, reason=words))
    if not answer.keys() >= ANSWERS[verb]:
        reason = _("sa réponse est incomplète")
        raise DrillFailedError(_("L'exercice s'est arrêté sur {host} : {reason}").format(host=target.name, reason=reason))
    return answer


def unknown_to_manifest(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the restored files that the manifest does not describe: the live machine may."""
    manifest = answer["manifest"]
    return [one for one in answer["files"] if one["sha256"] is not None and not _described(one, manifest)]


def compare(answer: dict[str, Any], live: dict[str, str | None]) -> Comparison:
    """Compare what was restored with what it should be.

    Args:
        answer: of the scratch machine: files, manifest, missing.
        live: digests of live files that have not changed since, by path.
    """
    found = Comparison(missing=list(answer["missing"]))
    for one in answer["files"]:
        path = one["path"]
        if one["sha256"] is None:
            found.absent.append(path)
            continue
        expected = answer["manifest"][path]["sha256"] if _described(one, answer["manifest"]) else live.get(path)
        if expected is None:
            found.changed.append(path)
        elif expected == one["sha256"]:
            found.identical.append(path)
        else:
            found.different.append(path)
    return found


def _described(one: dict[str, Any], manifest: dict[str, Any]) -> bool:
    """Say whether the manifest speaks of this very version of a file: it was read just before the snapshot."""
    known = manifest.get(one["path"])
    return known is not None and (known["size"], known["mtime_ns"]) == (one["size"], one["mtime_ns"])
