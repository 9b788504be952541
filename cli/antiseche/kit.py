"""Where the kit's own files are: roles, playbooks, plugins and the example practice.

From a checkout they are the checkout's folders; from an installed wheel they are copies
under ``antiseche/kit_files``.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def kit_dir() -> Path:
    """Return the folder that holds ``roles/``, ``playbooks/``, ``plugins/`` and ``ansible.cfg``."""
    installed = _PACKAGE / "kit_files"
    return installed if installed.is_dir() else _PACKAGE.parent.parent


def roles_dir() -> Path:
    """Return the folder of the roles."""
    return kit_dir() / "roles"
