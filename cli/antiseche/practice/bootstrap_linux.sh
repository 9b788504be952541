#!/bin/sh
# Antisèche : prise en main de la machine @HOST@ (@PRACTICE@).
# À lancer en root, une fois, sur la machine neuve. Le relancer ne change rien de plus.
# Il crée le compte de maintenance de @CONTRACTOR@ : mot de passe impossible, clé seulement,
# depuis les seules adresses du prestataire. Il ne contient aucun secret.
set -eu
umask 077
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH LC_ALL=C.UTF-8

compte=@ACCOUNT@
version_attendue=@VERSION@

arret() {
    printf '%s\n' "Antisèche : $1" >&2
    exit 1
}

[ "$(id -u)" -eq 0 ] || arret "ce script doit être lancé par root."
[ -r /etc/os-release ] || arret "système inconnu (pas de /etc/os-release)."
systeme=$(. /etc/os-release && printf '%s %s' "${ID:-?}" "${VERSION_ID:-?}")
if [ -n "$version_attendue" ] && [ "$systeme" != "debian $version_attendue" ]; then
    arret "cette machine est « $systeme », les réponses disent « debian $version_attendue » : corrigez les réponses."
fi

# 1. Le nécessaire : SSH, Python pour Ansible, sudo.
manquants=
for paquet in openssh-server python3 python3-apt sudo; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$paquet" 2>/dev/null || true)" = installed ] || manquants="$manquants $paquet"
done
if [ -n "$manquants" ]; then
    apt-get -q update
    # shellcheck disable=SC2086 # une liste de noms de paquets
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install $manquants
fi

# 2. Le compte de maintenance : pas de mot de passe possible, pas d'expiration.
if ! getent passwd "$compte" >/dev/null; then
    useradd --system --user-group --create-home --home-dir "/home/$compte" --shell /bin/bash --comment 'Maintenance informatique' "$compte"
fi
[ "$(id -u "$compte")" -ne 0 ] || arret "« $compte » est un autre nom de root : choisissez un autre compte de maintenance."
usermod --password '*' --expiredate '' "$compte"
chage --mindays 0 --maxdays -1 --inactive -1 "$compte"
groupe=$(id -gn "$compte")
dossier=$(getent passwd "$compte" | cut -d: -f6)
[ -d "$dossier" ] || install -d -m 0700 -o "$compte" -g "$groupe" "$dossier"

# 3. Ses clés, limitées aux adresses du prestataire.
[ ! -L "$dossier/.ssh" ] || arret "$dossier/.ssh est un lien : supprimez-le."
install -d -m 0700 -o "$compte" -g "$groupe" "$dossier/.ssh"
cles=$(mktemp "$dossier/.ssh/.antiseche.XXXXXX")
cat >"$cles" <<'FIN_DES_CLES'
@KEYS@
FIN_DES_CLES
chown "$compte:$groupe" "$cles"
chmod 0600 "$cles"
mv -f "$cles" "$dossier/.ssh/authorized_keys"

# 4. sudo pour ce seul compte, vérifié avant d'être posé.
regle=$(mktemp /etc/sudoers.d/.antiseche.XXXXXX)
cat >"$regle" <<FIN_DE_LA_REGLE
# Antisèche : compte de maintenance, ouvert par clé seulement. Aucune personne n'est ici.
$compte ALL=(ALL:ALL) NOPASSWD: ALL
FIN_DE_LA_REGLE
chmod 0440 "$regle"
if ! visudo -cqf "$regle"; then
    rm -f "$regle"
    arret "visudo refuse la règle sudo ; rien n'a été posé."
fi
mv -f "$regle" /etc/sudoers.d/antiseche-maintenance

# 5. SSH démarré, clé d'hôte présente.
ssh-keygen -A >/dev/null
if [ -d /run/systemd/system ]; then
    systemctl enable --quiet --now ssh.service
fi

# 6. À rapporter au prestataire, par un autre chemin que le réseau (photo, téléphone).
cle=$(cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub)
empreinte=$(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2)
printf '\n%s\n' 'Antisèche : la machine est prête. Sur le poste du prestataire, lancez :'
printf '  %s\n\n' "antiseche bootstrap @PRACTICE_ID@ --pin @HOST_ID@ --host-key '$cle'"
printf '%s\n' "host-key: $cle" "fingerprint: $empreinte"
