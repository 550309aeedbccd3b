"""The proxies: folders in peers/, each with a peer.toml and templates of its configuration.

`$`-placeholders in both are filled in: `$program`; `$ecdsa`, `$rsa`, `$https`, `$imap`, `$plain` and `$server_imap`, ports on
127.0.0.1; `$certs`, the folder of certificates; `$dir`, where the filled-in templates are; `$threads`, `$files` and
`$connections`. For the rows with many certificates also `$pem` and `$split`, folders of them in both layouts, and
`$extra`, the name of one more, which is in `$extra_pem` and `$extra_split`.
"""

import contextlib
import os
import shutil
import socket
import ssl
import string
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from . import process
from .machine import version_of

FOLDER = Path(__file__).resolve().parent.parent / "peers"

# Gatepost's own.
OWN = FOLDER / "gatepost"


class PeerFailed(Exception):
    """A proxy did not do what was expected of it."""


@dataclass
class Proxy:
    """A proxy that runs."""

    pid: int
    start_seconds: float
    values: dict = field(repr=False)


class Peer:
    """A proxy that can be started."""

    def __init__(self, folder, name=None, program=None):
        spec = tomllib.loads((folder / "peer.toml").read_text())
        self.folder = folder
        self.name = name or folder.name
        self.title = name or spec["title"]
        self.own = folder == OWN
        self.program = program or shutil.which(spec["program"])
        self.package = spec["package"]
        self.listeners = spec["listeners"]
        self.talk = spec.get("talk", "echo")
        self.settings = spec["settings"]
        self.spec = spec

    def version(self):
        return version_of([self.program, *self.spec["version"]])

    def has(self, part):
        return part in self.spec

    def render(self, folder, values, part=None):
        """Writes the configuration into a folder; the command, environment and values to start with."""
        spec = self.spec[part] if part else self.spec
        values = values | {"dir": folder, "program": self.program or self.spec["program"]}
        folder = Path(folder)
        for target, source in self.spec.get("copy", {}).items():
            shutil.copytree(fill(source, values), folder / target)
        if each := spec.get("each"):
            with open(folder / each["file"], "w") as out:
                out.writelines(fill(each["line"], values | {"name": name}) + "\n" for name in values["names"])
            one_more = {"name": values["extra"], "pem": values["extra_pem"], "split": values["extra_split"]}
            values["extra_line"] = fill(each["line"], values | one_more)
        for template in self.folder.iterdir():
            if template.name != "peer.toml" and (part is None) == (template.stem != "certificates"):
                (folder / template.name).write_text(fill(template.read_text(), values))
        command = [fill(word, values) for word in spec["start"]]
        environment = {key: fill(text, values) for key, text in self.spec.get("environment", {}).items()}
        return command, environment, values

    @contextlib.contextmanager
    def running(self, bench, part=None, values=None):
        """The proxy, until the block ends."""
        with tempfile.TemporaryDirectory(prefix=f"compare-{self.name}-") as folder:
            os.chmod(folder, 0o755)  # hitch reads its files as nobody
            filled = self.render(folder, bench.placeholders() | (values or {}), part)
            command, environment, values = filled
            name = values["names"][-1] if "names" in values else "mail.example.test"
            with open(Path(folder) / "output.log", "w") as log:
                begun = time.monotonic()
                started = process.start(command, bench.proxy_cores, env=os.environ | environment,
                                        stdin=process.subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                wait_until_served(bench.ports["ecdsa"], name, started)
                yield Proxy(started.pid, time.monotonic() - begun, values)
            except BaseException:
                for path in sorted(Path(folder).glob("*.log")):
                    if said := path.read_text(errors="replace")[-2000:].strip():
                        print(f"--- {self.title}, {path.name}:\n{said}\n---", file=sys.stderr)
                raise
            finally:
                process.stop(started)


def fill(text, values):
    """Fills placeholders in. One that is not known is a mistake in a template."""
    return string.Template(text).substitute(values)


def shows(port, name):
    """Whether the certificate shown to who asks for a name has it in it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (socket.create_connection(("127.0.0.1", port), 30) as plain,
              context.wrap_socket(plain, server_hostname=name) as tls):
            return name.encode() in tls.getpeercert(True)
    except OSError:
        return False


def wait_until_served(port, name, started, patience=600):
    end = time.monotonic() + patience
    while not shows(port, name):
        if started.poll() is not None:
            raise PeerFailed(f"ended with {started.returncode} instead of serving {name}")
        if time.monotonic() > end:
            raise PeerFailed(f"does not serve {name} after {patience} s")
        time.sleep(0.01)


def all_peers(gatepost, candidates):
    """Gatepost first, then the candidates (its configuration, other programs), then the others."""
    folders = sorted(path.parent for path in FOLDER.glob("*/peer.toml"))
    peers = [Peer(OWN, program=gatepost)]
    peers += [Peer(OWN, name, program) for name, program in candidates]
    return peers + [Peer(folder) for folder in folders if folder != OWN]
