"""Language of what users read: French source strings, English catalogue.

Source strings are French; ``locale/en`` holds their English translation and
``locale/fr`` only Click's own strings (Click ships none). ``select`` must run before any
command module is imported because Click evaluates help texts at import.
"""

from __future__ import annotations

import gettext
import os
from pathlib import Path

LOCALE_DIR = Path(__file__).parent / "locale"
LANGUAGES = ("fr", "en")
RUN_LANGUAGE = "ANTISECHE_RUN_LANG"
"""Set for the process of a playbook, whose plugins have no command line to read the language from."""


class _French(gettext.NullTranslations):
    """French source strings; zero and one are singular, unlike gettext's default."""

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return msgid1 if abs(n) < 2 else msgid2


_current: gettext.NullTranslations = _French()
_language = "fr"


def language() -> str:
    """Return the language in force: ``fr`` or ``en``."""
    return _language


def requested_language(argv: list[str], environ: dict[str, str] | os._Environ[str]) -> str:
    """Choose the language: ``--lang``, then ``ANTISECHE_LANG``, then the locale, then French.

    A locale that names no language (``C``, ``POSIX``, unset) means French: the product's
    users are French.
    """
    for index, argument in enumerate(argv):
        if argument.startswith("--lang="):
            return argument.partition("=")[2]
        if argument == "--lang" and index + 1 < len(argv):
            return argv[index + 1]
    chosen = environ.get("ANTISECHE_LANG")
    if not chosen:
        chosen = environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or ""
    return "en" if chosen.lower().startswith("en") else "fr"


def select(code: str) -> None:
    """Use this language from now on, for our strings and for Click's."""
    global _current, _language
    _language = code if code in LANGUAGES else "fr"
    # Click asks gettext's process-wide default domain, which reads LANGUAGE at each call.
    os.environ["LANGUAGE"] = _language
    gettext.bindtextdomain("messages", str(LOCALE_DIR))
    _current = _French() if _language == "fr" else gettext.translation("antiseche", LOCALE_DIR, [_language], fallback=True)


def _(message: str) -> str:
    """Translate a French source string."""
    return _current.gettext(message)


def n_(singular: str, plural: str, n: int) -> str:
    """Translate with number; use named placeholders and ``.format(n=n)``."""
    return _current.ngettext(singular, plural, n)


def N_(message: str) -> str:
    """Mark a string for extraction without translating it yet (module-level tables)."""
    return message


if RUN_LANGUAGE in os.environ:
    select(os.environ[RUN_LANGUAGE])
