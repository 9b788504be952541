"""A lab machine that plays a provider of SFTP storage: one account, shut into its folder, with nothing but file transfer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from antiseche.lab.labs import Lab

ACCOUNT, PORT = "tilleuls", 2222
FOLDER = "/srv/sftp"
CONFIG = f"""\
Port {PORT}
HostKey /etc/ssh/provider/host_key
AuthorizedKeysFile /etc/ssh/provider/authorized/%u
AuthenticationMethods publickey
PidFile none
AllowUsers {ACCOUNT}
Subsystem sftp internal-sftp
Match User {ACCOUNT}
  ChrootDirectory {FOLDER}
  ForceCommand internal-sftp
  AllowTcpForwarding no
  PermitTTY no
"""


class Provider:
    """The provider's machine: a second sshd on a port of its own."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._lab, self._name = lab, name
        self._sh(
            f"mkdir -p /etc/ssh/provider/authorized {FOLDER}/copies /run/sshd; useradd -M -s /usr/sbin/nologin -p '*' {ACCOUNT};"
            f" chown {ACCOUNT}: {FOLDER}/copies; chmod 0700 {FOLDER}/copies; cat > /etc/ssh/provider/config",
            CONFIG,
        )
        self._new_host_key()

    def _sh(self, script: str, text: str = "") -> str:
        done = self._lab.exec(self._name, ["sh", "-euc", script], stdin=text.encode())
        assert done.rc == 0, done.text() + done.stderr.decode()
        return done.text()

    def _new_host_key(self) -> None:
        self._sh("rm -f /etc/ssh/provider/host_key*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/provider/host_key")
        self._restart()

    def _restart(self) -> None:
        self._sh(
            "systemctl stop sftp-provider.service 2>/dev/null || true;"
            " systemd-run -q --unit sftp-provider /usr/sbin/sshd -D -e -f /etc/ssh/provider/config;"
            f" for n in $(seq 50); do ss -Hltn sport = :{PORT} | grep -q . && exit 0; sleep 0.1; done; exit 1"
        )

    def host_key(self) -> str:
        """Return what the provider publishes."""
        return self._sh("cat /etc/ssh/provider/host_key.pub").strip()

    @contextmanager
    def another_host_key(self) -> Iterator[None]:
        """Answer as somebody else would, who stands between."""
        self._sh("cp -a /etc/ssh/provider/host_key /root/genuine; cp -a /etc/ssh/provider/host_key.pub /root/genuine.pub")
        self._new_host_key()
        yield
        self._sh("cp -a /root/genuine /etc/ssh/provider/host_key; cp -a /root/genuine.pub /etc/ssh/provider/host_key.pub")
        self._restart()

    def accept(self, public_key: str) -> None:
        """Let the holder of a key in."""
        self._sh(f"cat > /etc/ssh/provider/authorized/{ACCOUNT}", public_key + "\n")

    def check(self, path: str, secrets: dict[str, str]) -> bool:
        """Read a repository whole on the provider's machine, over SFTP with the practice's key; say whether it is sound."""
        script = """
import json, os, pathlib, subprocess, sys, tempfile
secrets, path = json.load(sys.stdin), sys.argv[1]
with tempfile.TemporaryDirectory(dir="/run") as folder:
    for name, value in secrets.items():
        file = pathlib.Path(folder, name)
        file.touch(mode=0o600)
        file.write_text(value)
    ssh = f"-i {folder}/key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    argv = ["restic", "-o", "sftp.args=" + ssh, "-r", f"sftp://ACCOUNT@localhost:PORT/{path}", "--no-cache"]
    argv += ["check", "--read-data"]
    done = subprocess.run(argv, env={**os.environ, "RESTIC_PASSWORD_FILE": f"{folder}/password", "HOME": "/root"},
                          capture_output=True, text=True)
    print(json.dumps([done.returncode, done.stdout + done.stderr]))
""".replace("ACCOUNT", ACCOUNT).replace("PORT", str(PORT))
        self._sh("DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends restic >/dev/null 2>&1")
        done = self._lab.exec(self._name, ["python3", "-c", script, path], stdin=json.dumps(secrets).encode())
        code, said = json.loads(done.text())
        assert code == 0, said
        return "no errors were found" in said
