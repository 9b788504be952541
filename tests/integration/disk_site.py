"""A practice of one full machine with disks, and the contractor's command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from antiseche.lab import labs
from antiseche.practice import escrow
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.secrets import Vault

HOST = "serveur"
PASSWORD = b"essai"
ROLE = ("--role", "disk_encryption")


class Site:
    """A practice of one full machine, and the contractor's command line."""

    def __init__(self, root: Path, lab: labs.Lab) -> None:
        self.lab = lab
        self.folder = PracticeFolder(root / "tilleuls")
        self.folder.root.mkdir()
        self.password = root / "password"
        self.password.write_bytes(PASSWORD)
        self.password.chmod(0o600)
        self.folder.known_hosts.write_text((lab.folder / "known_hosts").read_text(encoding="utf-8"), encoding="utf-8")

    def answer(self, *disks: dict[str, str], **more: object) -> None:
        """Write the answers and build the inventory; this is when keys are drawn."""
        machine = self.lab.machine(HOST)
        answers = {
            "version": 1,
            "practice": {"id": "tilleuls", "name": "Cabinet des Tilleuls"},
            "people": [{"login": "cexemple", "name": "Dr Camille Exemple", "function": "doctor", "admin": True}],
            "hosts": [
                {
                    "name": HOST,
                    "kind": "server",
                    "system": machine.system,
                    "address": machine.address,
                    "users": ["cexemple"],
                    "data_disks": list(disks),
                    **more,
                }
            ],
            "network": {"lan": self.lab.state.subnet},
            "maintenance": {
                "contractor": "Prestataire Exemple",
                "account": "antiseche",
                "addresses": [f"{self.lab.gateway}/32"],
                "public_keys": [self.lab.public_key],
            },
        }
        self.folder.answers_file.write_text(yaml.safe_dump(answers, allow_unicode=True), encoding="utf-8")
        code, out, err = self.run("inventory", key=False)
        assert code == 0, out + err

    def start(self, *words: str, key: bool = True, lang: str = "fr") -> subprocess.Popen[str]:
        access = ["--vault-password-file", str(self.password)]
        access += ["--private-key", str(self.lab.private_key)] if key else []
        verb, *options = words
        return subprocess.Popen(
            [sys.executable, "-m", "antiseche", *verb.split(), str(self.folder.root), *options, *access],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "ANTISECHE_LANG": lang},
        )

    def run(self, *words: str, key: bool = True, lang: str = "fr") -> tuple[int, str, str]:
        with self.start(*words, key=key, lang=lang) as process:
            out, err = process.communicate(timeout=600)
        assert "Traceback" not in err, err
        return process.returncode, out, err

    def deploy(self, code: int = 0) -> str:
        """Deploy; return all that was said."""
        returned, out, err = self.run("deploy", "--yes", *ROLE)
        assert returned == code, out + err
        return out + err

    def outcomes(self) -> dict[str, tuple[str, str]]:
        """Return what the checks say: outcome and message by control."""
        _code, out, err = self.run("verify", "--json", *ROLE)
        assert out, err
        return {r["control"]: (r["outcome"], r.get("message") or "") for r in json.loads(out)["results"] if r["host"] == HOST}

    @property
    def vault_file(self) -> Path:
        return self.folder.inventory_dir / "host_vars" / HOST / "vault.yml"

    def keys(self) -> dict[str, str]:
        values = Vault(PASSWORD).read(self.vault_file)
        return escrow.volumes_in(values)["donnees"]

    def headers(self) -> list[str]:
        return sorted(path.name for path in (self.folder.root / "escrow" / HOST).glob("*.header"))

    def sh(self, script: str, stdin: bytes = b"") -> str:
        done = self.lab.exec(HOST, ["sh", "-euc", script], stdin, 300)
        assert done.rc == 0, done.stderr.decode() + done.text()
        return done.text().strip()

    def power_cut(self) -> None:
        self.lab.driver.power_cut(self.lab.machine(HOST))

    def power_on(self) -> None:
        self.lab.driver.power_on(self.lab.machine(HOST), 300)

    def cut_during(self, program: str) -> None:
        """Deploy, and cut the power while the machine runs that program."""
        process = self.start("deploy", "--yes", *ROLE)
        # Waited for by the machine itself, script on its standard input: some programs are gone before we could ask twice.
        watch = f"until pgrep -f '{program}' > /dev/null; do sleep 0.05; done"
        assert self.lab.exec(HOST, ["sh"], watch.encode(), 300).rc == 0
        self.power_cut()
        out, err = process.communicate(timeout=300)
        assert process.returncode == 4, out + err
        assert "Traceback" not in err
        self.power_on()
