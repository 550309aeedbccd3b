"""Answers that are malformed, that say more than was asked for, or that have no end.

strict=ADDRESS: where the server that gives them listens, with listener `https` of the proxy before it.
"""

import socket
import sys
import threading

from http2_wire import Http2, pseudo
from http_wire import address, connect, responses

HEAD = b"HTTP/1.1 200 OK\r\n"
OTHER = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"
WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell"
# What is said, and what the client hears: a status and a body, "cut" if the body ends too early.
TABLE = {
    "well": (WELL, "200 well"),
    "two answers": (WELL + OTHER, "200 well"),
    "an answer and a half": (WELL + OTHER[:20], "200 well"),
    "more than the length": (HEAD + b"Content-Length: 2\r\n\r\nwell", "200 we"),
    "less than the length": (HEAD + b"Content-Length: 9\r\n\r\nwell", "cut"),
    "no length": (HEAD + b"\r\nwell", "200 well"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nwell", "200 well"),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nwell\r\n0\r\n\r\n", "200 well"),
    "chunks and a length": (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwell\r\n0\r\n\r\n", "200 well"),
    "chunks and another answer": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nwell\r\n0\r\n\r\n" + OTHER, "200 well"),
    "chunks without an end": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nwell\r\n", "cut"),
    "a chunk of another size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nwell\r\n0\r\n\r\n", "cut"),
    "a chunk of no size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nwell\r\n0\r\n\r\n", "cut"),
    "two lengths": (HEAD + b"Content-Length: 4\r\nContent-Length: 2\r\n\r\nwell", "502"),
    "two lengths in one": (HEAD + b"Content-Length: 4, 2\r\n\r\nwell", "502"),
    "a length with a plus": (HEAD + b"Content-Length: +4\r\n\r\nwell", "502"),
    "a negative length": (HEAD + b"Content-Length: -4\r\n\r\nwell", "502"),
    "a length of letters": (HEAD + b"Content-Length: four\r\n\r\nwell", "502"),
    "a space before the colon": (HEAD + b"Content-Length : 4\r\n\r\nwell", "502"),
    "a folded field": (HEAD + b"X: 1\r\n 2\r\nContent-Length: 4\r\n\r\nwell", "502"),
    "a NUL in a value": (HEAD + b"X: \x00\r\nContent-Length: 4\r\n\r\nwell", "502"),
    "a CR in a value": (HEAD + b"X: 1\r2\r\nContent-Length: 4\r\n\r\nwell", "502"),
    "a field without a colon": (HEAD + b"X\r\nContent-Length: 4\r\n\r\nwell", "502"),
    "more than 100 fields": (HEAD + b"X: 1\r\n" * 200 + b"Content-Length: 4\r\n\r\nwell", "502"),
    "fields without an end": (HEAD + b"X: 1\r\n" * 100_000, "502"),
    "a value of a mebibyte": (HEAD + b"X: " + b"1" * (1 << 20) + b"\r\nContent-Length: 4\r\n\r\nwell", "502"),
    "a change that nobody asked for": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "502"),
    "a status of two digits": (b"HTTP/1.1 20 OK\r\nContent-Length: 4\r\n\r\nwell", "502"),
    "a status of four digits": (b"HTTP/1.1 2000 OK\r\nContent-Length: 4\r\n\r\nwell", "502"),
    "HTTP/2.0": (b"HTTP/2.0 200 OK\r\nContent-Length: 4\r\n\r\nwell", "502"),
    "SMTP": (b"220 mail.example.com ESMTP\r\n", "502"),
    "nothing": (b"", "502"),
    "bytes": (bytes(range(256)), "502"),
    "no content, with some": (b"HTTP/1.1 204 No Content\r\n\r\n" + OTHER, "204 "),
    "no content, with a length": (b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nwell", "204 "),
    "not modified, with some": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n" + OTHER, "304 "),
    "hints before": (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + WELL, "200 well"),
    "trailers of the connection": (
        HEAD + b"Trailer: X-Sum, X-Own, Keep-Alive, Connection\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwell\r\n0\r\n"
        b"X-Sum: 7\r\nConnection: X-Own\r\nX-Own: 1\r\nKeep-Alive: timeout=5\r\n\r\n",
        "200 well",
    ),
    "fields of the connection": (HEAD + b"Connection: close, X-Own\r\nX-Own: 1\r\nKeep-Alive: timeout=1\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\nwell", "200 well"),
}
# What ends with its connection.
ENDS = ("no length", "HTTP/1.0", "nothing", "SMTP", "fields without an end")
cases = list(TABLE)


