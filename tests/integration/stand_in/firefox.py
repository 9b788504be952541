"""Ask Firefox itself, without a screen, which policies it applies and which PKCS#11 modules it has. Prints JSON.

Speaks Marionette, Firefox's own remote control: lengths and JSON over a local connection.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time

QUESTION = """
return (async () => {
  const database = Cc["@mozilla.org/security/pkcs11moduledb;1"].getService(Ci.nsIPKCS11ModuleDB);
  const listed = await database.listModules();  // at once, or by a promise: it depends on the release
  const modules = Array.from(listed, one => [one.name, one.libName]);
  return {status: Services.policies.status, policies: Services.policies.getActivePolicies(), modules};
})();
"""
SECONDS = 180


def receive(link):
    """Return one message."""
    size = b""
    while not size.endswith(b":"):
        size += link.recv(1)
    data, wanted = b"", int(size[:-1])
    while len(data) < wanted:
        data += link.recv(wanted - len(data))
    return json.loads(data)


def ask(link, number, name, parameters):
    """Send one command and return its answer."""
    message = json.dumps([0, number, name, parameters]).encode()
    link.sendall(str(len(message)).encode() + b":" + message)
    _kind, _number, error, answer = receive(link)
    if error:
        sys.exit(f"{name}: {error}")
    return answer


def connected():
    """Return a connection to Marionette once it answers."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return socket.create_connection(("127.0.0.1", 2828), SECONDS)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


with tempfile.TemporaryDirectory() as profile:
    environment = {**os.environ, "HOME": profile, "MOZ_HEADLESS": "1"}
    argv = ["firefox-esr", "--headless", "--marionette", "--remote-allow-system-access", "--profile", profile]
    firefox = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with connected() as link:
            receive(link)
            ask(link, 1, "WebDriver:NewSession", {})
            ask(link, 2, "Marionette:SetContext", {"value": "chrome"})
            sys.stdout.write(json.dumps(ask(link, 3, "WebDriver:ExecuteScript", {"script": QUESTION, "args": []})["value"]))
    finally:
        firefox.terminate()
        firefox.wait(timeout=60)
