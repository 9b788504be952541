"""The data disks of a machine."""

from __future__ import annotations

from pydantic import Field

from antiseche.i18n import N_
from antiseche.practice.schema.base import Answers
from antiseche.practice.schema.types import DevicePath, MountPoint, Slug, YesNo


class DataDisk(Answers):
    """A blank disk to encrypt; a disk that carries anything is refused."""

    name: Slug = Field(
        title=N_("Nom du volume"),
        description=N_("Le désigne partout ; un disque neuf qui en remplace un autre prend un nouveau nom."),
    )
    device: DevicePath = Field(
        title=N_("Disque"),
        description=N_(
            "Disque entier et vierge, de préférence par un chemin qui ne change pas, comme /dev/disk/by-id/ata-… ;"
            " un disque qui porte quoi que ce soit est refusé."
        ),
    )
    mount: MountPoint = Field(
        title=N_("Point de montage"), description=N_("Dossier vide où le volume apparaît, par exemple /srv/donnees.")
    )
    discard: YesNo = Field(
        False,
        title=N_("Faut-il signaler au disque les blocs libérés (TRIM) ?"),
        description=N_("Ménage un SSD, mais laisse voir quelle part du disque est occupée."),
    )
