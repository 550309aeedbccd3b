"""Many certificates: start, memory, handshakes with all names in turn, and one more at run time."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from . import process
from .peer import PeerFailed, fill, shows
from .rows import Figure

# How many the goals are about.
AIMED_AT = 10_000

FIGURES = {
    "start": Figure("from start until the last name is served, s", goal=0.15, against="caddy"),
    "memory": Figure("memory then, MiB"),
    "handshake": Figure("handshake, each name in turn: CPU, µs"),
    "added": Figure("one more until it is served, s", goal=1.0, against="haproxy"),
    "added_cpu": Figure("… CPU of the proxy, s"),
    "memory_after": Figure("memory after it, MiB", shown=False),
}


def figures(row):
    """The figures for that many certificates."""
    if int(row) == AIMED_AT:
        return FIGURES
    return {name: replace(figure, goal=None, against=None) for name, figure in FIGURES.items()}


def folder_of(bench, count):
    """A folder of that many certificates."""
    folder = bench.certs.parent / f"certificates-{count}"
    make(bench, folder, "names", "--count", str(count))
    return folder


def make(bench, folder, last, *words):
    """Makes a folder of certificates, unless it is there, whole up to its last file, and of this month."""
    with contextlib.suppress(FileNotFoundError):
        if time.time() - (folder / last).stat().st_mtime < 30 * 86_400:
            return
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([bench.load_program, "certificates", folder, *words], check=True)


def measure(bench, peer, count):
    """One proxy with `count` certificates, from its start to its end."""
    source = folder_of(bench, count)
    # What is added stays in the copy. Links do: nobody changes a file in place.
    with tempfile.TemporaryDirectory(prefix="certificates-", dir=source.parent) as scratch, bench.server():
        os.chmod(scratch, 0o755)
        for layout in ("pem", "split"):
            shutil.copytree(source / layout, Path(scratch) / layout, copy_function=os.link)
        values = {
            "pem": f"{scratch}/pem", "split": f"{scratch}/split",
            "extra": f"host{count}.example.test",
            "extra_pem": f"{source}/extra/pem", "extra_split": f"{source}/extra/split",
            "names": (source / "names").read_text().split(),
        }
        with peer.running(bench, "certificates", values) as proxy:
            figures = {"start": proxy.start_seconds, "memory": process.memory_bytes(proxy.pid) / 2**20}
            talk = peer.spec["certificates"].get("talk", peer.talk)
            load = bench.costs(proxy, lambda: bench.load(
                "churn", "ecdsa", "--names", source / "names", "--seconds", bench.seconds, "--talk", talk))
            figures["handshake"] = load["cpu"] * 1e6
            return figures | add_one(bench, peer, proxy)


def add_one(bench, peer, proxy):
    """Adds a certificate as an administrator would, and waits until clients get it."""
    values = proxy.values | {"pid": proxy.pid}
    script = fill(peer.spec["certificates"]["add"], values)
    cpu, begun = process.cpu_seconds(proxy.pid), time.monotonic()
    started = process.start(["sh", "-c", script], bench.load_cores, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while not shows(bench.ports["ecdsa"], values["extra"]):
        if time.monotonic() > begun + 120:
            process.stop(started)
            raise PeerFailed(f"{values['extra']} is not served 120 s after it was added: {started.stdout.read()}")
        time.sleep(0.005)
    figures = {"added": time.monotonic() - begun}
    started.communicate(timeout=60)
    process.settle(proxy.pid)
    return figures | {"added_cpu": process.cpu_seconds(proxy.pid) - cpu,
                      "memory_after": process.memory_bytes(proxy.pid) / 2**20}
