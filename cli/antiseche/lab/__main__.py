"""``python -m antiseche.lab``: labs for tests and Molecule, with JSON answers."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from antiseche import i18n
from antiseche.errors import AntisecheError, ExitCode
from antiseche.lab import labs
from antiseche.lab.maintenance import bootstrap
from antiseche.lab.model import check_lab_name, parse_machine
from antiseche.lab.requirements import require


@click.group(help="Start and stop lab machines.")
def main() -> None:
    """Group of the lab's verbs."""


@main.command()
@click.argument("name")
@click.option("--machine", "machines", multiple=True, required=True, metavar="NAME:SYSTEM[:ADDRESS][:disk=SIZE][:reader]")
@click.option("--subnet", help="Private IPv4 network of the lab; chosen when not given.")
@click.option(
    "--driver", type=click.Choice(sorted(labs.DRIVERS)), help="Containers (nspawn, the default) or full machines (qemu)."
)
@click.option("--maintenance", is_flag=True, help="Run the bootstrap script for account 'antiseche' with the lab's key.")
@click.option("--json", "as_json", is_flag=True)
def up(name: str, machines: tuple[str, ...], subnet: str | None, driver: str | None, maintenance: bool, as_json: bool) -> None:
    """Start a lab, or what is missing of it."""
    wanted = [parse_machine(text) for text in machines]
    lab = labs.up(name, wanted, subnet=subnet, driver=driver, notify=lambda text: click.echo(text, err=True))
    if maintenance:
        bootstrap(lab)
    _show(lab, as_json=as_json)


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name")
@click.argument("machine")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def exec(name: str, machine: str, argv: tuple[str, ...]) -> int:  # noqa: A001 - the verb's name
    """Run a command as root on a machine's console."""
    stdin = b"" if sys.stdin.isatty() else sys.stdin.buffer.read()
    done = labs.find(name).exec(machine, argv[1:] if argv[0] == "--" else argv, stdin)
    sys.stdout.buffer.write(done.stdout)
    sys.stderr.buffer.write(done.stderr)
    return done.rc


def _verb(name: str, method: str, help_text: str) -> None:
    @main.command(name, help=help_text)
    @click.argument("name")
    @click.argument("machine")
    def command(name: str, machine: str) -> None:
        lab = labs.find(name)
        getattr(lab.driver, method)(lab.machine(machine))


_verb("power-cut", "power_cut", "Stop a machine as a power failure does.")
_verb("power-on", "power_on", "Start a machine again from its disk.")
_verb("net-cut", "network_cut", "Pull a machine's network cable.")
_verb("net-restore", "network_restore", "Plug it again.")


def _full_verb(name: str, method: str, help_text: str) -> None:
    @main.command(name, help=help_text)
    @click.argument("name")
    @click.argument("machine")
    def command(name: str, machine: str) -> None:
        lab = labs.find(name)
        getattr(lab.full(), method)(lab.machine(machine))


_full_verb("card-pull", "pull_card", "Take a full machine's card out of its reader.")
_full_verb("card-insert", "insert_card", "Put it back.")
_full_verb("tpm-forget", "forget_tpm", "Lose what the TPM of a machine that is off holds.")


def _copy_verb(name: str, help_text: str) -> None:
    @main.command(name, help=help_text)
    @click.argument("name")
    @click.argument("machine")
    @click.argument("copy")
    def command(name: str, machine: str, copy: str) -> None:
        lab = labs.find(name)
        getattr(lab.full(), command.name or "")(lab.machine(machine), check_lab_name(copy))


_copy_verb("snapshot", "Keep a copy of the disks and TPM of a full machine that is off.")
_copy_verb("restore", "Go back to such a copy.")


@main.command()
@click.argument("names", nargs=-1, required=True)
def down(names: tuple[str, ...]) -> None:
    """Take labs down; nothing to do when they do not exist."""
    for name in names:
        labs.down(name)


@main.command()
@click.argument("name")
def show(name: str) -> None:
    """Print a lab as JSON."""
    _show(labs.find(name), as_json=True)


@main.command()
def check() -> None:
    """Say whether this machine can run a lab, and what to do when it cannot."""
    require()


@main.command("list")
@click.option("--json", "as_json", is_flag=True)
def list_labs(as_json: bool) -> None:
    """List labs and say which machines run; a lab with none left is stale."""
    found = [lab.as_json() for lab in labs.all_labs()]
    for lab in found:
        running = sum(machine["pid"] is not None for machine in lab["machines"].values())
        lab["state"] = "running" if running == len(lab["machines"]) and running else "stopped" if running else "stale"
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for lab in found:
        click.echo(f"{lab['name']}\t{lab['state']}\t{lab['subnet']}\t{' '.join(lab['machines'])}")


def _show(lab: labs.Lab, *, as_json: bool) -> None:
    data = lab.as_json()
    if as_json:
        click.echo(json.dumps(data, indent=1))
        return
    for name, machine in data["machines"].items():
        click.echo(f"{name}\t{machine['address']}\t{machine['system']}\tpid {machine['pid']}")


def run() -> int:
    """Run the command line with the kit's error rules."""
    i18n.select(i18n.requested_language([], os.environ))
    try:
        result = main.main(prog_name=f"{Path(sys.executable).name} -m antiseche.lab", standalone_mode=False)
    except AntisecheError as error:
        click.echo(str(error), err=True)
        return int(error.exit_code)
    except click.ClickException as error:
        error.show()
        return int(ExitCode.USAGE)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return int(ExitCode.INTERRUPTED)
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(run())
