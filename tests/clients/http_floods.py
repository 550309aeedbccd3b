"""Floods, and clients that take their time: what they cost the proxy, and whether others are served meanwhile.

strict=ADDRESS: where our server listens, with listener `https` of the proxy before it. pid: the proxy.
"""

import os
import sys
import threading
import time

from hyperframe.frame import ContinuationFrame, HeadersFrame, PriorityFrame

from http2_wire import ERRORS, DataFrame, Http2, PingFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame, frame, literal, pseudo
from http_wire import Strict, address, arguments, connect, responses

MIB = 1 << 20
LARGE = 8 * MIB
# What one client may cost beyond what there was before: buffers of the kernel are not the proxy's.
MEMORY = 48 * MIB
# Processor time for a frame, of which a debug build needs some microseconds.
PER_FRAME = 60e-6
ticks = os.sysconf("SC_CLK_TCK")
faults = []


def processor():
    with open(f"/proc/{arguments['pid']}/stat") as stat:
        values = stat.read().rpartition(")")[2].split()
    return (int(values[11]) + int(values[12])) / ticks


def memory():
    with open(f"/proc/{arguments['pid']}/smaps_rollup") as maps:
        return next(int(line.split()[1]) * 1024 for line in maps if line.startswith("Pss_Anon:"))


class Bystander:
    """Another client, who asks again and again, on one connection after the other."""

    def __init__(self):
        self.slowest = self.answered = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.ask, daemon=True)
        self.thread.start()

    def ask(self):
        request = b"GET /bystander HTTP/1.1\r\nHost: mail.example.com\r\n\r\n"
        while not self.over.is_set():
            connection = connect(source="127.0.0.3")
            for _ in range(20):
                before = time.monotonic()
                connection.sendall(request)
                got = b""
                while not got.endswith(b"ok"):
                    part = connection.recv(65536)
                    assert part, "nobody answers the bystander"
                    got += part
                assert responses(got)[0][0] == 200, got
                self.slowest = max(self.slowest, time.monotonic() - before)
                self.answered += 1
                if self.over.wait(0.002):
                    break
            connection.close()

    def end(self):
        # At least one that began after everything.
        before = self.answered
        deadline = time.monotonic() + 30
        while self.answered < before + 2 and self.thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        self.over.set()
        self.thread.join()
        return self.answered >= before + 2


class Flood:
    """A connection of HTTP/2 on which the answers are read, or not."""

    def __init__(self, reads=True, settings=None):
        self.http = Http2(settings=settings)
        self.end = None
        self.refused = 0
        self.statuses = []
        self.frames = 0
        if reads:
            threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            while got := self.http.receive():
                if type(got).__name__ == "GoAwayFrame" and got.error_code:
                    self.end = ERRORS[got.error_code]
                if isinstance(got, RstStreamFrame) and ERRORS[got.error_code] == "REFUSED_STREAM":
                    self.refused += 1
                if isinstance(got, HeadersFrame):
                    self.statuses.append(dict(self.http.decoder.decode(got.data))[":status"])
        except (OSError, ValueError) as error:
            self.end = self.end or repr(error)
        self.end = self.end or "closed"

    def send(self, each, n):
        """`each(n)` gives bytes; ends when it is through, or has been thrown out."""
        batch = []
        try:
            for i in range(n):
                data = each(i)
                batch.append(data if isinstance(data, bytes) else data.serialize())
                self.frames += 1
                if len(batch) == 200:
                    self.http.send(*batch)
                    batch.clear()
                    if self.end:
                        return
            self.http.send(*batch)
        except (TimeoutError, OSError) as error:
            # Told to go, or nothing more is read.
            self.end = self.end or ("blocked" if "timed out" in str(error) else "closed")

    def close(self):
        try:
            self.http.socket.close()
        except OSError:
            pass


def wait(condition, patience=30):
    deadline = time.monotonic() + patience
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


def quiet():
    """Returns when the proxy has nothing more to do."""
    before = processor()
    for _ in range(100):
        time.sleep(0.05)
        now = processor()
        if now - before < 0.02:
            return
        before = now


