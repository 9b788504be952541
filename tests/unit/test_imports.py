"""The rooms import only what comes before them, and the rule really bites."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "cli" / "antiseche"

FORBIDDEN = [
    ("practice/folder.py", "from antiseche.engine import x"),
    ("engine/__init__.py", "from antiseche.verify import x"),
    ("verify/__init__.py", "from antiseche import evidence"),
    ("evidence/__init__.py", "import antiseche.lab"),
    ("lab/__init__.py", "import antiseche.commands.options"),
    ("catalogue/__init__.py", "from antiseche.practice.folder import PracticeFolder"),
    ("errors.py", "from antiseche.practice.folder import PracticeFolder"),
    ("i18n.py", "import antiseche.app"),
    ("practice/folder.py", "def late():\n    import antiseche.lab"),
]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", code, "--no-logo", "--no-cache", "--config", str(ROOT / "pyproject.toml")],
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
        cwd=folder,
        capture_output=True,
        text=True,
    )


def test_the_rules_hold() -> None:
    done = lint(ROOT / "cli")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("file", "line"), FORBIDDEN)
def test_a_forbidden_import_is_found(file: str, line: str, tmp_path: Path) -> None:
    copy = tmp_path / "antiseche"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / file).open("a", encoding="utf-8") as handle:
        handle.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode != 0
    assert "BROKEN" in done.stdout


def test_every_room_has_a_rule() -> None:
    rules = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    top = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {name for name in top - {"__init__"} if f"antiseche.{name}" not in rules} == set()


def test_no_import_hides_from_the_rules() -> None:
    """Only the lazy command table may import our modules by a name computed at run time."""
    hidden = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if path.name != "app.py"
        and re.search(r"""(import_module|__import__)\((?!["'](?!antiseche))""", path.read_text(encoding="utf-8"))
    ]
    assert hidden == []


def test_checks_share_no_code_with_what_sets_the_state() -> None:
    """A check that read the role's tasks or templates would prove nothing."""
    guilty = [
        str(path.relative_to(ROOT))
        for path in ROOT.glob("roles/*/verify/*.py")
        if re.search(r"tasks/|templates/|defaults/|argument_specs", path.read_text(encoding="utf-8"))
    ]
    assert guilty == []
