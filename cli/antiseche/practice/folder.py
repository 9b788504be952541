"""Where a practice lives on disk: the answers, what is built from them, and its runs."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from antiseche.errors import AnswersError
from antiseche.i18n import _

ANSWERS_NAME = "practice.yml"
REHEARSAL_NAME = "rehearsal.json"
"""Marks a folder whose machines were started for a rehearsal."""
_SHOWN = 200


@dataclass(frozen=True)
class PracticeFolder:
    """The folder of one practice. ``practice.yml`` is the only file a person edits."""

    root: Path

    @property
    def name(self) -> str:
        """Folder name, used in messages."""
        return self.root.name

    @property
    def answers_file(self) -> Path:
        """The answers."""
        return self.root / ANSWERS_NAME

    @property
    def rehearsal(self) -> bool:
        """Whether the machines are those of a rehearsal: its results say so, everywhere."""
        return (self.root / REHEARSAL_NAME).is_file()

    @property
    def inventory_dir(self) -> Path:
        """Generated Ansible inventory: hosts.yml, group_vars/, host_vars/."""
        return self.root / "inventory"

    @property
    def hosts_file(self) -> Path:
        """The file to give to ``ansible-playbook -i``."""
        return self.inventory_dir / "hosts.yml"

    @property
    def known_hosts(self) -> Path:
        """Host keys pinned at bootstrap; the only ones accepted."""
        return self.root / "known_hosts"

    @property
    def runs_dir(self) -> Path:
        """One folder per run: events, log, observations, results, report."""
        return self.root / "runs"


def practices_dir() -> Path:
    """Folder where practices are looked up by name: ``ANTISECHE_PRACTICES``, else ``./inventories``."""
    return Path(os.environ.get("ANTISECHE_PRACTICES") or "inventories")


def new_folder(name: str) -> PracticeFolder:
    """Return the folder of a practice that may not exist yet.

    Raises:
        AnswersError: the name cannot be that of a practice.
    """
    root = Path(name) if os.sep in name or name in (".", "..") else practices_dir() / name
    root = root.absolute()
    if not name or not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", root.name):
        raise AnswersError(
            _(
                "« {name} » ne peut pas nommer un cabinet : minuscules sans accent, chiffres et tirets, une lettre d'abord."
            ).format(name=printable(root.name if name else name))
        )
    mode = _mode(root)
    if mode and not stat.S_ISDIR(mode):
        raise AnswersError(_("{path} est un fichier : choisissez un autre nom.").format(path=root))
    return PracticeFolder(root)


def find_practice(name: str) -> PracticeFolder:
    """Find a practice by folder or by name.

    Raises:
        AnswersError: no such folder, or it holds no ``practice.yml`` that can be read.
    """
    candidates = [Path(name), practices_dir() / name]
    for candidate in candidates if name else ():
        if _has_answers(candidate):
            return PracticeFolder(candidate.resolve())
    looked = ", ".join(printable(str(candidate / ANSWERS_NAME)) for candidate in candidates)
    raise AnswersError(
        _("Cabinet « {name} » introuvable (cherché : {looked}). Créez-le avec « antiseche new {name} ».").format(
            name=printable(name), looked=looked
        )
    )


def is_file(path: Path) -> bool:
    """Say whether this is a file; False as well where the system refuses to say."""
    return stat.S_ISREG(_mode(path))


def is_folder(path: Path) -> bool:
    """Say whether this is a folder; False as well where the system refuses to say."""
    return stat.S_ISDIR(_mode(path))


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def _has_answers(root: Path) -> bool:
    answers = root / ANSWERS_NAME
    try:
        if stat.S_ISREG(answers.stat().st_mode):
            return True
        reason = _("ce n'est pas un fichier")
    except (FileNotFoundError, NotADirectoryError, ValueError):
        if not answers.is_symlink():
            return False
        reason = _("lien rompu : sa cible n'existe pas")
    except PermissionError:
        reason = _("lecture refusée : vérifiez les droits du fichier et de ses dossiers")
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        reason = _("lien vers lui-même") if error.errno == errno.ELOOP else error.strerror or str(error)
    raise AnswersError(_("{path} : {reason}.").format(path=printable(str(answers)), reason=reason))


def printable(name: str) -> str:
    """Return a name as a message may show it: one line, not endless."""
    text = "".join(character if character.isprintable() else "·" for character in name)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def known_practices() -> list[PracticeFolder]:
    """Return the practices under `practices_dir`, by name."""
    base = practices_dir()
    found = sorted(path.parent for path in base.glob(f"*/{ANSWERS_NAME}")) if base.is_dir() else []
    return [PracticeFolder(path.resolve()) for path in found]
