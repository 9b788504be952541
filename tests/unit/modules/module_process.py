"""Run one of our Ansible modules as a process of its own, as a target does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

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
