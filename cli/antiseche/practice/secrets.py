"""Per-host secrets in ansible-vault files: generated once, kept whatever happens."""

from __future__ import annotations

import secrets
import string
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.parsing.vault import VaultLib, VaultSecret

from antiseche.errors import AnswersError
from antiseche.i18n import _

PASSWORDS_KEY = "accounts_initial_passwords"
# Neither 0/O, 1/l/I nor letters that a keyboard in the wrong layout swaps (a/q, z/w, m): the
# first logon may happen before the French layout is loaded. Four classes, about 89 bits.
_UPPER = "BCDEFGHJKLNPRSTUVXY"
_LOWER = "bcdefghijknoprstuvxy"
_DIGITS = "23456789"
_GROUPS, _GROUP_LENGTH = 4, 4


class VaultError(AnswersError):
    """The vault cannot be opened."""


class Vault:
    """Encrypts and decrypts with one password, kept in memory only."""

    def __init__(self, password: bytes) -> None:
        self._lib = VaultLib([("default", VaultSecret(password))])

    def __repr__(self) -> str:
        return "Vault(***)"

    def encrypt(self, values: dict[str, Any]) -> str:
        """Return an ansible-vault text."""
        plain = yaml.safe_dump(values, sort_keys=True, allow_unicode=True, default_flow_style=False)
        text: bytes = self._lib.encrypt(plain.encode())
        return text.decode("ascii")

    def decrypt(self, text: str, where: str) -> dict[str, Any]:
        """Return the variables of an ansible-vault text.

        Raises:
            VaultError: wrong password, or a damaged file.
        """
        try:
            plain = self._lib.decrypt(text.encode())
        except AnsibleError:
            # The cause is dropped on purpose: nothing of a vault may reach a traceback.
            raise VaultError(
                _("Le coffre {where} ne s'ouvre pas avec ce mot de passe : vérifiez-le, ou que le fichier est intact.").format(
                    where=where
                )
            ) from None
        values = yaml.safe_load(plain)
        return values if isinstance(values, dict) else {}

    def read(self, path: Path) -> dict[str, Any]:
        """Return the variables of a vault file."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise VaultError(_("Le coffre {where} est illisible : {error}").format(where=path, error=error)) from None
        return self.decrypt(text, str(path))


def new_password() -> str:
    """Return a first-logon password: easy to read on paper, at least one character of each class."""
    alphabet = _UPPER + _LOWER + _DIGITS
    while True:
        text = "".join(secrets.choice(alphabet) for _index in range(_GROUPS * _GROUP_LENGTH))
        if all(any(c in kind for c in text) for kind in (string.ascii_uppercase, string.ascii_lowercase, string.digits)):
            return "-".join(text[i : i + _GROUP_LENGTH] for i in range(0, len(text), _GROUP_LENGTH))


def passwords_in(values: dict[str, Any]) -> dict[str, str]:
    """Return the first-logon passwords among the secrets of a host."""
    found = values.get(PASSWORDS_KEY)
    return {str(login): str(password) for login, password in found.items()} if isinstance(found, dict) else {}


def with_passwords(values: dict[str, Any], logins: list[str]) -> dict[str, Any]:
    """Return the secrets of a host with a password for each login; existing ones never change."""
    passwords = passwords_in(values)
    for login in logins:
        passwords.setdefault(login, new_password())
    return {**values, PASSWORDS_KEY: dict(sorted(passwords.items()))}
