"""Whether the card middleware that the answers name can be installed, seen from the contractor's machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

from antiseche.i18n import _
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Practice


def middleware_problem(folder: PracticeFolder, practice: Practice) -> tuple[bool, str]:
    """Return whether a deployment would stop there, and what to say. An address is left to the deployment to fetch."""
    given = practice.cps.middleware
    if given is None:
        return False, _("non fournie : les cartes ne serviront pas encore")
    if given.source.lower().startswith(("https://", "http://")):
        return False, _("{version}, à télécharger au déploiement").format(version=given.version)
    path = Path(given.source).expanduser()
    path = path if path.is_absolute() else folder.root / path
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return True, _("{path} est illisible : {reason}").format(path=path, reason=error.strerror)
    if found != given.sha256.lower():
        return True, _("{path} n'a pas l'empreinte des réponses : {found}").format(path=path, found=found)
    return False, given.version
