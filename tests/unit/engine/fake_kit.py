"""A kit of small roles that run on this machine, with the real playbook, callback and settings."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from antiseche.kit import kit_dir
from antiseche.practice.folder import PracticeFolder

FACTS = """#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule
m = AnsibleModule({}, supports_check_mode=True)
m.exit_json(changed=False, ansible_facts={"antiseche": {}})
"""
MARK = """#!/usr/bin/python
import os
from ansible.module_utils.basic import AnsibleModule
m = AnsibleModule({"path": {"required": True}}, supports_check_mode=True)
path = m.params["path"]
new = not os.path.exists(path)
if new and not m.check_mode:
    open(path, "w").close()
m.exit_json(changed=new, changes=["file " + os.path.basename(path)] if new else [])
"""


class FakeKit:
    """Builds a kit and a practice under a temporary directory."""

    def __init__(self, root: Path) -> None:
        self.kit = root / "kit"
        self.folder = PracticeFolder(root / "practice")
        self.state = root / "state"
        for path in (self.kit / "roles", self.kit / "playbooks", self.kit / "plugins" / "modules", self.state):
            path.mkdir(parents=True)
        self.folder.inventory_dir.mkdir(parents=True)
        self.folder.answers_file.write_text("practice: {}\n")
        real = kit_dir()
        (self.kit / "ansible.cfg").write_bytes((real / "ansible.cfg").read_bytes())
        (self.kit / "playbooks" / "site.yml").write_bytes((real / "playbooks" / "site.yml").read_bytes())
        for plugins in ("callback", "lookup"):
            (self.kit / "plugins" / plugins).symlink_to(real / "plugins" / plugins)
        (self.kit / "plugins" / "modules" / "antiseche_facts.py").write_text(FACTS)
        (self.kit / "plugins" / "modules" / "mark.py").write_text(MARK)

    def role(self, name: str, order: int, tasks: list[dict[str, object]], **files: str) -> None:
        """Add a role."""
        base = self.kit / "roles" / name
        (base / "tasks").mkdir(parents=True)
        titles = {"title": {"fr": f"Titre {name}", "en": f"Title {name}"}}
        (base / "controls.yml").write_text(yaml.safe_dump({"role": name, "order": order, **titles, "controls": []}))
        (base / "tasks" / "main.yml").write_text(yaml.safe_dump(tasks))
        for file, text in files.items():
            (base / "tasks" / f"{file}.yml").write_text(text)

    def hosts(self, *names: str, **variables: dict[str, object]) -> None:
        """Write the inventory; hosts are this machine unless their variables say otherwise."""
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "state": str(self.state)}
        entries = {name: local | variables.get(name, {}) for name in names}
        self.folder.hosts_file.write_text(yaml.safe_dump({"all": {"children": {"linux": {"hosts": entries}}}}))

    def mark(self, what: str) -> dict[str, object]:
        """Return a task that makes a file, once per host."""
        return {"name": f"Make {what}", "mark": {"path": "{{ state }}/{{ inventory_hostname }}-" + what}}
