"""Backups of a practice on real machines: made, out of an attacker's reach, restored, and each fault told in plain French.

The tests follow one another, as days at a practice do: what one leaves, the next finds.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sftp_provider
import yaml

from antiseche.lab import rehearsal
from antiseche.lab.requirements import requirements
from antiseche.practice.answers import load_answers
from antiseche.practice.backup_secrets import htpasswd_hash, server_certificate
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.secrets import Vault

pytestmark = pytest.mark.lab

POST, SERVER, PROVIDER = "poste", "serveur", "lointain"
ANSWERS = f"""\
version: 1
practice: {{id: tilleuls, name: "Cabinet des Tilleuls"}}
people:
  - {{login: cexemple, name: "Dr Camille Exemple", function: doctor, admin: true}}
hosts:
  - {{name: {POST}, kind: workstation, system: debian12, address: 192.168.42.11, users: [cexemple]}}
  - {{name: {SERVER}, kind: server, system: debian13, address: 192.168.42.2, users: [cexemple]}}
  - {{name: {PROVIDER}, kind: server, system: debian13, address: 192.168.42.3, users: [cexemple]}}
network: {{lan: 192.168.42.0/24}}
maintenance:
  contractor: "Prestataire Exemple"
  account: antiseche
  addresses: [192.168.42.200/32]
  public_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE3WgC5WKWjujxy22vCJNo5yps7svkprtAw75EuMvRe2 exemple]
suppliers:
  - {{name: "Sauvegarde Exemple", role: backup}}
backup:
  server: {SERVER}
  hosts:
    - host: {POST}
      paths: [/srv/dossiers]
      exclude: ["*.tmp"]
      must_survive: [/srv/dossiers/important]
      dumps: [{{name: comptes.txt, command: [getent, passwd], user: nobody}}]
    - {{host: {SERVER}, paths: [/etc]}}
  keep: {{days: 30, weeks: 12, months: 24}}
  offsite: {{kind: rest, url: "https://lointain.example:8443/tilleuls", supplier: "Sauvegarde Exemple"}}
