"""Controls of all roles, and the texts that they refer to.

Adding a role is adding a folder with a ``controls.yml``: it is found here.
"""

from antiseche.catalogue.load import Catalogue, catalogue_digest, load_catalogue, load_sources
from antiseche.catalogue.model import Control, Reference, Repair, RoleControls, Severity, Source

__all__ = [
    "Catalogue",
    "Control",
    "Reference",
    "Repair",
    "RoleControls",
    "Severity",
    "Source",
    "catalogue_digest",
    "load_catalogue",
    "load_sources",
]
