"""Run one of our Ansible modules: as a process of its own, as a target does, or inside the test."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils import basic

PLUGINS = Path(__file__).parents[3] / "plugins"

# What AnsiballZ does, without the archive: our module_utils join Ansible's, then the module runs as __main__.
_RUNNER = """
import json, runpy, sys
import ansible.module_utils
ansible.module_utils.__path__.append(sys.argv[2])
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def run_module(name: str, arguments: dict[str, Any], *, check: bool = False, path: Path | None = None) -> dict[str, Any]:
    """Return what the module answered; ``path`` is put before PATH for fake commands."""
    arguments = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check, "_ansible_diff": True}}
    environment = {**os.environ}
    if path:
        environment["PATH"] = f"{path}:{environment['PATH']}"
    argv = [sys.executable, "-c", _RUNNER, str(PLUGINS / "modules" / f"{name}.py"), str(PLUGINS / "module_utils")]
    done = subprocess.run(argv, input=json.dumps(arguments), capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.strip(), done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    assert bool(done.returncode) == bool(answer.get("failed")), done.stderr
    return answer


def load(name: str) -> ModuleType:
    """Import a module of ours afresh, so that a test may bend its constants."""
    path = PLUGINS / "modules" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_under_test", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def answer_of(module: ModuleType, arguments: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
    """Run an imported module's main and return its answer; anything else than an answer is an error."""
    given = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check, "_ansible_diff": True}}
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(basic, "_ANSIBLE_ARGS", json.dumps(given).encode())
        patch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as ended:
            module.main()
    answer: dict[str, Any] = json.loads(printed.getvalue().strip().splitlines()[-1])
    assert bool(ended.value.code) == bool(answer.get("failed"))
    return answer


class FakeCommands:
    """Commands found before the machine's own, which note their arguments."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.log = folder / "log"
        folder.mkdir()
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        self.add("systemctl")

    def add(self, name: str, script: str = "") -> None:
        """Add a command; the shell script decides what it prints and how it ends."""
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>{shlex.quote(str(self.log))}\n{script}\n')
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        """Return every call so far."""
        return self.log.read_text().splitlines() if self.log.exists() else []
