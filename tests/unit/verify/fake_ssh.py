"""A practice of made-up roles, and an ``ssh`` that runs the remote loop on this machine instead."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

CONTROL = """\
  - id: {id}
    title: {{fr: "Titre", en: "Title"}}
    statement: {{fr: "Phrase.", en: "Sentence."}}
    broken: {{fr: "Cassé.", en: "Broken."}}
    remedy: {{fr: "Réparer.", en: "Mend."}}
    repair: kit
    severity: high
    references: [{{source: HYG, id: "1"}}]
    applies: {applies}
"""


def write_role(kit: Path, checks: str, ids: dict[str, str]) -> None:
    """Write a role with these checks and these controls (id to ``applies``)."""
    role = kit / "roles" / "sample"
    (role / "verify").mkdir(parents=True)
    (role / "verify" / "test_sample.py").write_text(checks, encoding="utf-8")
    head = 'role: sample\norder: 10\ntitle: {fr: "Exemple", en: "Sample"}\ncontrols:\n'
    (role / "controls.yml").write_text(head + "".join(CONTROL.format(id=i, applies=a) for i, a in ids.items()), encoding="utf-8")


def write_ssh(folder: Path) -> None:
    """Write an ``ssh`` that obeys the address: ``dead`` refuses, anything else runs the command here without sudo."""
    folder.mkdir(exist_ok=True)
    script = folder / "ssh"
    script.write_text(
        f"""#!/bin/sh
for last; do :; done
case "$*" in *@dead*) echo "ssh: connect to host dead port 22: No route to host" >&2; exit 255;; esac
exec sh -c "$(printf '%s' "$last" | sed -e 's|^sudo -n /usr/bin/python3|{sys.executable}|' -e 's|os.geteuid()|0|')"
""",
        encoding="utf-8",
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
