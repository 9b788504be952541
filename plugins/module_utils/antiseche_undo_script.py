# Copyright: the Antisèche authors. SPDX-License-Identifier: Apache-2.0
"""What the machine itself runs to undo a change that nobody confirmed: a script and its systemd units.

The script needs a shell and coreutils only, so that it works whatever became of Python or of the controller.
"""

from __future__ import annotations

UNDO_SCRIPT = r"""#!/bin/sh
# Antisèche: puts back what a change that nobody confirmed has touched, then makes it effective.
# undo NAME [WHY] | undo --boot        (ANTISECHE_ROOT is for tests)
set -u
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export PATH LC_ALL=C.UTF-8
umask 077
root=${ANTISECHE_ROOT:-}
state=$root/var/lib/antiseche

put_back() { # SAVED PATH: by rename; a hard link needs no room, so that a full disk does not keep anybody out
    mkdir -p "$(dirname "$2")" || return 1
    rm -f "$2.antiseche-undo" || return 1
    if ! [ -L "$1" ] && ! [ -L "$2" ] && [ "$1" -ef "$2" ]; then
        return 0 # by an undo that was cut short
    fi
    if { ! [ -L "$1" ] && ln -T "$1" "$2.antiseche-undo" 2>/dev/null; } || cp -aT "$1" "$2.antiseche-undo"; then
        [ -L "$1" ] || sync "$2.antiseche-undo"
        mv -fT "$2.antiseche-undo" "$2" && return 0
    fi
    rm -f "$2.antiseche-undo"
    return 1
}

restore() { # FOLDER
    failed=0
    for entry in "$1"/*.path; do
        [ -e "$entry" ] || continue
        path=$(cat "$entry")
        saved=${entry%.path}.saved
        if [ -e "$saved" ] || [ -L "$saved" ]; then
            put_back "$saved" "$path"
        else
            rm -f "$path"
        fi || {
            failed=1
            echo "antiseche: $path could not be put back" >&2
            continue
        }
        sync "$(dirname "$path")" 2>/dev/null
        echo "antiseche: $path is back"
    done
    return $failed
}

undo() { # NAME WHY
    folder=$state/undo/$1
    timer=$root/etc/systemd/system/timers.target.wants/antiseche-undo-$1.timer
    if ! [ -d "$folder" ]; then
        rm -f "$timer"
        return 0
    fi
    restore "$folder"
    incomplete=$?
    if [ "$2" != boot ] && [ -s "$folder/apply" ]; then
        while IFS= read -r command; do
            eval "timeout 60 $command" </dev/null 9>&- || echo "antiseche: failed: $command" >&2
        done <"$folder/apply"
    fi
    if [ $incomplete -ne 0 ]; then
        echo "antiseche: the change \"$1\" is not wholly undone; what was saved stays in $folder" >&2
        return 1
    fi
    mkdir -p "$state/undone"
    trace=$state/undone/$1.json
    if printf '{"name": "%s", "at": "%s", "why": "%s", "token": "%s"}\n' \
        "$1" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$2" "$(cat "$folder/token" 2>/dev/null)" >"$trace.new"; then
        mv -f "$trace.new" "$trace"
    fi
    rm -rf "$state/undo/.$1.gone"
    mv -T "$folder" "$state/undo/.$1.gone" || return 1
    rm -rf "$state/undo/.$1.gone"
    rm -f "$timer"
    sync "$state/undo" "$state/undone"
    echo "antiseche: the change \"$1\" was not confirmed and has been undone ($2)"
}

[ -d "$state/undo" ] || exit 0
why=${2:-timer}
case "$why" in
*[!a-z]*) why=asked ;;
esac
if [ "${ANTISECHE_LOCKED:-}" != yes ]; then
    exec 9>"$state/undo/.lock"
    # Whoever holds it longer than this hangs, and nobody must stay locked out for that.
    flock -w "${ANTISECHE_PATIENCE:-300}" 9 || echo "antiseche: somebody else holds the lock; going ahead" >&2
fi
if [ "${1:-}" = --boot ]; then
    status=0
    for folder in "$state"/undo/*/; do
        [ -d "$folder" ] || continue
        undo "$(basename "$folder")" boot || status=1
    done
    exit $status
fi
case "${1:-}" in
'' | *[!a-z0-9_]*) echo "usage: undo NAME [WHY] | undo --boot" >&2; exit 2 ;;
esac
undo "$1" "$why"
"""

SERVICE = """[Unit]
Description=Antisèche: undo the unconfirmed change %i
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=/bin/sh /usr/local/lib/antiseche/undo %i
Restart=on-failure
RestartSec=30
"""

TIMER = """[Unit]
Description=Antisèche: undo the change {name} unless it is confirmed

[Timer]
OnActiveSec={seconds}
AccuracySec=1s
Unit=antiseche-undo@{name}.service

[Install]
WantedBy=timers.target
"""

BOOT = """[Unit]
Description=Antisèche: undo changes that were not confirmed before the machine stopped
DefaultDependencies=no
RequiresMountsFor=/etc /usr /var/lib/antiseche
After=systemd-remount-fs.service local-fs.target
Before=network-pre.target nftables.service ssh.service ssh.socket shutdown.target
Conflicts=shutdown.target
ConditionDirectoryNotEmpty=/var/lib/antiseche/undo

[Service]
Type=oneshot
ExecStart=/bin/sh /usr/local/lib/antiseche/undo --boot

[Install]
WantedBy=sysinit.target
"""