choices: {{confirm_seconds: 20}}
"""
ROLES = ("--role", "backup", "--role", "firewall")
CLIENT = "python3 -B /usr/local/lib/antiseche/backup/client.py --now"
RESTIC = (
    "env RESTIC_REPOSITORY_FILE=/etc/antiseche/backup/repository RESTIC_PASSWORD_FILE=/etc/antiseche/backup/password"
    " RESTIC_CACHE_DIR=/root/cache restic --cacert /etc/antiseche/backup/server.pem"
)
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends >/dev/null 2>&1"
STORE = f"/srv/antiseche-backup/{POST}"


class Site:
    """A rehearsed practice and the contractor's command line."""

    def __init__(self, root: Path) -> None:
        source = PracticeFolder(root / "tilleuls")
        source.root.mkdir()
        source.answers_file.write_text(ANSWERS, encoding="utf-8")
        self.folder = rehearsal.folder_of(source)
        self.running = rehearsal.start(load_answers(source), self.folder)
        self.lab = self.running.lab
        self.vault = Vault(self.running.password_file.read_bytes().strip())

    def run(self, verb: str, *options: str) -> tuple[int, str, str]:
        access = [] if verb == "status" else self.running.arguments()
        if verb == "inventory":
            access = ["--vault-password-file", str(self.running.password_file)]
        done = subprocess.run(
            [sys.executable, "-m", "antiseche", verb, str(self.folder.root), *options, *access],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            env={**os.environ, "ANTISECHE_LANG": "fr"},
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    def sh(self, host: str, script: str, *, may_fail: bool = False) -> str:
        done = self.lab.exec(host, ["sh", "-c", script])
        assert may_fail or done.rc == 0, done.text() + done.stderr.decode()
        return done.text() + (done.stderr.decode() if may_fail else "")

    def deploy(self) -> None:
        code, out, err = self.run("deploy", *ROLES, "--limit", POST, "--limit", SERVER, "--yes")
        assert code == 0, out + err

    def state(self, host: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.sh(host, "cat /var/lib/antiseche-backup/state.json 2>/dev/null || echo '{}'"))
        return found

    def kept(self) -> dict[str, Any]:
        """Return the state of the server."""
        found: dict[str, Any] = json.loads(self.sh(SERVER, "cat /var/lib/antiseche-backup-server/state.json"))
        return found

    def secrets(self, host: str) -> dict[str, Any]:
        return self.vault.read(self.folder.inventory_dir / "host_vars" / host / "vault.yml")

    def back_up(self, host: str = POST) -> dict[str, Any]:
        self.sh(host, CLIENT, may_fail=True)
        return self.state(host)

    def maintain(self, *, week: bool = False) -> dict[str, Any]:
        """Start what the server does every evening; a week later, the check is due again."""
        if week:
            self.sh(SERVER, r"sed -i 's/\"at\": \"20../\"at\": \"2000/' /var/lib/antiseche-backup-server/state.json")
        self.sh(SERVER, "systemctl start antiseche-backup-maintenance", may_fail=True)
        hosts: dict[str, Any] = self.kept()["hosts"]
        return hosts

    def results(self) -> dict[tuple[str, str], dict[str, Any]]:
        _code, out, _err = self.run("verify", "--role", "backup", "--json")
        return {(one["host"], one["control"]): one for one in json.loads(out)["results"]}

    def told(self, host: str, control: str, *words: str) -> None:
        """The control fails, and both the result and status say why."""
        found = self.results()[host, control]
        assert found["outcome"] == "fail", found
        _code, shown, _err = self.run("status")
        for word in words:
            assert word in found["message"], found["message"]
            assert word in shown, shown

    def snapshots(self) -> list[str]:
        """Return the names of the files of snapshots, as they are on the server's disk."""
        return self.sh(SERVER, f"ls {STORE}/snapshots").split()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    assert not requirements(), "this machine must be able to run a lab"
    root = tmp_path_factory.mktemp("sauvegardes")
    try:
        running = Site(root)
        open_provider(running)
        running.sh(
            POST,
            "mkdir -p /srv/dossiers/important && cd /srv/dossiers &&"
            " echo 'Courrier de sortie' > important/courrier.txt &&"
            " echo x > brouillon.tmp && echo a > '[a] $b *.txt' && echo b > 'été \\n.txt' &&"
            " for n in 1 2 3 4 5; do echo $n > d$n; done",
        )
        yield running
    finally:
        rehearsal.stop(rehearsal.folder_of(PracticeFolder(root / "tilleuls")))


def open_provider(site: Site) -> None:
    """Make a machine the provider of the off-site copy: a rest-server of its own, reached by name, trusted by the system."""
    address = site.lab.machine(PROVIDER).address
    key, _certificate = server_certificate(address, None)
    site.sh(PROVIDER, f"apt-get -qq update; {INSTALL} restic-rest-server openssl")
    site.lab.exec(PROVIDER, ["sh", "-c", "umask 077; cat > /root/key.pem"], stdin=key.encode())
    site.sh(
        PROVIDER,
        "openssl req -x509 -key /root/key.pem -out /root/cert.pem -days 30 -subj /CN=lointain.example"
        " -addext subjectAltName=DNS:lointain.example 2>/dev/null && mkdir -p /srv/copies &&"
        f" echo 'tilleuls:{htpasswd_hash('coupe-circuit')}' > /root/users &&"
        " systemd-run --unit provider restic-rest-server --private-repos --path /srv/copies --listen :8443 --tls"
        " --tls-cert /root/cert.pem --tls-key /root/key.pem --htpasswd-file /root/users",
    )
    certificate = site.sh(PROVIDER, "cat /root/cert.pem")
    for host in (SERVER, POST):
        folder = "/usr/local/share/ca-certificates"
        site.lab.exec(host, ["sh", "-c", f"mkdir -p {folder}; cat > {folder}/provider.crt"], stdin=certificate.encode())
        site.sh(host, f"echo '{address} lointain.example' >> /etc/hosts; apt-get -qq update; {INSTALL} ca-certificates")
        site.sh(host, "update-ca-certificates >/dev/null 2>&1")
    path = site.folder.inventory_dir / "host_vars" / SERVER / "vault.yml"
    values = {**site.vault.read(path), "backup_offsite_credentials": {"user": "tilleuls", "password": "coupe-circuit"}}
    path.write_text(site.vault.encrypt(values), encoding="utf-8")


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)


