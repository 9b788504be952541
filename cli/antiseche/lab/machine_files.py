"""What makes a machine of the shared system this machine: its name, its address, its host key."""

from __future__ import annotations

import hashlib

from antiseche.lab import network
from antiseche.lab.model import LabState, Machine


def machine_files(lab: LabState, machine: Machine, link: str) -> dict[str, str]:
    """Return the files of a machine, by path without the leading slash; ``link`` is its network link, as seen inside."""
    prefix = lab.subnet.partition("/")[2]
    others = "".join(f"{m.address}\t{m.name}\n" for m in lab.machines.values() if m.name != machine.name)
    return {
        "etc/hostname": f"{machine.name}\n",
        "etc/hosts": f"127.0.0.1\tlocalhost\n127.0.1.1\t{machine.name}\n::1\tlocalhost ip6-localhost ip6-loopback\n{others}",
        "etc/machine-id": f"{machine_id(lab, machine)}\n",
        "etc/resolv.conf": "".join(f"nameserver {address}\n" for address in network.resolvers()),
        "etc/systemd/network/10-lab.network": (
            f"[Match]\nName={link}\n\n[Network]\nAddress={machine.address}/{prefix}\nGateway={network.gateway(lab.subnet)}\n"
            "LLMNR=no\nMulticastDNS=no\nConfigureWithoutCarrier=yes\nIgnoreCarrierLoss=yes\n"
        ),
    }


def machine_id(lab: LabState, machine: Machine) -> str:
    """Return an identity that depends on the machine's host key, hence is new at each creation."""
    return hashlib.sha256(f"{lab.name}/{machine.name}/{machine.host_key}".encode()).hexdigest()[:32]
