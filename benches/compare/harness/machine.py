"""What a run was made on and with."""

import os
import platform
import re
import subprocess
from pathlib import Path


def describe():
    """The machine, as far as its figures depend on it."""
    cpu = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        cpu.setdefault(key.strip(), value.strip())
    memory = Path("/proc/meminfo").read_text().split()[1]
    return {
        "cpu": cpu.get("model name", platform.machine()),
        "cpu_family_model_stepping": [cpu.get(key) for key in ("cpu family", "model", "stepping")],
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory) / 2**20),
        "kernel": platform.release(),
        "system": system_name(),
        "load_average": os.getloadavg()[0],
    }


def system_name():
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()


def commit(repository):
    """The commit that is checked out, and whether files differ from it."""
    run = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=repository, capture_output=True, text=True)
    return run.stdout.strip() or None


def version_of(command):
    """The version of a program and of its TLS library, as far as it says them."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except OSError as error:
        return f"unknown ({error.strerror})"
    said = run.stdout + run.stderr
    version = re.search(r"\d+(\.\d+)+(-[\w.+~]+)?", said)
    library = re.search(r"(?:OpenSSL|AWS-LC) [\d.]+\w*|BoringSSL", said)
    return (version[0] if version else "unknown") + (f" ({library[0]})" if library else "")