def test_a_deployment_backs_up_both_machines(site: Site) -> None:
    site.deploy()
    for host in (POST, SERVER):
        wait_for(lambda host=host: site.state(host).get("success"))  # type: ignore[misc]
        assert site.state(host)["failure"] is None
    found = site.results()
    for host in (POST, SERVER):
        for control in ("SAV-01", "SAV-02", "SAV-03", "SAV-04", "SAV-05"):
            assert found[host, control]["outcome"] == "pass", found[host, control]
    _code, out, _err = site.run("status")
    assert re.search(rf"sauvegarde de {POST} : \d+ fichiers, .* le \d\d/\d\d/\d{{4}} à", out), out
    assert "brouillon.tmp" not in site.sh(POST, f"{RESTIC} ls latest")
    assert "/var/lib/antiseche-backup-contents/dumps/comptes.txt" in site.sh(POST, f"{RESTIC} ls latest")


def test_no_secret_is_in_an_argument_or_a_state(site: Site) -> None:
    secrets = [value for host in (POST, SERVER) for name, value in site.secrets(host).items() if name.endswith("_password")]
    assert len(secrets) == 4
    places = (
        "cat /var/lib/antiseche-backup*/*.json",
        "cat /etc/systemd/system/antiseche-*",
        "journalctl --no-pager",
        "cat /proc/[0-9]*/cmdline | tr '\\0' ' '",
    )
    for host in (POST, SERVER):
        for place in places:
            seen = site.sh(host, place)
            shown = [line[:300] for line in seen.splitlines() if any(secret in line for secret in secrets)]
            assert shown == [], f"{host}: {place}"
    events = "".join(path.read_text(encoding="utf-8") for path in site.folder.runs_dir.rglob("*.jsonl"))
    assert not [secret for secret in secrets if secret in events]


@pytest.mark.parametrize(
    "attack",
    [
        f"{RESTIC} forget --keep-last 0 --unsafe-allow-remove-all --prune || {RESTIC} forget latest --prune",
        f"{RESTIC} forget latest",
        f"{RESTIC} key passwd --new-password-file /etc/hostname",
        f"{RESTIC} tag --set pris latest",
        f"{RESTIC} prune",
        f"{RESTIC} rebuild-index --read-all-packs",
    ],
)
def test_root_on_a_workstation_cannot_take_snapshots_away(site: Site, attack: str) -> None:
    digest = f"cd {STORE} && find snapshots data config keys -type f -exec sha256sum {{}} + | sort"
    before = set(site.sh(SERVER, digest).splitlines())
    site.sh(POST, attack, may_fail=True)
    after = set(site.sh(SERVER, digest).splitlines())
    assert before, "there is something to attack"
    assert before <= after, "what was there is there, unaltered"


