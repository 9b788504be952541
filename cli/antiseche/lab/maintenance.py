"""Opens lab machines to the contractor with the product's own bootstrap script."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from antiseche.i18n import _
from antiseche.lab.labs import Lab
from antiseche.lab.model import LabError
from antiseche.practice.bootstrap import BootstrapSpec, script

ACCOUNT = "antiseche"


def bootstrap(lab: Lab, account: str = ACCOUNT) -> None:
    """Run the bootstrap script on every machine, for the lab's key from the lab's gateway."""

    def one(name: str) -> None:
        spec = BootstrapSpec(
            host=name,
            practice_id=lab.name,
            practice=lab.name,
            contractor="Antisèche",
            account=account,
            public_keys=[lab.public_key],
            addresses=[f"{lab.gateway}/32"],
        )
        run_script(lab, name, script(spec))

    with ThreadPoolExecutor(max_workers=max(1, len(lab.machines))) as pool:
        list(pool.map(one, lab.machines))


def run_script(lab: Lab, machine: str, text: str, timeout: float = 300) -> str:
    """Run a shell script as root on a machine's console and return what it printed.

    Raises:
        LabError: the script failed.
    """
    done = lab.exec(machine, ["sh", "-s"], text.encode(), timeout)
    if done.rc != 0:
        raise LabError(_("Le script de prise en main a échoué sur {machine} : {error}").format(
            machine=machine, error=done.stderr.decode(errors="replace").strip()[-500:]))  # fmt: skip
    return done.text()
