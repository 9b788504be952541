"""Checks of the remote_access role: what the ssh server answers about itself, and what else listens."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import pytest

SAFE = {
    "kexalgorithms": {"mlkem768x25519-sha256", "sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com"},
    "ciphers": {
        "chacha20-poly1305@openssh.com",
        "aes256-gcm@openssh.com",
        "aes128-gcm@openssh.com",
        "aes256-ctr",
        "aes192-ctr",
        "aes128-ctr",
    },
    "macs": {"hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com", "umac-128-etm@openssh.com"},
    "hostkeyalgorithms": {"ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"},
    "pubkeyacceptedalgorithms": {"ssh-ed25519", "sk-ssh-ed25519@openssh.com", "rsa-sha2-512", "rsa-sha2-256"},
}
OUTSIDE = "203.0.113.77"
# Name shown, and how its package, program, folder or service begins: remote control, web consoles, ways in through a relay.
HELP_TOOLS = {
    "AnyDesk": "anydesk",
    "Ateraagent": "atera",
    "Chrome Remote Desktop": "chrome-remote-desktop",
    "Cloudflare Tunnel": "cloudflared",
    "Cockpit": "cockpit-ws|cockpit",
    "DWService": "dwagent|dwagsvc|dwservice",
    "frp": "frpc|frps",
    "GNOME Remote Desktop": "gnome-remote-desktop",
    "Guacamole": "guacd|guacamole",
    "HopToDesk": "hoptodesk",
    "KRFB": "krfb",
    "MeshAgent": "meshagent|meshcentral",
    "ngrok": "ngrok",
    "NoMachine": "nomachine|nxserver|nxd$|nxnode",
    "RealVNC": "realvnc-vnc-server|vncserver-x11",
    "RustDesk": "rustdesk",
    "ScreenConnect": "screenconnect|connectwisecontrol",
    "Shell In A Box": "shellinabox",
    "Splashtop": "splashtop|srstreamer",
    "Supremo": "supremo",
    "Tailscale": "tailscaled|tailscale",
    "TeamViewer": "teamviewer",
    "TightVNC": "tightvncserver|xtightvnc",
    "TigerVNC": r"tigervnc-[a-z-]*server|xtigervnc|x0tigervncserver|x0vncserver",
    "tmate": "tmate",
    "ttyd": "ttyd|gotty",
    "TurboVNC": "turbovnc",
    "Vino": "vino",
    "VNC4": "vnc4server|xvnc4",
    "wayvnc": "wayvnc",
    "Webmin": "webmin",
    "x11vnc": "x11vnc",
    "X2Go": "x2goserver|x2goagent",
    "xrdp": "xrdp",
    "ZeroTier": "zerotier-one|zerotier",
}
# They come with desktops and do nothing until somebody switches them on.
ASLEEP = ("GNOME Remote Desktop", "KRFB", "Vino")
PACKAGES = "dpkg-query -W -f='${db:Status-Status} ${Package}\\n'"
# Programs by the name of their file: the kernel's own names are cut after fifteen letters.
RUNNING = "for exe in /proc/[0-9]*/exe; do readlink $exe; done 2>/dev/null | sed 's,.*/,,; s, (deleted)$,,' | sort -u"
# Services that start by themselves, for everybody or for one person.
STARTED = (
    "systemctl list-unit-files --no-legend --type=service,socket --state=enabled;"
    " systemctl --global list-unit-files --no-legend --type=service,socket --state=enabled;"
    " ls -R /home/*/.config/systemd/user /home/*/.config/autostart 2>/dev/null"
    " | grep -E 'remote-desktop|krfb|vino' | sed 's,^org\\.,,'"
)
# What came without a package, where programs for everybody go.
UNPACKAGED = "ls /opt /usr/local/bin /usr/local/sbin /usr/local/lib /snap /var/lib/flatpak/app 2>/dev/null"
HOST_KEYS = "stat -c '%a %U %n'"
# Every file that the server reads, conditional blocks and inclusions in them.
CONDITIONS = "cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf | grep -iE '^[[:space:]]*\"?(match|include)[[:space:]=\"]'"
INCLUDED = "include /etc/ssh/sshd_config.d/*.conf"
# Ways of serving ssh that are no ssh.service: programs by the name of their file, and sockets that systemd holds.
LISTENERS = (
    'ss -Hltnp | sed \'s/.*:\\([0-9]*\\) .*users:(("[^"]*",pid=\\([0-9]*\\).*/\\1 \\2/\' | sort -u | while read -r port pid; do'
    " echo $port $pid $(readlink /proc/$pid/exe) $(tr '\\0' ' ' < /proc/$pid/cmdline); done"
)
SSH_PROGRAM = re.compile(r"(sshd|dropbear|tinyssh|lshd)")
SOCKETS = "systemctl list-sockets --all --no-legend --full | awk '{print $1, $NF, $(NF-1)}'"


def effective(host: Any, user: str, address: str) -> dict[str, list[str]]:
    """Return the ssh server's effective settings for somebody who comes from an address."""
    wanted = f"user={user},host={address},addr={address}"
    found: dict[str, list[str]] = {}
    done = host.run(f"sshd -T -C {wanted}")
    assert done.rc == 0, f"le service SSH refuse ses propres réglages ou ses clés : {' '.join(done.stderr.split())[-160:]}"
    for line in done.stdout.splitlines():
        option, _space, value = line.partition(" ")
        found.setdefault(option, []).append(value)
    return found


