"""The card of a full machine's reader: three certificates made for it, in a database that QEMU reads.

It is no professional card. It proves reader, driver and removal.
"""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

from antiseche.i18n import _
from antiseche.lab.model import LabError

CERTIFICATES = ("cert1", "cert2", "cert3")


def make_card(folder: Path) -> None:
    """Make the card's certificates in a folder that does not exist yet.

    Raises:
        LabError: the tools failed.
    """
    folder.mkdir(parents=True)
    noise = folder / "noise"
    noise.write_bytes(secrets.token_bytes(64))
    database = f"sql:{folder}"
    commands = [["certutil", "-N", "-d", database, "--empty-password"]]
    for number, name in enumerate(CERTIFICATES, 1):
        commands.append(
            ["certutil", "-S", "-d", database, "-s", f"CN={name}", "-n", name, "-x", "-t", "CT,CT,CT", "-m", str(number),
             "-z", str(noise)]
        )  # fmt: skip
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            raise LabError(_("La carte d'essai n'a pas pu être faite : {reason}").format(reason=done.stderr.strip()[-200:]))
    noise.unlink()


def options(folder: Path) -> list[str]:
    """Return QEMU's options for a reader with the card in it."""
    card = ",".join(f"{name}={value}" for name, value in device(folder).items() if name != "driver")
    return ["-device", "qemu-xhci,id=usb", "-device", "usb-ccid,id=reader,bus=usb.0", "-device", f"ccid-card-emulated,{card}"]


def device(folder: Path) -> dict[str, str]:
    """Return the card as QEMU's monitor plugs it."""
    named = {f"cert{number}": name for number, name in enumerate(CERTIFICATES, 1)}
    return {
        "driver": "ccid-card-emulated",
        "id": "card",
        "bus": "reader.0",
        "backend": "certificates",
        "db": f"sql:{folder}",
        **named,
    }