def flood(name, play, ends=None, reached=None):
    """Plays it, and says what it has cost. `ends`: how the proxy ends it; `reached`: how many requests may get through."""
    strict.take()
    quiet()
    cpu, rss, peak = processor(), memory(), [0]
    bystander, over = Bystander(), threading.Event()

    def watch():
        while not over.wait(0.02):
            peak[0] = max(peak[0], memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = bystander.answered
    end, frames = play()
    quiet()
    served = bystander.end()
    over.set()
    watcher.join()
    own = (bystander.answered - before) * 0.004
    cpu, grown = processor() - cpu, max(peak[0], memory()) - rss
    # Of what other floods got through, the last may be read when they are long over.
    others = ("/bystander", "/streams", "/told?reset") if reached == 0 else ("/bystander",)
    through = sum(1 for seen in strict.take() if seen.target not in others)
    print(f"{name}: {frames} frames, {end}; {cpu:.2f} s of CPU, {grown / MIB:.1f} MiB, {through} reached the server; "
          f"bystander {bystander.answered}, slowest {bystander.slowest * 1000:.0f} ms", flush=True)
    if ends is not None and end not in ends:
        faults.append(f"{name}: ended by {end} instead of {ends}")
    if grown > MEMORY:
        faults.append(f"{name}: {grown / MIB:.1f} MiB")
    if cpu > 0.5 + own + frames * PER_FRAME:
        faults.append(f"{name}: {cpu:.2f} s of CPU for {frames} frames")
    if reached is not None and through > reached:
        faults.append(f"{name}: {through} requests reached the server")
    if not served:
        faults.append(f"{name}: others are not served")


def simple(each, n, reads=True, before=None, settings=None):
    def play():
        this = Flood(reads, settings)
        if before:
            this.http.send(*before(this.http))
        this.send(lambda i: each(this.http, i), n)
        if reads and this.end is None:
            # It is heard when a request behind all of it is answered.
            stream = 2_000_001
            try:
                this.http.send(this.http.headers(stream, pseudo(path="/told?tail")))
            except OSError:
                pass
            wait(lambda: this.end is not None or this.statuses)
        end = this.end or ("answered" if this.statuses else "open")
        this.close()
        return end, this.frames

    return play


GONE = ("ENHANCE_YOUR_CALM", "PROTOCOL_ERROR", "closed")


def reset(http, i):
    return http.headers(2 * i + 1, pseudo(path="/told?reset")) + RstStreamFrame(2 * i + 1, error_code=8).serialize()


def made_reset(http, i):
    # CVE-2025-8671: the client makes the server reset.
    update = frame(8, 0, 2 * i + 1, b"\x00" * 4)
    return http.headers(2 * i + 1, pseudo(path="/told?reset")) + update


def half_header(http):
    return (HeadersFrame(1, data=literal("x", "1")),)


def open_post(http):
    return (http.headers(1, pseudo("POST"), end=False),)


def hanging(http):
    return (http.headers(1, pseudo(path="/hang")),)


class Server(Strict):
    """What it says depends on the path."""

    large = hinted = 0

    @staticmethod
    def request(reader, seen):
        Strict.request(reader, seen)
        body = b"x" * 65536
        if seen.target == "/large":
            with strict.lock:
                strict.large += 1
            reader.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
            for _ in range(LARGE // len(body)):
                reader.connection.sendall(body)
            # That was the answer.
            seen.fault = "large"
        elif seen.target == "/hints":
            hint = b"HTTP/1.1 103 Early Hints\r\nLink: " + b"x" * 30_000 + b"\r\n\r\n"
            while True:
                reader.connection.sendall(hint)
                strict.hinted += len(hint)
        elif seen.target == "/hang":
            reader.connection.recv(1)
            seen.fault = "hung"


def bomb():
    this = Flood()
    name = b"\x40" + b"\x01x" + b"\x7f\xa1\x1e" + b"y" * 4_000
    refer = b"\xbe" * 12_000
    this.send(lambda i: this.http.headers(2 * i + 1, [], block=(name if i == 0 else b"") + refer), 200)
    wait(lambda: this.end or len(this.statuses) >= 200)
    this.close()
    return this.end or f"{this.statuses[0]}", this.frames


def begun(n):
    """Returns when so many large answers have begun, and nobody takes more of them."""
    if not wait(lambda: strict.large >= n):
        faults.append(f"{strict.large} large answers were asked for instead of {n}")
    strict.large = 0
    quiet()


def slow_readers(window):
    """128 large answers on each of four connections that take nothing, or little."""

    def play():
        these = [Flood(False, {4: window}) for _ in range(4)]
        for this in these:
            this.send(lambda i, http=this.http: http.headers(2 * i + 1, pseudo(path="/large")), 128)
        begun(4 * 128)
        for _ in range(20):
            for this in these:
                this.send(lambda i: WindowUpdateFrame(2 * i + 1, window_increment=1), 128)
        quiet()
        frames = sum(this.frames for this in these)
        for this in these:
            this.close()
        return "open", frames

    return play


def slow_http1():
    clients = []
    for _ in range(50):
        client = connect()
        client.sendall(b"GET /large HTTP/1.1\r\nHost: mail.example.com\r\n\r\n")
        clients.append(client)
    begun(len(clients))
    for client in clients:
        client.close()
    return "open", len(clients)


def endless_hints():
    client = connect()
    client.sendall(b"GET /hints HTTP/1.1\r\nHost: mail.example.com\r\n\r\n")
    wait(lambda: strict.hinted > 2 * MEMORY)
    client.close()
    return "open", strict.hinted // 30_000


def slow_bodies():
    clients = []
    for _ in range(100):
        client = connect()
        client.sendall(b"POST /told HTTP/1.1\r\nHost: mail.example.com\r\nContent-Length: 1000000\r\n\r\n")
        clients.append(client)
    for _ in range(20):
        for client in clients:
            client.sendall(b"x")
    for client in clients:
        client.close()
    return "open", 2_000


def slow_headers():
    clients = [connect() for _ in range(100)]
    for byte in b"GET /told HTTP/1.1\r\n":
        for client in clients:
            client.sendall(bytes([byte]))
    first = time.monotonic()
    last = clients.pop()
    got = b""
    while part := last.recv(65536):
        got += part
    assert responses(got)[0][0] == 408, got
    took = time.monotonic() - first
    for client in clients:
        client.close()
    return f"408 after {took:.0f} s", 2_000


strict = Server(address("strict"))
started = time.monotonic()
for _ in range(3):
    simple(lambda http, i: PingFrame(0, opaque_data=b"12345678"), 2_000)()

play = arguments["play"]
if play == "floods":
    flood("rapid reset", simple(reset, 10_000), GONE, reached=300)
    flood("resets that the server is made to send", simple(made_reset, 10_000), GONE, reached=1_500)
    flood("CONTINUATION", simple(lambda http, i: ContinuationFrame(1, data=b"\x00\x01x\x7f\x80\x7e" + b"y" * 16_000), 2_000, before=half_header), GONE, reached=0)
    flood("small CONTINUATION", simple(lambda http, i: ContinuationFrame(1, data=literal("x", "1")), 100_000, before=half_header), GONE, reached=0)
    flood("empty CONTINUATION", simple(lambda http, i: ContinuationFrame(1, data=b""), 100_000, before=half_header), GONE, reached=0)
    flood("SETTINGS", simple(lambda http, i: SettingsFrame(settings={4: 65_535 + i % 2}), 50_000), GONE)
    flood("SETTINGS, unread", simple(lambda http, i: SettingsFrame(settings={4: 65_535 + i % 2}), 50_000, reads=False), GONE)
    flood("PING", simple(lambda http, i: PingFrame(0, opaque_data=b"12345678"), 50_000), GONE)
    flood("PING, unread", simple(lambda http, i: PingFrame(0, opaque_data=b"12345678"), 100_000, reads=False), GONE)
    flood("PING beside a request", simple(lambda http, i: PingFrame(0, opaque_data=b"12345678"), 50_000, before=hanging), ("answered",))
    flood("PRIORITY", simple(lambda http, i: PriorityFrame(2 * i + 1, depends_on=0, stream_weight=1), 50_000), GONE)
    flood("window updates", simple(lambda http, i: WindowUpdateFrame(0, window_increment=1), 50_000), GONE)
    flood("unknown frames", simple(lambda http, i: frame(0xEE, 0, 0, b"x" * 8), 50_000), GONE)
    flood("empty DATA", simple(lambda http, i: DataFrame(1, data=b""), 50_000, before=open_post), GONE)
    flood("DATA of padding", simple(lambda http, i: frame(0, 8, 1, b"\x7f" + b"\0" * 127), 20_000, before=open_post), GONE)
    flood("DATA of one byte", simple(lambda http, i: DataFrame(1, data=b"x"), 20_000, before=open_post))
    flood("streams over 128", simple(lambda http, i: http.headers(2 * i + 1, pseudo("POST", "/streams"), end=False), 1_000), reached=130)
    flood("headers that grow a thousandfold", bomb, ("431", *GONE), reached=0)
elif play == "slow":
    flood("answers with no window", slow_readers(0))
    flood("answers with a window and no reader", slow_readers(65_535))
    flood("HTTP/1.1 without a reader", slow_http1)
    flood("hints without an end and without a reader", endless_hints)
    flood("bodies of one byte at a time", slow_bodies)
elif play == "header":
    flood("headers of one byte at a time", slow_headers)
else:
    sys.exit(f"nobody knows how to play {play}")
print(f"in {time.monotonic() - started:.1f} s")
if faults:
    print(f"{len(faults)} faults:", *faults, sep="\n")
    sys.exit(1)
