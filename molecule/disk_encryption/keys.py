"""Draws the keys of a machine's volumes, whose names come on the standard input, into a new vault file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from antiseche.practice.atomic import write_text
from antiseche.practice.escrow import with_keys
from antiseche.practice.secrets import Vault


def main() -> None:
    """Write the vault file named on the command line."""
    password = Path(os.environ["ANSIBLE_VAULT_PASSWORD_FILE"]).read_bytes().strip()
    path = Path(sys.argv[1])
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_text(path, Vault(password).encrypt(with_keys({}, sys.stdin.read().split())), mode=0o600)


if __name__ == "__main__":
    main()
