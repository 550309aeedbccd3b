"""Samples of a run, their medians, and the file that they are kept in."""

import datetime
import json
import statistics
from pathlib import Path


class Results:
    """All samples of one section: for each line (row and figure) and peer a list, a sample a round."""

    def __init__(self, section, commit, machine, settings, peers):
        self.section = section
        self.about = {
            "commit": commit, "date": datetime.date.today().isoformat(), "machine": machine, "settings": settings,
            "peers": [{"name": peer.name, "title": peer.title, "version": peer.version(),
                       "settings": peer.settings, "own": peer.own} for peer in peers],
        }
        self.samples = {}
        self.failures = {}

    def add(self, row, peer, figures):
        for figure, value in figures.items():
            if value is not None:
                line = self.samples.setdefault(row, {}).setdefault(figure, {})
                line.setdefault(peer.name, []).append(value)

    def fail(self, row, peer, error):
        self.failures.setdefault(row, {})[peer.name] = str(error)

    def peers(self):
        """Names and titles."""
        return {peer["name"]: peer["title"] for peer in self.about["peers"]}

    def get(self, row, figure, peer):
        return self.samples.get(row, {}).get(figure, {}).get(peer, [])

    def median(self, row, figure, peer):
        samples = self.get(row, figure, peer)
        return statistics.median(samples) if samples else None

    def write(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"section": self.section, **self.about, "samples": rounded(self.samples),
                   "failures": self.failures}
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path):
        content = json.loads(Path(path).read_text())
        results = cls.__new__(cls)
        results.section = content.pop("section")
        results.samples = content.pop("samples")
        results.failures = content.pop("failures")
        results.about = content
        return results


def rounded(samples):
    """Five significant digits: the sixth was never measured."""
    if isinstance(samples, dict):
        return {key: rounded(value) for key, value in samples.items()}
    return [float(f"{value:.5g}") for value in samples]
