"""The wheel is enough: built, installed away from the checkout, and used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KIT_FOLDERS = ("roles", "playbooks", "plugins")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment that sees our dependencies but not the checkout."""
    home = tmp_path_factory.mktemp("installed")
    venv = home / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True, capture_output=True, text=True
    ).stdout.strip()
    # A folder added by a .pth is searched, but the .pth files inside it (our editable install) are not followed.
    Path(purelib, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index", str(wheel)], check=True
    )
    return home


def call(home: Path, *arguments: str, program: str = "antiseche", **environ: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "ANTISECHE", "LC_", "LANG"))}
    env["PATH"] = f"{home / 'venv' / 'bin'}:/usr/bin:/bin:/usr/sbin:/sbin"
    return subprocess.run(
        [str(home / "venv" / "bin" / program), *arguments],
        cwd=home,
        env=env | environ,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def kit_dir(home: Path) -> Path:
    done = call(home, "-c", "from antiseche.kit import kit_dir; print(kit_dir())", program="python")
    return Path(done.stdout.strip())


def test_wheel_holds_the_kit_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {"antiseche", f"{wheel.name.split('-py3')[0]}.dist-info"}
    strays = [name for name in names if re.search(r"__pycache__|\.pyc$|/tests/|\.venv|/runs/|vault\.yml", name)]
    assert strays == []
    for folder in KIT_FOLDERS:
        tracked = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
            "\n"
        )
        packed = {name.removeprefix("antiseche/kit_files/") for name in names}
        assert {name for name in tracked if name} - packed == set()


def test_wheel_carries_compiled_catalogues_and_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "antiseche/locale/en/LC_MESSAGES/antiseche.mo" in names
    assert "antiseche/locale/fr/LC_MESSAGES/messages.mo" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_installed_help_in_both_languages(installed: Path) -> None:
    french, english = call(installed, "--help"), call(installed, "--lang=en", "--help")
    assert (french.returncode, english.returncode) == (0, 0)
    assert "Affiche cette aide" in french.stdout
    assert "Show this message" in english.stdout


def test_installed_kit_is_the_packaged_one(installed: Path) -> None:
    found = kit_dir(installed)
    assert found.is_relative_to(installed)
    assert {path.parent.name for path in (found / "roles").glob("*/controls.yml")} == {
        path.parent.name for path in (ROOT / "roles").glob("*/controls.yml")
    }
    assert (found / "ansible.cfg").is_file()
    assert (found / "playbooks" / "site.yml").is_file()


def test_packaged_example_is_valid(installed: Path) -> None:
    done = call(installed, "check-answers", str(kit_dir(installed) / "inventories" / "exemple"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_for_editors_comes_with_the_wheel(installed: Path) -> None:
    done = call(installed, "check-answers", "--schema")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (ROOT / "docs" / "schema" / "practice.schema.json").read_text(encoding="utf-8")


def test_every_command_s_help_works_outside_the_checkout(installed: Path) -> None:
    listed = re.findall(r"^  ([a-z-]+)  ", call(installed, "--help").stdout.partition("Commandes")[2], flags=re.MULTILINE)
    assert "demo" in listed
    failed = {name: done.stderr for name in listed if (done := call(installed, name, "--help")).returncode != 0}
    assert failed == {}


def test_nothing_is_imported_that_is_not_declared(wheel: Path) -> None:
    """What the package imports must come with it, not by the grace of a developer's tool."""
    declared = {
        "ansible",
        "click",
        "jinja2",
        "pydantic",
        "pydantic_core",
        "pytest",
        "_pytest",
        "testinfra",
        "ruamel",
        "typst",
        "keyring",
        "yaml",
        "cryptography",
    }
    source = zipfile.ZipFile(wheel)
    own = {
        name for name in source.namelist() if name.startswith("antiseche/") and "/kit_files/" not in name and name.endswith(".py")
    }
    imported = {
        match
        for name in own
        for match in re.findall(r"^\s*(?:import|from) ([a-zA-Z_]\w*)", source.read(name).decode(), flags=re.MULTILINE)
        if match not in sys.stdlib_module_names
    }
    assert imported - declared - {"antiseche"} == set()


@pytest.mark.parametrize("name", ["run", "dev"])
def test_lock_is_complete_and_names_no_registry(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8")
    assert "://" not in text
    assert re.search(r"(^|\s)/\w", text) is None
    pinned = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert [block.split()[0] for block in pinned if "--hash=sha256:" not in block or "==" not in block] == []


def test_locks_satisfy_what_pyproject_asks() -> None:
    packaging = pytest.importorskip("packaging.requirements")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {"run": project["project"]["dependencies"]}
    wanted["dev"] = wanted["run"] + project["dependency-groups"]["dev"] + project["build-system"]["requires"]
    for name, requirements in wanted.items():
        text = (ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8")
        locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, flags=re.MULTILINE))
        for line in requirements:
            requirement = packaging.Requirement(line)
            version = locked.get(re.sub(r"[._]+", "-", requirement.name).lower())
            assert version is not None, f"{line} is not in {name}.lock: make lock"
            assert version in requirement.specifier, f"{line}: {name}.lock has {version}: make lock"
