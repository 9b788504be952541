"""A practice as a person writes it, and how a test marks the places where it is wrong."""

from __future__ import annotations

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFyiQAW3QHF7pPP2vEiiMHAOaMKksR7O25bxafTvrx8h prestataire"

GOOD = f"""\
# Cabinet fictif ; les commentaires restent.
version: 1

practice:
  id: tilleuls
  name: "Cabinet des Tilleuls"  # sur les documents
  address: "1 place des Tilleuls, 00000 Exempleville"
  phone: "00 00 00 00 00"
  timezone: Europe/Paris

people:
  # les médecins
  - name: "Dr Camille Exemple"
    login: cexemple
    function: doctor
    admin: true
  - name: "Dr Noé Modèle"
    login: nmodele
    function: doctor
  - name: 'Sacha L''Éveillé'
    login: sleveille
    function: secretary   # mi-temps
  - name: Dr Robin Fictif
    login: rfictif
    function: locum
    until: 2027-06-30
    note: "Remplace le Dr Modèle le mercredi."

hosts:
  - name: accueil
    kind: workstation
    system: debian13
    address: 192.168.42.11
    users: [sleveille, cexemple]
    card_reader: true
  - name: cabinet-1
    system: debian12
    address: 192.168.42.12
    users:
      - nmodele
      - rfictif   # le mercredi
    laptop: non
  - name: serveur
    kind: server
    address: 192.168.42.2
    users: [cexemple]

network:
  lan: 192.168.42.0/24
  discovery: false
  printers:
    - name: "Imprimante de l'accueil"
      address: 192.168.42.30

software:
  - name: "Logiciel de cabinet"
    supplier: "Éditeur Exemple"
    hosts: [serveur]
    inbound:
      - name: "Base"
        ports: [5432]
        sources: [192.168.42.0/24]

shares:
  - name: documents
    host: serveur
    users: [cexemple, nmodele]

mssante:
  operator: "Opérateur Exemple"
  client: true

maintenance:
  contractor: "Prestataire Exemple"
  phone: "00 00 00 00 01"
  account: antiseche
  addresses: [203.0.113.4/32]
  public_keys:
    - {KEY}
  remote_help: []
  sshd_options:
    ClientAliveInterval: "60"

suppliers:
  - name: "Prestataire Exemple"
    role: it
    contact: "astreinte@prestataire.example"
  - name: "Éditeur Exemple"
    role: software
    contact: "00 00 00 00 02"
  - name: "Sauvegarde Exemple"
    role: backup
    contact: "00 00 00 00 03"
    hds:
      number: "HDS-EXEMPLE-0001"
      activities: [1, 6]
      expires: 2028-03-31

choices:
  password_policy: anssi-cnil
  reboot_time: "03:30"
  outbound: open
  confirm_seconds: 60

attestations:
  - control: ORG-01
    answer: "yes"
    on: 2026-10-05
    by: "Dr Camille Exemple"
    proof: "Charte signée"
    expires: 2027-10-05

waivers:
  - id: D-001
    control: MAJ-03
    hosts: [serveur]
    reason: "Le serveur ne redémarre pas seul."
    compensating: "Redémarrage le premier samedi du mois."
    accepted_by: "Dr Camille Exemple"
    accepted_on: 2026-10-05
    expires_on: 2027-09-30
"""

MARK = "§"
"""Stands before each place that a message must name."""


def changed(old: str, new: str) -> tuple[str, list[tuple[int, int]]]:
    """Return the practice with one passage changed, and the marked places (line and column from 1)."""
    assert GOOD.count(old) >= 1, old
    return unmarked(GOOD.replace(old, new, 1))


def unmarked(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return a text without its marks, and where they stood."""
    places = []
    while MARK in text:
        before, _mark, after = text.partition(MARK)
        places.append((before.count("\n") + 1, len(before) - before.rfind("\n")))
        text = before + after
    return text, places
