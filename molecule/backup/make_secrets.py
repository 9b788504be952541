"""Makes the secrets that the inventory builder would put into the vaults, by the same functions."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from antiseche.practice import backup_secrets


def main(target: str, address: str) -> None:
    """Write the inventory file."""
    client = backup_secrets.with_secrets({}, [backup_secrets.REPOSITORY])
    server = backup_secrets.with_secrets({}, [backup_secrets.REPOSITORY, backup_secrets.SERVER + address])
    variables = {"backup_server": {"host": "debian13", "address": address}}
    path = Path(target)
    path.touch(mode=0o600)
    path.write_text(
        yaml.safe_dump({"all": {"vars": variables, "hosts": {"debian12": client, "debian13": server}}}), encoding="utf-8"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
