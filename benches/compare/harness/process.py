"""Processes: what they cost, where they run, and their end."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def family(pid):
    """The process and all that it has started."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
    return found


def cpu_seconds(pid):
    """CPU time of the family so far, user and system, and of those in it that have ended.

    The clock of a process has nanoseconds and counts its threads that have ended as well; its number is
    made as clock_getcpuclockid(3) makes it. Processes that have ended are counted by their parents, in ticks.
    """
    total = 0.0
    for each in family(pid):
        with contextlib.suppress(OSError):
            total += time.clock_gettime((~each << 3) | 2)
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[13]) + int(fields[14])) / TICKS
    return total


def memory_bytes(pid):
    """Proportional set size of the family: shared pages count by their share."""
    total = 0
    for each in family(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def settle(pid):
    """Waits until a proxy is done with what it was given: a quarter of a second nearly without work."""
    before = cpu_seconds(pid)
    for _ in range(40):
        time.sleep(0.25)
        now = cpu_seconds(pid)
        if now - before < 0.003:
            return
        before = now


def start(command, cores, **options):
    """Starts a command on some cores, in a session of its own."""
    return subprocess.Popen(
        list(map(str, command)),
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
        start_new_session=True,
        **options,
    )


def stop(process):
    """Ends a process that `start` has started, and its family."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