def test_no_request_removes_or_replaces_what_is_there(site: Site) -> None:
    script = """
import base64, http.client, json, ssl, sys, urllib.parse
at = urllib.parse.urlsplit(open("/etc/antiseche/backup/repository").read().strip()[5:])
token = base64.b64encode((at.username + ":" + at.password).encode()).decode()
context = ssl.create_default_context(cafile="/etc/antiseche/backup/server.pem")
answers = []
for name in json.loads(sys.argv[1]):
    for verb in ("DELETE", "POST", "PUT"):
        connection = http.client.HTTPSConnection(at.hostname, at.port, timeout=15, context=context)
        connection.request(verb, at.path + name, body=b"x", headers={"Authorization": "Basic " + token})
        answers.append(connection.getresponse().status)
print(json.dumps(answers))
"""
    names = site.sh(SERVER, f"cd {STORE} && find snapshots keys data config -type f -printf '%p\\n'").split()
    asked = [re.sub(r"^data/../", "data/", name) for name in names]
    before = site.sh(SERVER, f"cd {STORE} && find . -type f -path './[sdkc]*' -exec sha256sum {{}} + | sort")
    done = site.lab.exec(POST, ["python3", "-c", script, json.dumps(asked)])
    answers = json.loads(done.text())
    assert len(answers) == 3 * len(names) > 9
    assert not [status for status in answers if 200 <= status < 300], answers
    assert site.sh(SERVER, f"cd {STORE} && find . -type f -path './[sdkc]*' -exec sha256sum {{}} + | sort") == before


def test_forged_dates_do_not_push_good_snapshots_out(site: Site) -> None:
    good = set(site.snapshots())
    forge = f"{RESTIC} backup -q --time $year-01-01\\ 00:00:00 --host {POST} --tag antiseche /etc/hostname"
    site.sh(POST, f"for year in 2031 2032; do {forge}; done")
    found = site.maintain()[POST]
    assert found["failure"]["code"] == "clock", found
    assert good <= set(site.snapshots())
    site.told(SERVER, "SAV-06", "date qui n'est pas celle de leur arrivée")
    forged = set(site.snapshots()) - good
    site.sh(SERVER, f"cd {STORE}/snapshots && rm {' '.join(forged)}")  # what the guide tells the contractor to do
    assert site.maintain()[POST]["failure"] is None


def test_a_drill_restores_compares_and_records(site: Site) -> None:
    site.back_up()
    code, out, err = site.run("drill", "--json", "--requester", "Dr Camille Exemple")
    assert code == 3, out + err
    entries = {entry["host"]: entry for entry in json.loads(out)["drills"]}
    assert (entries[POST]["status"], entries[POST]["scratch"]) == ("verified", SERVER)
    # Its own backup must be tried on another machine, and the only other one has too old a restic.
    assert "Debian 13" in entries[SERVER]["reason"]
    files = {one["path"]: one for one in entries[POST]["files"]}
    assert files["/srv/dossiers/important/courrier.txt"]["why"] == "must-survive"
    assert "/srv/dossiers/[a] $b *.txt" in files
    assert {one["result"] for one in files.values()} == {"identical"}
    for field in ("operator", "requester", "files", "backup_date", "restore_date", "status"):
        assert entries[POST][field], field
    assert Path(entries[POST]["record"]).stat().st_mode & 0o777 == 0o600
    assert site.sh(SERVER, "ls -d /var/tmp/antiseche-drill-* /run/antiseche-drill-* 2>/dev/null || true").split() == []
    assert site.results()[POST, "SAV-08"]["outcome"] == "pass"


def test_the_copy_elsewhere_survives_the_servers_disk(site: Site) -> None:
    assert site.maintain()[POST]["offsite"]["failure"] is None
    assert site.results()[SERVER, "SAV-07"]["outcome"] == "pass"
    site.sh(SERVER, "rm -rf /srv/antiseche-backup/*")
    failure = site.back_up()["failure"]
    assert failure["code"] == "lost", failure
    site.told(POST, "SAV-01", "les sauvegardes de la machine ne sont plus à leur place")
    # The scratch machine is the server, whose disk is new; the copy comes from the provider.
    code, out, err = site.run("drill", "--host", POST, "--offsite")
    assert code == 0, out + err
    assert "restauration vérifiée" in out
    site.sh(POST, "rm -rf /srv/dossiers")
    password = site.secrets(POST)["backup_password"]
    script = (
        "umask 077; mkdir -p /run/restore; cat > /run/restore/password; cd /run/restore;"
        f" echo 'rest:https://tilleuls:coupe-circuit@lointain.example:8443/tilleuls/{POST}/' > repository;"
        " restic --repository-file repository --password-file password --no-cache restore latest --target /"
    )
    done = site.lab.exec(POST, ["sh", "-c", script], stdin=password.encode())
    assert done.rc == 0, done.stderr.decode()
    assert site.sh(POST, "cat /srv/dossiers/important/courrier.txt") == "Courrier de sortie\n"
    # What the guide says: a new repository is accepted by hand only.
    site.sh(POST, CLIENT + " --accept-new-repository")
    site.sh(SERVER, CLIENT + " --accept-new-repository")
    assert site.state(POST)["failure"] is None


