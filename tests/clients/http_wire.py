"""What the clients of HTTP share: raw bytes over TLS, and a server that takes nothing but the strictest HTTP.

Their arguments are words NAME=VALUE. `ca` is a file, an address is HOST:PORT.
"""

import re
import socket
import ssl
import sys
import threading
from dataclasses import dataclass, field

arguments = dict(word.split("=", 1) for word in sys.argv[1:])
NAME = "mail.example.com"
PATIENCE = 30


def address(word):
    host, port = arguments[word].rsplit(":", 1)
    return host, int(port)


def connect(word="https", alpn="http/1.1", source="127.0.0.2"):
    """A connection over TLS to one of the proxy's listeners."""
    context = ssl.create_default_context(cafile=arguments["ca"])
    context.set_alpn_protocols([alpn])
    plain = socket.create_connection(address(word), PATIENCE, (source, 0))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname=NAME)


def rest(connection):
    """Everything up to its end, which must come by itself."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ssl.SSLEOFError:
        pass
    return b"".join(parts)


def responses(data):
    """The responses in what came on a connection: (status, fields, body)."""
    found = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        line, *lines = head.split(b"\r\n")
        assert end and re.fullmatch(rb"HTTP/1\.[01] \d{3} [ -~]*", line), f"no response: {head + data!r}"
        fields = {}
        for each in lines:
            name, value = each.split(b": ", 1)
            fields[name.lower().decode()] = value.decode()
        status = int(line[9:12])
        body = b""
        if status >= 200 and status not in (204, 304):
            if "content-length" in fields:
                n = int(fields["content-length"])
                body, data = data[:n], data[n:]
                assert len(body) == n, f"{n} bytes were promised, and {body!r} came"
            else:
                body, data = data, b""
        found.append((status, fields, body))
    return found


@dataclass
class Seen:
    """A request as the strict server understood it; `fault` is why it would rather not."""

    raw: bytes
    method: str = ""
    target: str = ""
    fields: list = field(default_factory=list)
    body: bytes = b""
    trailers: list = field(default_factory=list)
    fault: str = ""

    def values(self, name):
        return [value for found, value in self.fields if found.lower() == name]

    def __str__(self):
        if self.fault:
            return f"{self.fault}: {self.raw[:300]!r}"
        said = f"{self.method} {self.target}"
        return f"{said} {self.body.decode('latin-1')}" if self.body else said


class Fault(Exception):
    pass


TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
VALUE = rb"(?:[!-~\x80-\xff](?:[ \t!-~\x80-\xff]*[!-~\x80-\xff])?)?"
TARGET = rb"/[!-~]*|\*"
OF_CONNECTION = ("keep-alive", "proxy-connection", "proxy-authorization", "te", "http2-settings", "proxy")
NOT_IN_TRAILERS = ("content-length", "transfer-encoding", "host", "connection", "authorization", "cookie", "te", "x-forwarded-for")


class Strict:
    """Records every request that reaches it, and answers all of them alike."""

    def __init__(self, at, answer=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"):
        self.seen = []
        self.answer = answer
        self.lock = threading.Lock()
        self.server = socket.create_server(at, backlog=1024)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.server.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def take(self):
        """What has come since the last time."""
        with self.lock:
            seen, self.seen = self.seen, []
        return seen

    def serve(self, connection):
        reader = Reader(connection)
        try:
            while reader.more():
                reader.raw = b""
                seen = Seen(b"")
                try:
                    self.request(reader, seen)
                except Fault as fault:
                    seen.fault = str(fault)
                seen.raw = reader.raw
                with self.lock:
                    self.seen.append(seen)
                connection.sendall(self.answer)
                if seen.fault:
                    break
        except OSError:
            pass
        connection.close()

    @staticmethod
    def request(reader, seen):
        line = reader.line()
        match = re.fullmatch(rb"(%b) (%b) HTTP/1\.1" % (TOKEN, TARGET), line)
        if not match:
            raise Fault("no request line")
        seen.method, seen.target = (part.decode() for part in match.groups())
        seen.fields = fields(reader)
        if len(seen.values("host")) != 1:
            raise Fault("not one Host")
        lengths, codings = seen.values("content-length"), seen.values("transfer-encoding")
        if len(lengths) + len(codings) > 1:
            raise Fault("more than one length")
        for name in OF_CONNECTION:
            if seen.values(name) not in ([], ["trailers"] if name == "te" else []):
                raise Fault(f"{name} was passed on")
        if lengths:
            if not re.fullmatch(r"\d{1,18}", lengths[0]):
                raise Fault("the length is no number")
            seen.body = reader.exactly(int(lengths[0]))
        elif codings:
            if codings[0] != "chunked":
                raise Fault("an unknown coding")
            while True:
                size = reader.line()
                if not re.fullmatch(rb"[0-9A-Fa-f]{1,15}", size):
                    raise Fault("no size of a chunk")
                if not int(size, 16):
                    break
                seen.body += reader.exactly(int(size, 16))
                if reader.exactly(2) != b"\r\n":
                    raise Fault("a chunk of another size")
            seen.trailers = fields(reader)
            for name, _ in seen.trailers:
                if name.lower() in NOT_IN_TRAILERS:
                    raise Fault(f"{name} in the trailers")


def fields(reader):
    found = []
    while line := reader.line():
        match = re.fullmatch(rb"(%b): ?(%b)" % (TOKEN, VALUE), line)
        if not match:
            raise Fault(f"no field: {line!r}")
        found.append(tuple(part.decode("latin-1") for part in match.groups()))
    return found


class Reader:
    """Lines end in CR LF, and have neither of them inside."""

    def __init__(self, connection):
        self.connection = connection
        self.buffer = self.raw = b""

    def more(self):
        if not self.buffer:
            self.buffer = self.connection.recv(65536)
        return bool(self.buffer)

    def exactly(self, n):
        while len(self.buffer) < n:
            part = self.connection.recv(65536)
            if not part:
                self.raw += self.buffer
                raise Fault(f"cut off: {n} bytes were promised")
            self.buffer += part
        taken, self.buffer = self.buffer[:n], self.buffer[n:]
        self.raw += taken
        return taken

    def line(self):
        line = b""
        while not line.endswith(b"\n"):
            line += self.exactly(1)
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise Fault(f"no line: {line!r}")
        return line[:-2]
