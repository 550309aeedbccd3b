"""Sends every request of the table of http1_table.py, and looks at what is answered and what reaches whom.

strict=ADDRESS: where our strict server listens, with listener `https` of the proxy before it.
nginx=ADDRESS: the listener before nginx, whose access log is `log`.
"""

import os
import socket
import sys
import time

from http_wire import PATIENCE, Strict, address, arguments, connect, responses, rest
from http1_table import EITHER, TABLE, TAIL, tail


def ask(listener, case):
    connection = connect(listener)
    try:
        if case.cut:
            connection.sendall(case.raw)
            # The end of what it says, without the end of TLS.
            half_close(connection)
        else:
            connection.sendall(case.raw + TAIL)
    except (BrokenPipeError, ConnectionResetError):
        # It was told to go before it had said everything.
        pass
    return rest(connection)


def half_close(connection):
    plain = socket.socket(fileno=os.dup(connection.fileno()))
    plain.shutdown(socket.SHUT_WR)
    plain.close()


faults = []


def check(case, what, found, wanted):
    if found != wanted:
        faults.append(f"{case.name}: {what}: {found} instead of {wanted}\n    {case.raw[:200]!r}")


def run(listener, case):
    try:
        got = responses(ask(listener, case))
    except (OSError, AssertionError) as error:
        faults.append(f"{case.name} ({listener}): {error!r}\n    {case.raw[:200]!r}")
        return
    statuses = [status for status, _, _ in got]
    found = [EITHER if EITHER in case.answers and one in EITHER else one for one in statuses]
    check(case, f"answers by {listener}", found, case.answers)
    refused = [response for response in got if response[0] >= 400]
    for status, fields, body in refused:
        if status == 400 and fields.get("connection") != "close":
            faults.append(f"{case.name}: {status} without Connection: close")
        if b"Request " not in body:
            faults.append(f"{case.name}: {status} with {body!r}")


strict = Strict(address("strict"))
started = time.monotonic()
for case in TABLE:
    run("https", case)
    seen = strict.take()
    # The end of a broken one may come as late as this.
    seen = [each for each in seen if not (each.fault.startswith("cut off") and each.target == "/read?cut")]
    check(case, "reached", [str(each) for each in seen], case.reached)
    if case.look and len(seen) == len(case.reached):
        try:
            case.look(seen[0])
        except AssertionError as error:
            faults.append(f"{case.name}: {error}: {seen[0].raw!r}")
for_nginx = [case for case in TABLE if not case.strict_only]
for case in for_nginx:
    run("nginx", case)
wanted = [request.split(" ")[:2] for case in for_nginx for request in case.reached]
wanted.append(["GET", "/read?marker"])
rest_of = connect("nginx")
rest_of.sendall(tail("/read?marker"))
rest(rest_of)


def understood():
    with open(arguments["log"], encoding="latin-1") as log:
        lines = [line.split(" ") for line in log if "/read?cut" not in line]
    return [line[2:4] for line in lines], [line for line in lines if line[4] != "200"]


deadline = time.monotonic() + PATIENCE
while ["GET", "/read?marker"] not in understood()[0] and time.monotonic() < deadline:
    time.sleep(0.01)
found, refused = understood()
if sorted(found) != sorted(wanted):
    strange = [line for line in found if line not in wanted] or [line for line in wanted if line not in found]
    faults.append(f"nginx understood {len(found)} requests instead of {len(wanted)}: {strange}")
if refused:
    faults.append(f"nginx refused {refused}")
print(f"{len(TABLE)} requests in {time.monotonic() - started:.1f} s")
if faults:
    print(f"{len(faults)} faults:", *faults, sep="\n")
    sys.exit(1)