def test_a_copy_by_sftp_goes_to_the_known_server_only(site: Site) -> None:
    provider = sftp_provider.Provider(site.lab, PROVIDER)
    answers = yaml.safe_load(site.folder.answers_file.read_text(encoding="utf-8"))
    answers["backup"]["offsite"] = {
        "kind": "sftp",
        "url": f"sftp://{sftp_provider.ACCOUNT}@lointain.example:{sftp_provider.PORT}/copies",
        "host_key": provider.host_key(),
        "supplier": "Sauvegarde Exemple",
    }
    site.folder.answers_file.write_text(yaml.safe_dump(answers, allow_unicode=True), encoding="utf-8")
    code, out, err = site.run("inventory")
    assert code == 0, out + err
    public = (site.folder.inventory_dir / "host_vars" / SERVER / "copie-distante.pub").read_text(encoding="utf-8").strip()
    assert public in out, "the contractor sees what to give to the provider"
    site.deploy()
    with provider.another_host_key():
        failure = site.maintain()[POST]["offsite"]["failure"]
        assert failure["code"] == "host_key", failure
        site.told(SERVER, "SAV-07", "le serveur SFTP qui répond n'a pas la clé déclarée")
    failure = site.maintain()[POST]["offsite"]["failure"]
    assert failure["code"] == "key", failure  # nobody has given the provider the key yet
    site.told(SERVER, "SAV-07", "l'hébergeur refuse la clé de ce serveur")
    provider.accept(public)
    for name, one in site.maintain().items():
        assert one["offsite"]["failure"] is None, (name, one)
    assert site.results()[SERVER, "SAV-07"]["outcome"] == "pass"
    code, out, err = site.run("drill", "--host", POST, "--offsite")
    assert code == 0, out + err
    assert "restauration vérifiée" in out
    # Whole, as restic's own check reads it at the provider's, with nothing but what the vaults hold.
    secrets = {"password": site.secrets(POST)["backup_password"], "key": site.secrets(SERVER)["backup_offsite_key"]}
    assert provider.check(f"/copies/{POST}", secrets), "all data was read"
    seen = site.sh(SERVER, "cat /var/lib/antiseche-backup*/*.json /proc/[0-9]*/cmdline; journalctl --no-pager")
    assert secrets["key"].splitlines()[1] not in seen
    assert site.sh(SERVER, "ls -A /run/antiseche-backup-server 2>/dev/null || true") == "", "the key leaves with the run"


def test_a_wrong_password_is_told(site: Site) -> None:
    site.sh(POST, "cp -p /etc/antiseche/backup/password /root/kept; echo autre > /etc/antiseche/backup/password")
    assert site.back_up()["failure"]["code"] == "password"
    site.told(POST, "SAV-01", "le mot de passe de la machine n'ouvre pas ses sauvegardes")
    site.sh(POST, "cp -p /root/kept /etc/antiseche/backup/password")
    assert site.back_up()["failure"] is None


def test_a_full_target_is_told(site: Site) -> None:
    site.sh(SERVER, "cp -a /srv/antiseche-backup /srv/aside && mount -t tmpfs -o size=3m,mode=0700 tmpfs /srv/antiseche-backup &&"
                    " chown restic-rest-server: /srv/antiseche-backup && cp -a /srv/aside/. /srv/antiseche-backup/ &&"
                    " systemctl restart antiseche-backup-server")  # fmt: skip
    site.sh(POST, "head -c 8000000 /dev/urandom > /srv/dossiers/radio.img")
    assert site.back_up()["failure"]["code"] == "full"
    site.told(POST, "SAV-01", "le disque qui reçoit les sauvegardes est plein")
    site.sh(
        SERVER, "systemctl stop antiseche-backup-server; umount /srv/antiseche-backup && systemctl start antiseche-backup-server"
    )
    wait_for(lambda: site.back_up()["failure"] is None)
    site.sh(POST, "rm /srv/dossiers/radio.img")


