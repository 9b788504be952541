"""Somebody at a terminal of a lab machine: a login session of its own, whose keys and screen are two files.

usage: terminal.py LOGIN KEYS SCREEN. KEYS is a pipe to write to; SCREEN grows with what the terminal shows.
"""

import os
import pty
import select
import sys
import time
from pathlib import Path

login, keys, screen = sys.argv[1:4]
if not Path(keys).exists():
    os.mkfifo(keys, 0o600)
child, terminal = pty.fork()
if child == 0:
    os.execv("/bin/login", ["login", "-f", login])
pipe = os.open(keys, os.O_RDWR)
with Path(screen).open("ab", buffering=0) as file:
    while True:
        for ready in select.select([terminal, pipe], [], [])[0]:
            try:
                data = os.read(ready, 4096)
            except OSError:  # login hangs the terminal up and opens it again; or the session is over
                time.sleep(0.1)
                if os.waitpid(child, os.WNOHANG)[0]:
                    sys.exit(0)
                continue
            if ready == terminal:
                file.write(data)
            else:
                os.write(terminal, data)