def visitors(expected: dict[str, Any]) -> list[tuple[str, str]]:
    """Return who is tried: the maintenance account, root, and the people of the practice, from their places and from afar."""
    contractor = str(ipaddress.ip_network(expected["remote_access_addresses"][0], strict=False).network_address)
    inside = str(ipaddress.ip_network((expected.get("firewall_lan") or ["192.168.1.0/24"])[0], strict=False).network_address)
    people = [p["login"] for p in expected.get("accounts_people", [])] or ["camille"]
    user = expected["remote_access_user"]
    return [
        (user, contractor),
        ("root", contractor),
        *((login, inside) for login in people),
        (user, OUTSIDE),
        (people[0], OUTSIDE),
    ]


def expect(host: Any, expected: dict[str, Any], wanted: dict[str, str]) -> None:
    """Compare options for every visitor, so that no conditional block escapes."""
    for user, address in visitors(expected):
        seen = effective(host, user, address)
        for option, value in wanted.items():
            observed = " ".join(seen.get(option, ["absent"]))
            assert observed == value, f"option SSH {option} pour {user} depuis {address} : « {observed} » ; attendu « {value} »"


@pytest.mark.control("DIS-01")
def test_keys_only(host: Any, expected: dict[str, Any]) -> None:
    wanted = {
        "passwordauthentication": "no",
        "kbdinteractiveauthentication": "no",
        "permitemptypasswords": "no",
        "hostbasedauthentication": "no",
        "gssapiauthentication": "no",
        "pubkeyauthentication": "yes",
        "authenticationmethods": "publickey",
    }
    expect(host, expected, wanted)


@pytest.mark.control("DIS-02")
def test_no_root(host: Any, expected: dict[str, Any]) -> None:
    expect(host, expected, {"permitrootlogin": "no"})


@pytest.mark.control("DIS-03")
def test_one_account_from_the_contractor(host: Any, expected: dict[str, Any]) -> None:
    wanted = {f"{expected['remote_access_user']}@{address}" for address in expected["remote_access_addresses"]}
    # No visitor that is tried may be the one that a conditional block is for.
    conditions = [" ".join(line.split()) for line in host.run(CONDITIONS).stdout.splitlines()]
    special = [line for line in conditions if line.lower() != INCLUDED]
    assert not special, f"réglages pour certains seulement, ou pris ailleurs : {' ; '.join(special[:4])}"
    for user, address in visitors(expected):
        seen = effective(host, user, address)
        observed = set(" ".join(seen.get("allowusers", [])).split())
        assert observed == wanted, f"comptes admis à distance : {sorted(observed) or 'tous'} ; attendu : {sorted(wanted)}"
        groups = " ".join(seen.get("allowgroups", []))
        assert not groups, f"groupes admis à distance : {groups} ; attendu : aucun"


