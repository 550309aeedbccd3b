"""A run from its arguments to its tables."""

import argparse
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from . import bench, certificates, growth, machine, markdown
from .peer import PeerFailed, all_peers
from .results import Results
from .rows import ROWS

HERE = Path(__file__).resolve().parent.parent
REPOSITORY = HERE.parent.parent
TARGET = REPOSITORY / "target"
KEPT = HERE / "results"
DOCUMENT = REPOSITORY / "docs" / "performance.md"
SECTIONS = ("peers", "certificates", "growth")


def words(text):
    return text.split(",")


def numbers(text):
    return list(map(int, text.split(",")))


def candidate(text):
    name, separator, path = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=PROGRAM, another build of gatepost")
    return name, program(path)


def program(text):
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no program {text}")
    return Path(text).resolve()


def arguments():
    parser = argparse.ArgumentParser(
        prog="benches/compare/run",
        description="Puts Gatepost beside other TLS proxies: one after the other on one core, the same load on each from "
                    "another core, in interleaved rounds. Prints tables in Markdown: medians, and the lowest and highest round.")
    what = parser.add_argument_group("what is measured")
    what.add_argument("--section", type=words, default=SECTIONS, metavar="SECTION,…",
                      help="of peers, certificates and growth (all)")
    what.add_argument("--only", type=words, metavar="WORD,…", help="only rows of `peers` that have one of these words in key or title")
    what.add_argument("--select", type=words, metavar="PEER,…", help="only these proxies")
    what.add_argument("--candidate", type=candidate, action="append", default=[], metavar="NAME=PROGRAM",
                      help="another build of gatepost, measured beside; may be repeated")
    what.add_argument("--gatepost", type=program, metavar="PROGRAM", help="gatepost itself (built, target/release/gatepost)")
    what.add_argument("--many", type=numbers, default=[1000, 10_000, 100_000], metavar="N,…", help="numbers of certificates (%(default)s)")
    what.add_argument("--many-peers", type=int, default=10_000, metavar="N", help="the most that the others are given (%(default)s)")
    how = parser.add_argument_group("how")
    how.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    how.add_argument("--seconds", type=float, default=3, help="of load for a row (%(default)s)")
    how.add_argument("--mib", type=int, default=1024, help="of a bulk transfer (%(default)s)")
    how.add_argument("--ports", type=int, default=28_600, metavar="BASE", help="first of six ports on 127.0.0.1 (%(default)s)")
    output = parser.add_argument_group("what becomes of it")
    output.add_argument("--json", type=Path, metavar="FOLDER", default=TARGET / "compare" / "results",
                        help="all samples, a file for each section (%(default)s)")
    output.add_argument("--all-figures", action="store_true", help="print what the document leaves out as well")
    output.add_argument("--note", help="a sentence about the run, kept with it")
    output.add_argument("--keep", action="store_true", help=f"keep the samples in {KEPT.relative_to(REPOSITORY)} and write the document")
    instead = parser.add_argument_group("instead of a run")
    instead.add_argument("--list", action="store_true", help="show rows and proxies, and check the configurations of all")
    instead.add_argument("--document", action="store_true", help="write the document's tables from the kept samples")
    instead.add_argument("--check-document", action="store_true", help="fail if they are not what the kept samples say")
    return parser.parse_args()


def main():
    args = arguments()
    if args.document or args.check_document:
        return write_document(check=args.check_document)
    if args.list:
        return show_list(args)
    # Ended from outside, it ends what it has started.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit("ended"))
    bench.raise_descriptor_limit()
    place = bench.Bench(build_load(), TARGET / "compare" / "certificates", bench.ports_from(args.ports), args.seconds, args.mib)
    certificates.make(place, place.certs, "pem/rsa.pem")
    peers = installed(args)
    described = machine.describe()
    # A program that was given can be of any commit: --note may say which.
    commit = None if args.gatepost else machine.commit(REPOSITORY)
    for section in args.section:
        settings = {"rounds": args.rounds, "seconds": args.seconds, "mib": args.mib, "note": args.note}
        results = Results(section, commit, described, settings, peers)
        {"peers": run_peers, "certificates": run_certificates, "growth": run_growth}[section](place, peers, results, args)
        results.write(args.json / f"{section}.json")
        show(results, args)
        if args.keep:
            results.write(KEPT / f"{section}.json")
    if args.keep:
        write_document(check=False)
    return 0


def build_load():
    """The load generator, a package of its own."""
    target = TARGET / "compare"
    subprocess.run(["cargo", "build", "--quiet", "--release", "--locked", "--manifest-path", HERE / "load" / "Cargo.toml",
                    "--target-dir", target], check=True)
    return target / "release" / "gatepost-load"


