#!/bin/sh
# Makes middleware.rpm beside the stand-in's sources, with the layout and the faults of the vendor's own package, and
# facts.json with its digest and the fingerprints of the authority that it brings. Needs gcc, rpmbuild and openssl.
set -eu
cd "$(dirname "$0")"
here=$PWD
library=opt/santesocial/CPS/lib/libcps3_pkcs11_lux.so
vault=etc/opt/santesocial/CPS/Coffre
mkdir -p root/opt/santesocial/CPS/lib root/usr/lib64 "root/$vault" root/etc/opt/santesocial/CPS/cache root/var/opt/santesocial/commun/adm
gcc -shared -fPIC -z execstack -o "root/$library" module.c
ln -sf "/$library" root/usr/lib64/
# Two authorities of the same name: the one whose fingerprints are known, and a forged one.
for name in true forged; do
  openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/O=ASIP-SANTE/CN=AC RACINE IGC-SANTE ELEMENTAIRE" \
    -keyout /dev/null -outform DER -out "root/$vault/ACR_$name.cer" 2>/dev/null
done
rpmbuild -bb --quiet --target x86_64 --define "_topdir $here/built" --define "here $here" --define '__os_install_post %nil' \
  --define 'debug_package %nil' middleware.spec
mv built/RPMS/x86_64/*.rpm middleware.rpm
digest() { "$1sum" "$2" | cut -d ' ' -f 1; }
printf '{"rpm": "%s", "sha1": "%s", "sha256": "%s"}\n' "$(digest sha256 middleware.rpm)" \
  "$(digest sha1 "root/$vault/ACR_true.cer")" "$(digest sha256 "root/$vault/ACR_true.cer")" > facts.json