@pytest.mark.control("DIS-04")
def test_agreed_keys_only(host: Any, expected: dict[str, Any]) -> None:
    user, address = visitors(expected)[0]
    seen = effective(host, user, address)
    files = " ".join(seen["authorizedkeysfile"]).split()
    for option in ("authorizedkeyscommand", "trustedusercakeys", "authorizedprincipalscommand"):
        observed = " ".join(seen.get(option, ["none"]))
        assert observed == "none", f"des clés viennent d'ailleurs : {option} « {observed} »"
    found: dict[str, str] = {}
    for name in files:
        path = name.replace("%u", user)
        if not path.startswith("/"):
            path = host.check_output(f"getent passwd {user} | cut -d: -f6").strip() + "/" + path
        info = host.run(f"stat -c '%U %a' {path}").stdout.split()
        if not info:
            continue
        assert int(info[1], 8) & 0o022 == 0, f"{path} peut être modifié par d'autres (droits {info[1]})"
        folder = host.run(f"stat -c '%U %a' $(dirname {path})").stdout.split()
        closed = folder[0] == info[0] and int(folder[1], 8) & 0o022 == 0
        assert closed, f"le dossier de {path} peut être modifié par d'autres ({' '.join(folder)})"
        for line in host.check_output(f"cat {path}").splitlines():
            match = re.search(r"(ssh-\S+|sk-\S+|ecdsa-\S+)\s+([A-Za-z0-9+/=]+)", line)
            if match and not line.startswith("#"):
                found[match.group(2)] = line[: match.start()]
    wanted = {key.split()[1] for key in expected["remote_access_public_keys"]}
    assert set(found) == wanted, f"{len(set(found) - wanted)} clé(s) inconnue(s), {len(wanted - set(found))} clé(s) manquante(s)"
    for options in found.values():
        limited = re.search(r'from="([^"]*)"', options)
        origins = set(limited.group(1).split(",")) if limited else set()
        assert origins == set(expected["remote_access_addresses"]), f"clé admise depuis : {sorted(origins) or 'partout'}"
        rest = [word for word in re.sub(r'from="[^"]*"', "", options).strip().split(",") if word]
        assert "restrict" in rest, "une clé n'est pas limitée (restrict)"
        more = set(rest) - {"restrict", "pty"}
        assert not more, f"une clé a plus de droits que convenu : {', '.join(sorted(more))}"


@pytest.mark.control("DIS-05")
def test_strong_algorithms(host: Any, expected: dict[str, Any]) -> None:
    seen = effective(host, *visitors(expected)[0])
    for option, safe in SAFE.items():
        weak = set(" ".join(seen.get(option, ["absent"])).split(",")) - safe
        assert not weak, f"algorithmes à écarter ({option}) : {', '.join(sorted(weak))}"
    size = int(" ".join(seen.get("requiredrsasize", ["0"])))
    assert size >= 3072, f"clés RSA admises dès {size} bits ; attendu : 3072"


@pytest.mark.control("DIS-06")
def test_no_tunnel(host: Any, expected: dict[str, Any]) -> None:
    wanted = {
        "disableforwarding": "yes",
        "allowtcpforwarding": "no",
        "allowagentforwarding": "no",
        "allowstreamlocalforwarding": "no",
        "x11forwarding": "no",
        "permittunnel": "no",
        "gatewayports": "no",
    }
    expect(host, expected, wanted)


@pytest.mark.control("DIS-07")
def test_host_identity(host: Any, expected: dict[str, Any]) -> None:
    keys = effective(host, *visitors(expected)[0]).get("hostkey", [])
    for path in keys:
        kind = host.run(f"ssh-keygen -lf {path}.pub").stdout.split()
        assert kind, f"clé d'hôte absente : {path}"
        strong = kind[-1] == "(ED25519)" or (kind[-1] == "(RSA)" and int(kind[0]) >= 3072)
        assert strong, f"clé d'hôte trop faible : {path} {kind[0]} bits {kind[-1]}"
        derived = host.run(f"ssh-keygen -yf {path}").stdout.split()[:2]
        public = host.run(f"cat {path}.pub").stdout.split()[:2]
        assert derived == public, f"la clé publique {path}.pub ne correspond pas à la clé privée"
    for line in host.check_output(f"{HOST_KEYS} {' '.join(keys)}").splitlines():
        mode, owner, path = line.split()
        assert owner == "root" and int(mode, 8) & 0o077 == 0, f"{path} : propriétaire {owner}, droits {mode} ; attendu root, 600"  # noqa: PT018