def test_a_clock_a_day_off_is_told_and_does_not_date_the_backup(site: Site) -> None:
    site.sh(POST, f"{INSTALL} faketime")
    site.sh(POST, f"faketime -f +1d {CLIENT}")
    assert -86700 < site.state(POST)["clock_skew"] < -86000
    site.told(POST, "SAV-01", "L'horloge de la machine avance de 1 jour sur celle du serveur de sauvegarde")
    newest = json.loads(site.sh(POST, f"{RESTIC} snapshots --json"))[-1]["time"]
    assert newest[:10] == site.sh(SERVER, "date +%F").strip()
    site.back_up()


def test_a_target_absent_for_three_days_is_told(site: Site) -> None:
    site.sh(SERVER, "systemctl stop antiseche-backup-server")
    assert site.back_up()["failure"]["code"] == "absent"
    assert site.results()[POST, "SAV-01"]["outcome"] == "pass", "an hour's absence is no finding"
    script = (
        "import json; p='/var/lib/antiseche-backup/state.json'; s=json.load(open(p));"
        " import datetime as d; f=lambda n: (d.datetime.now(d.timezone.utc)-d.timedelta(days=n)).isoformat(timespec='seconds');"
        " s['success']['at']=f(3.4); s['failure']['since']=f(3.3); json.dump(s, open(p,'w'))"
    )
    site.sh(POST, f'python3 -c "{script}"')
    started = time.monotonic()
    assert site.back_up()["failure"]["code"] == "absent"
    assert time.monotonic() - started < 100, "no hang"
    site.told(POST, "SAV-01", "il y a 3 jours", "le serveur de sauvegarde ne répond pas")
    site.sh(SERVER, "systemctl start antiseche-backup-server")
    wait_for(lambda: site.back_up()["failure"] is None)
    assert site.results()[POST, "SAV-01"]["outcome"] == "pass"


def test_a_corrupted_pack_is_told_and_nothing_is_removed(site: Site) -> None:
    site.sh(SERVER, f"pack=$(find {STORE}/data -type f -size +200c | head -n 1); chmod u+w $pack;"
                    " printf 'XXXXXXXX' | dd of=$pack bs=1 seek=40 conv=notrunc 2>/dev/null")  # fmt: skip
    found = site.maintain(week=True)[POST]
    assert found["check"]["code"] == "corrupt", found
    site.told(SERVER, "SAV-06", "une partie des sauvegardes est abîmée")


def test_a_machine_that_leaves_the_answers_stops_and_keeps_no_secret(site: Site) -> None:
    answers = load_answers(site.folder)
    assert answers.backup
    left = [item for item in answers.backup.hosts if item.host == SERVER]
    changed = answers.model_copy(update={"backup": answers.backup.model_copy(update={"hosts": left})})
    site.folder.answers_file.write_text(json.dumps(changed.model_dump(mode="json"), ensure_ascii=False), encoding="utf-8")
    site.deploy()
    units = site.sh(POST, "systemctl list-units --all --no-legend 'antiseche-backup*'; ls /etc/systemd/system")
    assert "antiseche-backup" not in units, units
    assert site.sh(POST, "ls /etc/antiseche/backup").split() == ["server.pem"]
    assert site.results()[POST, "SAV-01"]["outcome"] == "not-applicable"
    assert site.sh(SERVER, f"ls {STORE}/snapshots").split(), "what was saved stays"
    code, out, err = site.run("plan", *ROLES, "--limit", POST, "--json")
    assert code == 0, out + err
    assert not [change for change in out.splitlines() if "backup" in change and "absent" in change]
