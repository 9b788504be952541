"""Build hook: compiles the translations, and puts the kit's own files inside the wheel.

A wheel must be enough: somebody who installs it has no checkout, so roles, playbooks,
plugins, ansible.cfg and the example practice travel inside. An editable install reads them
from the checkout instead and must not carry copies that grow stale.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LOCALE = Path("cli/antiseche/locale")
KIT_FILES = ("ansible.cfg", "playbooks", "plugins", "roles", "inventories/exemple/practice.yml")


def compile_catalogues(locale_dir: Path) -> list[Path]:
    """Write a ``.mo`` beside each ``.po``; Click and gettext read nothing else."""
    written = []
    for source in sorted(locale_dir.glob("*/LC_MESSAGES/*.po")):
        language = source.parent.parent.name
        with source.open("rb") as po:
            catalogue = read_po(po, locale=language)
        target = source.with_suffix(".mo")
        with target.open("wb") as mo:
            write_mo(mo, catalogue)
        written.append(target)
    return written


class KitBuildHook(BuildHookInterface):
    """Runs for the wheel and for editable installs."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, then add the kit's files to a real wheel."""
        root = Path(self.root)
        compile_catalogues(root / LOCALE)
        if version == "standard":
            for name in KIT_FILES:
                build_data["force_include"][str(root / name)] = f"antiseche/kit_files/{name}"
