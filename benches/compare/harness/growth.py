"""How figures grow: with silent connections, and with threads."""

from dataclasses import replace

from .peer import PeerFailed
from .rows import ROWS, Figure

CONNECTIONS = (1000, 5000, 9000)
THREADS = (1, 2)

# What is repeated with another number of threads.
BUSY = ("full", "download")

SILENT = {"bytes": Figure("bytes each"), "probe": Figure("echo beside them, median, µs")}


def title(row):
    kind, amount, *what = row.split("/")
    if kind == "silent":
        return f"{int(amount):,} idle connections"
    return f"{amount} thread{'s' if amount != '1' else ''}, {what[0]}"


def figures(row):
    kind, _, *what = row.split("/")
    if kind == "silent":
        return SILENT
    busy = next(each for each in ROWS if each.key == what[0])
    plain = {name: replace(figure, goal=None) for name, figure in busy.figures.items()}
    cpu, rate = plain["cpu"], plain["rate"]
    unit = cpu.title.rpartition(": ")[2]
    return {"cpu": replace(cpu, title=unit), "rate": replace(rate, title=rate.title.strip("… "), shown=True)}


def measure(bench, peer, results):
    """One round of all of it on one peer."""
    if peer.talk != "echo":
        return
    for connections in CONNECTIONS:
        row = f"silent/{connections}"
        attempt(results, row, peer, lambda bench, proxy: {
            name: value for name, value in bench.held(proxy, "ecdsa", connections).items() if name in SILENT
        }, bench)
    if not peer.spec["threaded"]:
        return
    for threads in THREADS:
        cores = tuple(range(threads))
        wider = replace(bench, threads=threads, proxy_cores=cores)
        for key in BUSY:
            busy = next(each for each in ROWS if each.key == key)

            def work(bench, proxy, busy=busy):
                found = busy.measure(bench, peer, proxy)
                return {name: found[name] for name in ("cpu", "rate")}
            attempt(results, f"threads/{threads}/{key}", peer, work, wider)


def attempt(results, row, peer, work, bench):
    try:
        with bench.server(), peer.running(bench) as proxy:
            results.add(row, peer, work(bench, proxy))
    except PeerFailed as error:
        results.fail(row, peer, error)
