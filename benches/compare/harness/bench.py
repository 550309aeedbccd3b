"""The bench: cores, ports, files, and the load on whatever stands on it."""

import contextlib
import json
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import process
from .peer import PeerFailed

PORTS = ("ecdsa", "rsa", "https", "imap", "plain", "server_imap")

# Seconds after which a connection that says nothing is a silent one.
QUIET = 3


@dataclass
class Bench:
    """Where and how one part of a run measures."""

    load_program: Path
    certs: Path
    ports: dict
    seconds: float
    mib: int
    threads: int = 1
    proxy_cores: tuple = (0,)
    load_cores: tuple = (1,)

    def placeholders(self):
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        # Each connection has two descriptors; some are for the proxy itself.
        return self.ports | {
            "certs": self.certs, "threads": self.threads,
            "files": files, "connections": self.most_connections(),
        }

    @staticmethod
    def most_connections():
        return (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 500) // 2

    @contextlib.contextmanager
    def server(self):
        """The plaintext server behind the proxies."""
        started = process.start(
            [self.load_program, "server", "--plain", f"127.0.0.1:{self.ports['plain']}",
             "--imap", f"127.0.0.1:{self.ports['server_imap']}"], self.load_cores)
        try:
            yield
        finally:
            process.stop(started)

    def load(self, kind, listener, *words):
        """Puts load on a listener until it is over; what the generator says of it."""
        command = [self.load_program, kind, "--to", f"127.0.0.1:{self.ports[listener]}", *words]
        started = process.start(command, self.load_cores, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            said, errors = started.communicate(timeout=self.seconds + 120)
        except subprocess.TimeoutExpired:
            raise PeerFailed("the load did not come to its end") from None
        finally:
            process.stop(started)
        if started.returncode:
            raise PeerFailed(" ".join(errors.split()) or "the load generator failed")
        result = json.loads(said)
        failed = sum(result.get("errors", {}).values())
        if not result["count"] or failed > result["count"] / 100:
            raise PeerFailed(f"{failed} errors beside {result['count']} successes: {result.get('errors')}")
        return result

    def costs(self, proxy, work):
        """Does `work`; its result, with the proxy's CPU seconds for each of its `count`."""
        process.settle(proxy.pid)
        before = process.cpu_seconds(proxy.pid)
        result = work()
        process.settle(proxy.pid)
        result["cpu"] = (process.cpu_seconds(proxy.pid) - before) / result["count"]
        return result

    def held(self, proxy, listener, connections, *words):
        """Memory for each of many silent connections, in bytes, and what one that talks sees."""
        if connections > self.most_connections():
            raise PeerFailed(f"{connections} connections need {2 * connections + 500} descriptors a process")
        # What is allocated once, with the first connections, is not theirs.
        self.load("churn", listener, "--count", 50, *words_of_talk(words))
        process.settle(proxy.pid)
        before = process.memory_bytes(proxy.pid)
        command = [self.load_program, "hold", "--to", f"127.0.0.1:{self.ports[listener]}",
                   "--connections", connections, *words]
        started = process.start(command, self.load_cores, text=True, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            if not started.stdout.readline():
                raise PeerFailed(" ".join(started.stderr.read().split()) or "not all connections stood")
            time.sleep(QUIET)
            memory = process.memory_bytes(proxy.pid) - before
            result = json.loads(started.communicate(timeout=60)[0])
        finally:
            process.stop(started)
        if result["lost"]:
            raise PeerFailed(f"{result['lost']} of {connections} connections lost")
        return {"bytes": memory / connections, "before": before, "probe": result["microseconds"]["p50"]}

    def h2load(self, proxy, *words, path="/"):
        """HTTP requests by h2load. The times are in microseconds, from the request to the end of its response."""
        if not shutil.which("h2load"):
            raise PeerFailed("h2load (nghttp2-client) is not installed")

        def work():
            with tempfile.NamedTemporaryFile("r", prefix="compare-h2load-") as log:
                command = ["h2load", "-t", 1, "-D", max(1, int(self.seconds)), "--log-file", log.name, *words,
                           "--connect-to", f"127.0.0.1:{self.ports['https']}", f"https://mail.example.test{path}"]
                started = process.start(command, self.load_cores, text=True, stdout=subprocess.PIPE)
                said = started.communicate(timeout=self.seconds + 60)[0]
                lines = (line.split("\t") for line in log)
                times = sorted(int(line[2]) for line in lines if line[1] == "200")
            if not times:
                raise PeerFailed("no request was answered")
            finished = next(line for line in said.splitlines() if line.startswith("finished in"))
            return {"count": len(times), "per_second": float(finished.split(",")[1].split()[0]),
                    "p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}
        return self.costs(proxy, work)


def words_of_talk(words):
    """What of a `hold` command is for `churn` as well."""
    taken, words = [], list(map(str, words))
    for index, word in enumerate(words):
        if word == "--starttls":
            taken.append(word)
        elif word == "--talk":
            taken += words[index:index + 2]
    return taken


def ports_from(base):
    """Ports on 127.0.0.1, from `base` on; all must be free."""
    ports = {name: base + index for index, name in enumerate(PORTS)}
    for name, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise SystemExit(f"port {port} ({name}): {error.strerror}; --ports takes another base") from None
    return ports


def raise_descriptor_limit():
    """As far as allowed: root may, others have what they have."""
    for wanted in (200_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return