def installed(args):
    """The proxies to be measured; a missing one is named."""
    gatepost = args.gatepost
    if gatepost is None:
        subprocess.run(["cargo", "build", "--quiet", "--release", "--locked", "--bin", "gatepost"], cwd=REPOSITORY, check=True)
        gatepost = TARGET / "release" / "gatepost"
    peers = all_peers(gatepost, args.candidate)
    if args.select:
        candidates = [name for name, _ in args.candidate]
        peers = [peer for peer in peers if peer.name in args.select or peer.name in candidates]
    for peer in peers:
        say(f"{peer.title}: {peer.version() if peer.program else f'not installed (package {peer.package})'}")
    return [peer for peer in peers if peer.program]


def say(text):
    print(text, file=sys.stderr, flush=True)


def chosen_rows(args):
    def fits(row):
        text = row.key + " " + " ".join(figure.title for figure in row.figures.values())
        return not args.only or any(word in text for word in args.only)
    return [row for row in ROWS if fits(row)]


def run_peers(place, peers, results, args):
    rows = chosen_rows(args)
    for number in range(args.rounds):
        for peer in peers:
            say(f"round {number + 1} of {args.rounds}: {peer.title}")
            own = [row for row in rows if row.listener in peer.listeners]
            for row in own:
                if row.fresh:
                    measure_rows(place, peer, [row], results)
            measure_rows(place, peer, [row for row in own if not row.fresh], results)


def measure_rows(place, peer, rows, results):
    """Rows on one process of a peer."""
    if not rows:
        return
    try:
        with place.server(), peer.running(place) as proxy:
            for row in rows:
                try:
                    results.add(row.key, peer, row.measure(place, peer, proxy))
                except PeerFailed as error:
                    results.fail(row.key, peer, error)
    except PeerFailed as error:
        results.fail("start", peer, error)


def run_certificates(place, peers, results, args):
    own = {"gatepost", *(name for name, _ in args.candidate)}
    for count in args.many:
        for number in range(args.rounds):
            for peer in peers:
                if not peer.has("certificates") or (count > args.many_peers and peer.name not in own):
                    continue
                say(f"{count} certificates, round {number + 1} of {args.rounds}: {peer.title}")
                try:
                    results.add(str(count), peer, certificates.measure(place, peer, count))
                except PeerFailed as error:
                    results.fail(str(count), peer, error)


def run_growth(place, peers, results, args):
    for number in range(args.rounds):
        for peer in peers:
            say(f"growth, round {number + 1} of {args.rounds}: {peer.title}")
            growth.measure(place, peer, results)


def show(results, args):
    for _, text in markdown.sections(results, args.all_figures):
        print(f"{text}\n", flush=True)
    for row, failures in results.failures.items():
        for peer, error in failures.items():
            print(f"{row}, {peer}: {error}")


def write_document(check):
    """Fills the document's tables in from the kept samples."""
    before = document = DOCUMENT.read_text()
    for path in sorted(KEPT.glob("*.json")):
        for name, text in markdown.sections(Results.read(path)):
            document = markdown.put(document, name, text)
    if check and document != before:
        say("docs/performance.md is not what benches/compare/results says: benches/compare/run --document writes it")
        return 1
    if not check:
        DOCUMENT.write_text(document)
    return 0


def show_list(args):
    """Rows and proxies; every template is filled in, and Gatepost checks its own."""
    for row in ROWS:
        titles = [figure.title for figure in row.figures.values() if figure.shown]
        print(f"{row.key:22} {'; '.join(titles)}")
    certs = Path("/nowhere/certificates")
    place = bench.Bench(Path("load"), certs, {name: args.ports + n for n, name in enumerate(bench.PORTS)}, 1, 1)
    many = {"names": ["host0.example.test"], "pem": "/nowhere/pem", "split": "/nowhere/split",
            "extra": "host1.example.test", "extra_pem": "/nowhere/extra", "extra_split": "/nowhere/extra"}
    for peer in all_peers(args.gatepost, []):
        peer.spec.pop("copy", None)
        for part in (None, "certificates"):
            if part and not peer.has(part):
                continue
            with tempfile.TemporaryDirectory() as folder:
                values = place.placeholders() | (many if part else {})
                _, _, values = peer.render(folder, values, part)
                if part:
                    certificates.fill(peer.spec[part]["add"], values | {"pid": 1})
                if peer.name == "gatepost" and args.gatepost:
                    check_own(args.gatepost, Path(folder))
        print(f"{peer.title}: {'installed' if peer.program else f'not installed (package {peer.package})'}; {', '.join(peer.listeners)}")
    return 0


def check_own(gatepost, folder):
    """What `gatepost check` says of our own templates."""
    for path in folder.glob("*.toml"):
        (folder / "sslcert").mkdir(exist_ok=True)
        run = subprocess.run([gatepost, "check", "--config", path], capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(f"{path.name}: {run.stdout}{run.stderr}")
