"""Names that nobody and no machine may take."""

from __future__ import annotations

# Accounts and groups of Debian (base-passwd) and of the packages a practice may have; useradd makes a group per login.
_SYSTEM = frozenset(
    (
        "root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody "
        "adm tty disk kmem dialout fax voice cdrom floppy tape sudo audio dip operator src shadow utmp video sasl plugdev staff "
        "users nogroup input sgx kvm render crontab netdev bluetooth scanner ssl-cert lpadmin wheel wireshark i2c gpio ssh "
        "messagebus sshd polkitd avahi avahi-autoipd colord saned cups-pk-helper usbmux pulse pulse-access rtkit geoclue gdm "
        "lightdm sddm gnome-initial-setup gnome-remote-desktop speech-dispatcher hplip tss ntp ntpsec chrony pcscd fwupd-refresh "
        "nm-openvpn nm-openconnect dnsmasq dhcpcd dhcpd uuidd tcpdump kernoops flatpak docker libvirt libvirt-qemu lxd lxc "
        "postfix postdrop dovecot dovenull exim postgres mysql mariadb redis mongodb memcache clamav clamav-milter ftp statd rpc "
        "bind unbound nut openldap sssd snmp strongswan proftpd tomcat nginx apache sambashare nagios munin zabbix prometheus "
        "grafana ansible git tftp debian-tor"
    ).split()
)
_SYSTEM_PREFIXES = ("systemd-", "cabinet-")
ADMIN_PREFIX = "adm-"
# One person, one account: names of functions and places are how shared accounts are called.
_SHARED = frozenset(
    (
        "admin administrateur administrator accueil secretariat secretaire medecin medecins docteur cabinet praticien "
        "infirmier infirmiere ide kine sagefemme soins salle consultation remplacant remplacante interne externe stagiaire "
        "assistant assistante standard comptabilite compta direction invite guest test user utilisateur public poste bureau "
        "commun partage demo labo scanner support contact info service"
    ).split()
)
_HOSTS = frozenset("all ungrouped linux windows workstations servers localhost debian12 debian13".split())


def is_system_login(login: str) -> bool:
    """Say whether the system, or the kit's own groups, need this name."""
    return login in _SYSTEM or login.startswith(_SYSTEM_PREFIXES)


def is_shared_login(login: str) -> bool:
    """Say whether this is how a shared account is called, numbered or not: « poste2 », « medecin-1 »."""
    return login in _SHARED or login.rstrip("0123456789").rstrip("-_") in _SHARED


def is_reserved_host(name: str) -> bool:
    """Say whether Ansible would take this name for a group, or for the controller."""
    return name in _HOSTS