def serve(connection):
    """Gives the answer that is asked for by its number, and then waits for more, or ends."""
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
            while b"\r\n\r\n" in data:
                head, _, data = data.partition(b"\r\n\r\n")
                _, target, _ = head.split(b"\r\n")[0].split(b" ")
                if target == b"/next":
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext")
                    continue
                name = cases[int(target[1:])]
                said, wanted = TABLE[name]
                connection.sendall(said)
                if wanted == "cut" or name in ENDS:
                    return
    except OSError:
        pass
    finally:
        connection.close()


def accept(server):
    while True:
        connection, _ = server.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


threading.Thread(target=accept, args=(socket.create_server(address("strict"), backlog=128),), daemon=True).start()
faults = []
OF_CONNECTION = {"connection", "keep-alive", "upgrade", "x-own", "transfer-encoding"}


def heard_in_http1(target, method=b"GET"):
    connection = connect()
    connection.sendall(b"%b %b HTTP/1.1\r\nHost: mail.example.com\r\nConnection: close\r\n\r\n" % (method, target))
    got = b""
    try:
        while part := connection.recv(65536):
            got += part
    except OSError:
        pass
    if method == b"HEAD":
        hints, _, rest = got.partition(b"\r\n\r\n")
        head, _, body = rest.partition(b"\r\n\r\n") if hints[9:12] == b"103" else (hints, None, rest)
        return f"{head[9:12].decode()} {body.decode()}", {}
    try:
        *_, (status, fields, body) = responses(got)
    except AssertionError:
        return "cut", {}
    if fields.get("transfer-encoding") == "chunked":
        parts = body.split(b"\r\n")
        if parts[-3:] != [b"0", b"", b""]:
            return "cut", fields
        body = b"".join(parts[1:-3:2])
    return f"{status}" if status == 502 else f"{status} {body.decode()}", fields


def heard_in_http2(target):
    http = Http2()
    http.send(http.headers(1, pseudo(path=target.decode())))
    status, body = "", b""
    while frame := http.receive():
        kind = type(frame).__name__
        if getattr(frame, "stream_id", 0) != 1:
            continue
        if kind == "HeadersFrame":
            fields = dict(http.decoder.decode(frame.data))
            # With trailers, those too.
            for name in set(fields) & OF_CONNECTION:
                faults.append(f"{target.decode()}: {name} in HTTP/2")
            status = fields.get(":status", status)
        elif kind == "DataFrame":
            body += frame.data
        elif kind == "RstStreamFrame" and frame.error_code:
            return "cut"
        if kind != "RstStreamFrame" and "END_STREAM" in frame.flags:
            return status if status == "502" else f"{status} {body.decode()}"
    return "cut"


def check(name, what, found, wanted):
    if found != wanted:
        faults.append(f"{name}: {what} {found!r} instead of {wanted!r}")


for n, name in enumerate(cases):
    target, wanted = b"/%d" % n, TABLE[name][1]
    found, fields = heard_in_http1(target)
    check(name, "HTTP/1.1 hears", found, wanted)
    # The next one hears nothing of what was said too much.
    check(name, "the next hears", heard_in_http1(b"/next")[0], "200 next")
    check(name, "HTTP/2 hears", heard_in_http2(target), wanted)
    check(name, "the next hears", heard_in_http1(b"/next")[0], "200 next")
    status = wanted.partition(" ")[0]
    if status == "200":
        check(name, "HEAD hears", heard_in_http1(target, b"HEAD")[0], "200 ")
        check(name, "the next hears", heard_in_http1(b"/next")[0], "200 next")
    for field in ("x-own", "keep-alive", "upgrade"):
        if field in fields:
            faults.append(f"{name}: {field} was passed on")
print(f"{len(TABLE)} answers")
if faults:
    print(f"{len(faults)} faults:", *faults, sep="\n")
    sys.exit(1)
