"""The rows of the comparison: what is done to a proxy, and what is read off it."""

from collections.abc import Callable
from dataclasses import dataclass

from .peer import PeerFailed

SILENT = 9000
SILENT_IMAP = 2000


@dataclass(frozen=True)
class Figure:
    """One number of a row. `goal` is the ratio to `against`, or to the best of the peers."""

    title: str
    shown: bool = True
    goal: float | None = None
    against: str | None = None
    more_is_better: bool = False


@dataclass(frozen=True)
class Row:
    key: str
    listener: str
    measure: Callable
    figures: dict[str, Figure]
    table: str = "peers"
    # Memory is measured in a process that has done nothing else before.
    fresh: bool = False


def handshakes(key, title, *words, listener="ecdsa", goal=None, table="peers", talk=None):
    """Whole connections: accept, handshake, connect to the server, one byte each way, close."""
    def measure(bench, peer, proxy):
        result = bench.costs(proxy, lambda: bench.load(
            "churn", listener, "--seconds", bench.seconds, "--talk", talk or peer.talk, *words))
        if "--resume" in words and result["resumed"] < 0.95 * result["count"]:
            raise PeerFailed(f"only {result['resumed']} of {result['count']} sessions were resumed")
        return {"cpu": result["cpu"] * 1e6, "rate": result["per_second"],
                "p50": result["microseconds"]["p50"], "p99": result["microseconds"]["p99"]}
    return Row(key, listener, measure, {
        "cpu": Figure(f"{title}: CPU, µs", goal=goal),
        "rate": Figure("… a second", shown=table == "starttls", more_is_better=True),
        "p50": Figure("… median, µs", shown=False),
        "p99": Figure("… 99th percentile, µs", shown=False),
    }, table)


def echo_only(measure):
    """For what needs a stream of bytes: proxies that speak HTTP alone have none."""
    def checked(bench, peer, proxy):
        if peer.talk != "echo":
            raise PeerFailed("proxies HTTP only")
        return measure(bench, proxy)
    return checked


def bulk(way, goal):
    def measure(bench, proxy):
        result = bench.costs(proxy, lambda: bench.load("bulk", "ecdsa", way, "--mib", bench.mib))
        return {"cpu": result["cpu"] * 1e9, "rate": result["per_second"] / 1e6}
    return Row(way, "ecdsa", echo_only(measure), {
        "cpu": Figure(f"{way}: CPU, ns a byte", goal=goal),
        "rate": Figure("… MB a second", shown=False, more_is_better=True),
    })


def echoes(bench, proxy):
    result = bench.costs(proxy, lambda: bench.load("rate", "ecdsa", "--seconds", bench.seconds))
    times = result["microseconds"]
    return {"cpu": result["cpu"] * 1e6, "p50": times["p50"], "p99": times["p99"], "p99.9": times["p99.9"]}


def silent(bench, proxy):
    return bench.held(proxy, "ecdsa", SILENT)


def silent_imap(key, title, *words):
    def measure(bench, _, proxy):
        return bench.held(proxy, "imap", SILENT_IMAP, "--starttls", "--talk", "login", *words)
    return Row(f"silent-imap-{key}", "imap", measure, {"bytes": Figure(f"silent IMAP session, {title}: bytes")},
               "starttls", fresh=True)


def requests(key, title, *words, goal=None):
    """As many requests as the proxy answers."""
    def measure(bench, _, proxy):
        result = bench.h2load(proxy, *words)
        return {"cpu": result["cpu"] * 1e6, "rate": result["per_second"]}
    return Row(key, "https", measure, {
        "cpu": Figure(f"{title}: CPU, µs", goal=goal),
        "rate": Figure("… a second", more_is_better=True),
    }, "http")


def steady_requests(key, title, *words):
    """Requests at a rate that every proxy can answer: what counts is how long they wait."""
    def measure(bench, _, proxy):
        result = bench.h2load(proxy, *words)
        return {"p50": result["p50"], "p99": result["p99"]}
    return Row(key, "https", measure, {
        "p50": Figure(f"{title}: median, µs"),
        "p99": Figure("… 99th percentile, µs"),
    }, "http")


def large_responses(key, title, *words):
    def measure(bench, _, proxy):
        result = bench.h2load(proxy, *words, path="/mib")
        return {"cpu": result["cpu"] * 1e6, "rate": result["per_second"]}
    return Row(key, "https", measure, {
        "cpu": Figure(f"{title}: CPU, µs"),
        "rate": Figure("… a second", more_is_better=True),
    }, "http")


ROWS = [
    Row("silent", "ecdsa", echo_only(silent), {
        "bytes": Figure("memory of an idle connection, bytes", goal=0.30),
        "probe": Figure("… echo beside them, median, µs", shown=False),
    }, fresh=True),
    handshakes("full", "full handshake, TLS 1.3, ECDSA P-256, X25519", goal=0.60),
    handshakes("full-hybrid", "… with X25519MLKEM768", "--group", "x25519mlkem768", goal=0.72),
    handshakes("full-rsa", "… with RSA-2048", "--name", "rsa.example.test", listener="rsa", goal=0.60),
    handshakes("full-1.2", "full handshake, TLS 1.2, ECDSA P-256", "--tls", "1.2", goal=0.60),
    handshakes("resumed", "resumed handshake, TLS 1.3", "--resume", goal=0.72),
    handshakes("resumed-1.2", "resumed handshake, TLS 1.2", "--resume", "--tls", "1.2", goal=0.72),
    bulk("download", 0.58),
    bulk("upload", 0.56),
    Row("echo", "ecdsa", echo_only(echoes), {
        "cpu": Figure("128 bytes echoed, 2,000 a second: CPU, µs"),
        "p50": Figure("… latency, median, µs", goal=1.0),
        "p99": Figure("… latency, 99th percentile, µs"),
        "p99.9": Figure("… latency, 99.9th percentile, µs", shown=False),
    }),
    requests("http1", "HTTP/1.1 request", "--h1", "-c", 20, goal=1.0),
    requests("http2", "HTTP/2 request", "-c", 4, "-m", 10, goal=1.0),
    steady_requests("http1-steady", "HTTP/1.1, 2,000 requests a second", "--h1", "-c", 20, "--rps", 100),
    steady_requests("http2-steady", "HTTP/2, 2,000 requests a second", "-c", 4, "-m", 10, "--rps", 500),
    large_responses("http1-mib", "HTTP/1.1, a response of 1 MiB", "--h1", "-c", 4),
    large_responses("http2-mib", "HTTP/2, a response of 1 MiB", "-c", 4, "-m", 2, "-w", 20, "-W", 24),
    handshakes("imap", "IMAP STARTTLS with login", "--starttls", listener="imap", talk="login",
               table="starttls", goal=0.40),
    silent_imap("logged-in", "logged in"),
    silent_imap("encrypted", "in TLS, not logged in", "--stage", "encrypted"),
    silent_imap("greeted", "greeted, in clear", "--stage", "greeted"),
]
