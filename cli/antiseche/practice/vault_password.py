"""Where the vault password comes from: a file, the keyring, or the person at the keyboard.

It stays in this process's memory: never in an argument, a log, an event or the environment.
"""

from __future__ import annotations

import importlib
import os
import stat
import sys
from pathlib import Path

import click

from antiseche.errors import AnswersError
from antiseche.i18n import _

KEYRING_SERVICE = "antiseche"
MIN_NEW_LENGTH = 12
_MAX_BYTES = 4096


def obtain(practice_id: str, password_file: Path | None, *, create: bool = False) -> bytes:
    """Return the vault password of a practice.

    Args:
        practice_id: name under which the keyring keeps it.
        password_file: the file given with ``--vault-password-file``, if any.
        create: the password is about to protect a first vault; a typed one is confirmed.

    Raises:
        AnswersError: no source gives a usable password.
    """
    if password_file is not None:
        return read_password_file(password_file)
    return _from_keyring(practice_id) or _from_prompt(practice_id, create=create)


def has_source(practice_id: str, password_file: Path | None) -> bool:
    """Say whether a password can be had without asking anyone."""
    if password_file is not None:
        read_password_file(password_file)
        return True
    return _from_keyring(practice_id) is not None


def read_password_file(path: Path) -> bytes:
    """Read the password as ``ansible-playbook --vault-password-file`` would.

    Raises:
        AnswersError: the file is readable by others, executable, empty, too big or unreadable.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            _refuse_unsafe(path, os.fstat(descriptor))
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise AnswersError(
            _("Le fichier du mot de passe du coffre {path} est illisible : {error}.").format(path=path, error=error.strerror)
        ) from None
    password = data.strip()
    if not password:
        raise AnswersError(_("Le fichier du mot de passe du coffre {path} est vide.").format(path=path))
    if len(data) > _MAX_BYTES:
        raise AnswersError(_("Le fichier {path} est trop gros pour être un mot de passe.").format(path=path))
    if password.startswith(b"$ANSIBLE_VAULT"):
        raise AnswersError(_("Le fichier {path} est un coffre, pas le mot de passe d'un coffre.").format(path=path))
    return password


def _refuse_unsafe(path: Path, status: os.stat_result) -> None:
    if stat.S_ISFIFO(status.st_mode):
        return  # a pipe made by the caller, e.g. <(pass show cabinet)
    if not stat.S_ISREG(status.st_mode):
        raise AnswersError(_("{path} n'est pas un fichier : donnez le fichier du mot de passe du coffre.").format(path=path))
    if status.st_mode & 0o077:
        raise AnswersError(
            _(
                "Le fichier du mot de passe du coffre {path} est lisible par d'autres que vous : faites « chmod 600 {path} »."
            ).format(path=path)
        )
    if status.st_mode & 0o100:
        raise AnswersError(
            _("Le fichier {path} est exécutable : Ansible le lancerait au lieu de le lire ; faites « chmod 600 {path} ».").format(
                path=path
            )
        )


def _from_keyring(practice_id: str) -> bytes | None:
    try:
        keyring = importlib.import_module("keyring")
    except ImportError:
        return None
    try:
        password = keyring.get_password(KEYRING_SERVICE, practice_id)
    except Exception:  # noqa: BLE001 - each keyring backend has errors of its own; another source may do
        return None
    return str(password).strip().encode() or None if password else None


def _from_prompt(practice_id: str, *, create: bool) -> bytes:
    if not sys.stdin.isatty():
        raise AnswersError(
            _(
                "Il faut le mot de passe du coffre de « {practice} » : donnez --vault-password-file FICHIER (0600), "
                "ou rangez-le dans le trousseau (« keyring set {service} {practice} »)."
            ).format(practice=practice_id, service=KEYRING_SERVICE)
        )
    if not create:
        typed: str = click.prompt(
            _("Mot de passe du coffre de « {practice} »").format(practice=practice_id), hide_input=True, err=True
        )
        return typed.strip().encode()
    click.echo(
        _("Ce mot de passe protège tous les secrets du cabinet « {practice} ». Écrit nulle part : gardez-le en lieu sûr.").format(
            practice=practice_id
        ),
        err=True,
    )
    while True:
        typed = click.prompt(
            _("Nouveau mot de passe du coffre"),
            hide_input=True,
            confirmation_prompt=_("Le même, une seconde fois"),
            err=True,
        ).strip()
        if len(typed) >= MIN_NEW_LENGTH:
            return typed.encode()
        click.echo(_("Trop court : {n} caractères au moins.").format(n=MIN_NEW_LENGTH), err=True)
