"""This machine's own apt configuration: where lab machines get their packages from.

No host name is written in the kit: a lab uses the mirror, the proxy and the checks that
the machine it runs on uses.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from antiseche.errors import MissingRequirementError
from antiseche.i18n import _

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_FORMAT = "$(REPO_URI)|$(CODENAME)|$(ORIGIN)|$(COMPONENT)"
# What a machine must share with this one to reach the same mirror; not its tastes (languages, recommends...).
_SHARED_OPTIONS = ("acquire::http::", "acquire::https::", "acquire::check-", "acquire::retries", "acquire::forceipv")


@dataclass(frozen=True)
class AptSource:
    """A Debian archive as this machine reaches it."""

    uri: str
    pockets: tuple[str, ...]
    """Suffixes of the suite served there: empty, ``-updates``, ``-security``."""
    components: tuple[str, ...]

    def stanza(self, suite: str) -> str:
        """Return the deb822 stanza for another suite of the same archive."""
        suites = " ".join(f"{suite}{pocket}" for pocket in self.pockets)
        return f"Types: deb\nURIs: {self.uri}\nSuites: {suites}\nComponents: {' '.join(self.components)}\nSigned-By: {KEYRING}\n"


@dataclass(frozen=True)
class AptSettings:
    """Sources and options of this machine, to be given to lab machines."""

    sources: tuple[AptSource, ...]
    options: tuple[str, ...]

    @property
    def mirror(self) -> str:
        """The archive that serves the suite itself."""
        return next(source.uri for source in self.sources if "" in source.pockets)

    def sources_text(self, suite: str) -> str:
        """Return ``debian.sources`` for a suite."""
        return "\n".join(source.stanza(suite) for source in self.sources)


def settings() -> AptSettings:
    """Read this machine's settings through apt itself.

    Raises:
        MissingRequirementError: apt knows no Debian archive here.
    """
    return AptSettings(
        _sources(_run("apt-get", "indextargets", "--format", _FORMAT, "Created-By: Packages"), _codename()), _options()
    )


def _run(*argv: str) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def _codename() -> str:
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    return ""


def _sources(listing: str, codename: str) -> tuple[AptSource, ...]:
    """Group apt's index targets by archive; only Debian's own count."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for line in listing.splitlines():
        uri, suite, origin, component = [*line.split("|"), "", "", ""][:4]
        pocket = suite.removeprefix(codename)
        if origin != "Debian" or not suite.startswith(codename) or pocket not in ("", "-updates", "-security"):
            continue
        if not uri.startswith(("http://", "https://")):
            continue
        pockets, components = found.setdefault(uri.rstrip("/"), (set(), set()))
        pockets.add(pocket)
        components.add(component)
    sources = [AptSource(uri, tuple(sorted(p)), tuple(sorted(c))) for uri, (p, c) in sorted(found.items())]
    main = next((source for source in sources if "" in source.pockets), None)
    if main is None:
        raise MissingRequirementError(
            _("Aucun dépôt Debian n'est configuré et lu sur ce poste : lancez « apt-get update », puis recommencez.")
        )
    if not any("-security" in source.pockets for source in sources):
        # Every Debian mirror serves security beside the main archive, under this name.
        sources.append(AptSource(f"{main.uri.removesuffix('/debian')}/debian-security", ("-security",), main.components))
    return tuple(sources)


def _options() -> tuple[str, ...]:
    lines = _run("apt-config", "dump").splitlines()
    return tuple(line for line in lines if line.lower().startswith(_SHARED_OPTIONS) and not line.endswith('"";'))
