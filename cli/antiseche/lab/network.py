"""The network of a lab: a bridge, addresses, and a way out for packages; nothing reaches in."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

from antiseche.errors import AnswersError
from antiseche.i18n import _
from antiseche.lab.model import LabError, LabState

_POOL = "10.213.{index}.0/24"
# What labs need of this machine's kernel, at least; its own value comes back with the last lab. Every
# systemd takes several inotify instances and all belong to root: the usual 128 stop at a dozen machines.
_KERNEL = {Path("/proc/sys/net/ipv4/ip_forward"): 1, Path("/proc/sys/fs/inotify/max_user_instances"): 4096}
_RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


def run(*argv: str, check: bool = True, stdin: str | None = None) -> str:
    """Run a network tool and return its output.

    Raises:
        LabError: it failed and ``check`` is set.
    """
    done = subprocess.run(argv, capture_output=True, text=True, check=False, input=stdin or "")
    if check and done.returncode != 0:
        raise LabError(_("Le réseau du banc d'essai n'a pas pu être réglé : « {command} » répond « {error} ».").format(
            command=" ".join(argv[:6]), error=done.stderr.strip()))  # fmt: skip
    return done.stdout


def choose_subnet(index: int, forced: str | None, taken: Iterable[str]) -> str | None:
    """Return the subnet of a lab, or None when the one of this index is in use.

    Raises:
        AnswersError: the forced subnet is wrong or in use.
    """
    if forced is None:
        candidate = ipaddress.ip_network(_POOL.format(index=index))
        return str(candidate) if not _in_use(candidate, taken) else None
    try:
        wanted = ipaddress.IPv4Network(forced)
    except ValueError:
        raise AnswersError(_("« {subnet} » n'est pas un réseau IPv4, par exemple 10.99.0.0/24.").format(subnet=forced)) from None
    if not wanted.is_private or not 16 <= wanted.prefixlen <= 28:
        raise AnswersError(
            _("Le réseau {subnet} ne convient pas : il faut un réseau privé, entre /16 et /28.").format(subnet=forced)
        )
    if _in_use(wanted, taken):
        raise AnswersError(_("Le réseau {subnet} est déjà utilisé sur ce poste : choisissez-en un autre.").format(subnet=forced))
    return str(wanted)


def _in_use(candidate: ipaddress.IPv4Network | ipaddress.IPv6Network, taken: Iterable[str]) -> bool:
    networks = [*taken, *_host_networks()]
    return any(candidate.overlaps(other) for other in map(ipaddress.ip_network, networks) if other.version == candidate.version)


def _host_networks() -> list[str]:
    routes = json.loads(run("ip", "-json", "-4", "route", "show", "table", "all") or "[]")
    destinations = [str(route.get("dst", "")) for route in routes]
    return [text for text in destinations if text[:1].isdigit() and text != "0.0.0.0/0"]


def gateway(subnet: str) -> str:
    """Return this machine's address inside a lab: the first one."""
    return str(next(ipaddress.ip_network(subnet).hosts()))


def resolvers() -> list[str]:
    """Return the name servers that lab machines can use: this machine's own, unless they only answer locally."""
    for path in _RESOLVERS:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        found = [line.split()[1] for line in lines if line.startswith("nameserver") and len(line.split()) > 1]
        usable = [text for text in found if not text.startswith(("127.", "::1", "fe80:"))]
        if usable:
            return usable
    return []


def raise_network(lab: LabState, root: Path) -> None:
    """Create the lab's bridge and its way out; doing it again changes nothing."""
    bridge = lab.bridge
    if not Path("/sys/class/net", bridge).exists():
        run("ip", "link", "add", bridge, "type", "bridge")
    prefix = ipaddress.ip_network(lab.subnet).prefixlen
    run("ip", "address", "replace", f"{gateway(lab.subnet)}/{prefix}", "dev", bridge)
    run("ip", "link", "set", bridge, "up")
    run("nft", "-f", "-", stdin=_rules(lab))
    _raise_kernel_limits(root)


def _rules(lab: LabState) -> str:
    """Machines reach out for packages; they reach neither this machine's services nor other labs, and nothing reaches in."""
    return f"""
table inet {lab.table}
delete table inet {lab.table}
table inet {lab.table} {{
  chain nat {{
    type nat hook postrouting priority srcnat
    ip saddr {lab.subnet} oifname != "{lab.bridge}" masquerade
  }}
  chain forward {{
    type filter hook forward priority filter
    iifname "{lab.bridge}" oifname "asbr*" oifname != "{lab.bridge}" drop
    oifname "{lab.bridge}" iifname != "{lab.bridge}" ct state != {{ established, related }} drop
  }}
  chain input {{
    type filter hook input priority filter
    iifname "{lab.bridge}" ct state {{ established, related }} accept
    iifname "{lab.bridge}" meta l4proto {{ 1, 58 }} accept comment "ICMP; by number, for a machine without /etc/protocols"
    iifname "{lab.bridge}" drop
  }}
}}
"""


def _raise_kernel_limits(root: Path) -> None:
    for setting, wanted in _KERNEL.items():
        before = setting.read_text(encoding="ascii").strip()
        if int(before) < wanted:
            (root / f".{setting.name}").write_text(before, encoding="ascii")
            setting.write_text(str(wanted), encoding="ascii")


def drop_network(lab: LabState) -> None:
    """Remove the bridge and the rules; nothing to do when they are gone."""
    if Path("/sys/class/net", lab.bridge).exists():
        run("ip", "link", "delete", lab.bridge)
    run("nft", "delete", "table", "inet", lab.table, check=False)


def restore_forwarding(root: Path) -> None:
    """Give this machine its own settings back; called when no lab is left."""
    for setting in _KERNEL:
        saved = root / f".{setting.name}"
        if saved.is_file():
            setting.write_text(saved.read_text(encoding="ascii"), encoding="ascii")
            saved.unlink()


def set_link(name: str, *, up: bool) -> None:
    """Plug or pull a cable."""
    run("ip", "link", "set", name, "up" if up else "down")