@pytest.mark.control("DIS-08")
def test_running_service_follows_its_settings(host: Any, expected: dict[str, Any]) -> None:
    show = "systemctl show --timestamp=unix -p MainPID -p ActiveState -p UnitFileState -p StateChangeTimestamp ssh.service"
    seen = dict(line.partition("=")[::2] for line in host.check_output(show).splitlines())
    assert seen["ActiveState"] == "active", f"le service ssh est « {seen['ActiveState']} »"
    assert seen["UnitFileState"] == "enabled", f"le service ssh est « {seen['UnitFileState']} » au démarrage"
    title = host.check_output(f"tr '\\0' ' ' < /proc/{seen['MainPID']}/cmdline").strip()
    assert title.startswith("sshd: /usr/sbin/sshd -D [listener]"), f"le service ssh a été lancé autrement : « {title[:80]} »"
    files = "/etc/ssh/sshd_config /etc/ssh/sshd_config.d /etc/ssh/sshd_config.d/*.conf"
    times = [int(line) for line in host.check_output(f"date +%s; stat -c %Z {files}").splitlines()]
    newest = max(times[1:])
    fresh = newest <= int(seen["StateChangeTimestamp"].lstrip("@")) + 1 or newest > times[0]
    assert fresh, "les réglages SSH ont changé depuis que le service les a lus"
    socket = host.run("systemctl is-active ssh.socket").stdout.strip()
    assert socket != "active", "ssh.socket écoute à la place du service"
    port = str(expected.get("firewall_management_port") or expected.get("ansible_port") or 22)
    ports, others = set(), []
    for listener in (line.split(None, 3) for line in host.check_output(LISTENERS).splitlines()):
        number, pid, program, command = (*listener, "", "", "")[:4]
        if pid == seen["MainPID"]:
            ports.add(number)
        elif SSH_PROGRAM.search(f"{program} {command}"):
            others.append(f"{program or command} sur le port {number}")
    assert ports == {port}, f"le service ssh écoute sur {sorted(ports)} ; attendu : {port}"
    assert not others, f"un autre accès SSH est ouvert : {', '.join(others)}"
    doors = ssh_sockets(host)
    assert not doors, f"systemd ouvre un autre accès SSH : {', '.join(doors)}"


def ssh_sockets(host: Any) -> list[str]:
    """Return the network sockets that systemd listens on to start an ssh server."""
    found = []
    for address, service, unit in (line.split() for line in host.check_output(SOCKETS).splitlines() if line.count(" ") == 2):
        if not re.search(r":\d+$", address) or host.run(f"systemctl is-active {unit}").stdout.strip() != "active":
            continue
        template = unit.removesuffix(".socket")
        command = host.run(f"systemctl cat {service} {template}@.service {template}.service 2>/dev/null").stdout
        if SSH_PROGRAM.search(command):
            found.append(f"{unit} ({address})")
    return found


@pytest.mark.control("DIS-09")
def test_logged_and_limited(host: Any, expected: dict[str, Any]) -> None:
    expect(host, expected, {"loglevel": "VERBOSE", "permituserenvironment": "no", "permituserrc": "no", "strictmodes": "yes"})
    seen = effective(host, *visitors(expected)[0])
    for option, harmless in (("forcecommand", "none"), ("chrootdirectory", "none"), ("setenv", "absent")):
        value = " ".join(seen.get(option, [harmless]))
        assert value == harmless, f"option SSH {option} : « {value} » ; attendu : aucune"
    grace, tries = int(seen["logingracetime"][0]), int(seen["maxauthtries"][0])
    assert 0 < grace <= 60, f"délai de connexion : {grace} s ; attendu : 60 s au plus"
    assert tries <= 4, f"essais par connexion : {tries} ; attendu : 4 au plus"
    banner = seen["banner"][0]
    assert banner != "none", "aucun avertissement n'est affiché avant la connexion"
    assert host.run(f"test -s {banner}").rc == 0, f"l'avertissement {banner} est vide ou absent"


@pytest.mark.control("DIS-10")
def test_agreed_help_tools_only(host: Any, expected: dict[str, Any]) -> None:
    active = set(host.run(RUNNING).stdout.split()) | set(re.findall(r"^\S+", host.run(STARTED).stdout, re.MULTILINE))
    installed = {line.split()[1] for line in host.run(PACKAGES).stdout.splitlines() if line.startswith("installed ")}
    # An application of flatpak is called org.example.Tool.
    loose = {word for name in host.run(UNPACKAGED).stdout.split() for word in (name, name.rsplit(".", 1)[-1])}
    agreed = {re.sub(r"[^a-z0-9]", "", tool.lower()) for tool in expected.get("remote_access_allowed_help_tools", [])}

    def found(tool: str, pattern: str) -> bool:
        names = active if tool in ASLEEP else active | installed | loose
        return any(re.match(f"(?:{pattern})", name, re.IGNORECASE) for name in names)

    present = [tool for tool, pattern in HELP_TOOLS.items() if found(tool, pattern)]
    foreign = [tool for tool in present if re.sub(r"[^a-z0-9]", "", tool.lower()) not in agreed]
    assert not foreign, f"outils de prise en main présents et non convenus : {', '.join(foreign)}"
    undone = host.run("cat /var/lib/antiseche/undone/remote_access.json").stdout
    date = re.search(r'"at": "([^"]+)"', undone)
    assert date is None, f"les derniers réglages coupaient la maintenance : annulés par la machine le {date and date.group(1)}"
