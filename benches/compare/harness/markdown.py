"""Results as tables in Markdown, and their places in docs/performance.md.

A place is what stands between `<!-- NAME, written by benches/compare/run -->` and the next `<!-- end -->`.
"""

import re

from . import certificates, growth
from .rows import ROWS


def number(value):
    """Three digits that count, thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def cell(samples):
    """The median of the rounds, and the lowest and the highest of them."""
    if not samples:
        return "–"
    ordered = sorted(samples)
    half = len(ordered) // 2
    median = ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
    if len(ordered) == 1:
        return number(median)
    return f"{number(median)} ({number(ordered[0])}–{number(ordered[-1])})"


def table(header, lines):
    rules = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rules, *lines])


def best_of(results, row, name, figure, own):
    """The best of the peers in a line, or the one that the goal names."""
    others = {peer: results.median(row, name, peer) for peer in results.peers() if peer not in own}
    others = {peer: value for peer, value in others.items() if value}
    if figure.against:
        others = {peer: value for peer, value in others.items() if peer == figure.against}
    if not others:
        return None
    return (max if figure.more_is_better else min)(others, key=others.get)


def line_of(results, row, name, figure, own, title=None):
    """One line: title, each peer, Gatepost's ratio to the best of them, and the goal."""
    peers = results.peers()
    line = [title or figure.title] + [cell(results.get(row, name, peer)) for peer in peers]
    best, ours = best_of(results, row, name, figure, own), results.median(row, name, "gatepost")
    ratio = "–"
    if best and ours is not None:
        ratio = f"{ours / results.median(row, name, best):.2f} ({peers[best]})"
    line.append(ratio)
    for candidate in own[1:]:
        theirs = results.median(row, name, candidate)
        line.append(f"{theirs / ours:.3f}" if theirs and ours else "–")
    line.append(f"≤ {figure.goal:.2f}" if figure.goal and ratio != "–" else "")
    return line


def own_names(results):
    """Gatepost, and other builds of it."""
    return [peer["name"] for peer in results.about["peers"] if peer["own"]]


def comparison(results, lines):
    """A table of (row, figure name, figure, title) for all peers that have any of it."""
    own = own_names(results)
    peers = results.peers()
    header = [""] + list(peers.values()) + ["ratio to the best peer"]
    header += [f"{name} ÷ Gatepost" for name in own[1:]] + ["goal"]
    lines = [line_of(results, row, name, figure, own, title) for row, name, figure, title in lines]
    used = [index for index in range(len(header))
            if index == 0 or any(line[index] not in ("–", "") for line in lines)]
    return table([header[index] for index in used], [[line[index] for index in used] for line in lines])


def rows_table(results, which, everything=False):
    lines = [(row.key, name, figure, None) for row in ROWS if row.table == which and row.key in results.samples
             for name, figure in row.figures.items()
             if name in results.samples[row.key] and (figure.shown or everything)]
    return comparison(results, lines) if lines else ""


def certificates_table(results, everything=False):
    lines = [(row, name, figure, f"{int(row):,}: {figure.title}") for row in results.samples
             for name, figure in certificates.figures(row).items() if figure.shown or everything]
    return comparison(results, lines) if lines else ""


def growth_table(results, everything=False):
    lines = [(row, name, figure, f"{growth.title(row)}: {figure.title}") for row in results.samples
             for name, figure in growth.figures(row).items() if figure.shown or everything]
    return comparison(results, lines) if lines else ""


def about(results):
    """What the run was made with and on."""
    made, machine = results.about, results.about["machine"]
    measured = {peer for row in results.samples.values() for line in row.values() for peer in line}
    lines = [f"- {peer['title']} {peer['version']}: {peer['settings']}." for peer in made["peers"] if peer["name"] in measured]
    if made["commit"]:
        lines.append(f"- Gatepost of commit {made['commit']}.")
    settings = made["settings"]
    lines.append(f"- {settings['rounds']} interleaved round{'s' * (settings['rounds'] > 1)}, {settings['seconds']:g} s a row, {made['date']}. {machine['cpu']}"
                 f" (family, model, stepping {'/'.join(map(str, machine['cpu_family_model_stepping']))}),"
                 f" {machine['cores']} cores, {machine['memory_gib']} GiB, Linux {machine['kernel']}, {machine['system']}."
                 f" Load average before the run: {machine['load_average']:.1f}.")
    if note := settings.get("note"):
        lines.append(f"- {note}")
    return "\n".join(lines)


def sections(results, everything=False):
    """Name and text of each place that these results fill."""
    if results.section == "peers":
        made = [(name, rows_table(results, name, everything)) for name in ("peers", "http", "starttls")]
    elif results.section == "certificates":
        made = [("certificates", certificates_table(results, everything))]
    else:
        made = [("growth", growth_table(results, everything))]
    made = [(name, text) for name, text in made if text]
    return made + [(f"{results.section}-about", about(results))]


def put(document, name, text):
    """Puts a text into its place in a document."""
    place = re.compile(rf"(<!-- {re.escape(name)}, written by benches/compare/run -->\n).*?(<!-- end -->)", re.DOTALL)
    if not place.search(document):
        raise SystemExit(f"docs/performance.md has no place for {name!r}")
    return place.sub(lambda found: f"{found[1]}{text}\n{found[2]}", document)
