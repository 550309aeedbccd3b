"""HTTP/2 without anybody who looks at what is sent: frames of hyperframe, headers of hpack."""

import select
import ssl
import struct
import threading

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from http_wire import PATIENCE, connect

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ERRORS = (
    "NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED FRAME_SIZE_ERROR "
    "REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM INADEQUATE_SECURITY HTTP_1_1_REQUIRED"
).split()


def pseudo(method="GET", path="/told", authority="mail.example.com", scheme="https"):
    fields = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
    return [(name, value) for name, value in fields if value is not None]


class Http2:
    def __init__(self, listener="https", settings=None, source="127.0.0.2"):
        self.socket = connect(listener, "h2", source)
        # Python's TLS is not for two threads at once.
        self.lock = threading.Lock()
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.decoder.max_header_list_size = 1 << 20
        self.buffer = b""
        self.send(PREFACE, SettingsFrame(settings=settings or {}))

    def send(self, *frames):
        data = b"".join(each if isinstance(each, bytes) else each.serialize() for each in frames)
        with self.lock:
            self.socket.settimeout(PATIENCE)
            self.socket.sendall(data)

    def read(self):
        """What has come, empty at the end."""
        while True:
            with self.lock:
                try:
                    self.socket.settimeout(0)
                    return self.socket.recv(65536)
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLEOFError:
                    return b""
            if not select.select([self.socket], [], [], PATIENCE)[0]:
                raise TimeoutError("timed out")

    def headers(self, stream, fields, end=True, block=None):
        """Frames of a header block, in pieces of what a frame may hold."""
        if block is None:
            # The encoder would take the fields in pairs alone, and write all names small.
            block = b"".join(literal(name, value) for name, value in fields)
        pieces = [block[at : at + 16_384] for at in range(0, len(block), 16_384)] or [b""]
        frames = [HeadersFrame(stream, data=pieces[0], flags=["END_STREAM"] if end else [])]
        frames += [ContinuationFrame(stream, data=piece) for piece in pieces[1:]]
        frames[-1].flags.add("END_HEADERS")
        return b"".join(frame.serialize() for frame in frames)

    def receive(self):
        """The next frame; `None` at the end of the connection."""
        while True:
            if len(self.buffer) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self.buffer[:9]))
                if len(self.buffer) >= 9 + length:
                    frame.parse_body(memoryview(self.buffer[9 : 9 + length]))
                    self.buffer = self.buffer[9 + length :]
                    return frame
            try:
                part = self.read()
            except (ConnectionResetError, BrokenPipeError, OSError) as error:
                if "timed out" in str(error):
                    raise
                part = b""
            if not part:
                return None
            self.buffer += part

    def outcome(self, stream):
        """What becomes of a stream: its status, how it is reset, or how the connection ends."""
        status = ""
        while frame := self.receive():
            if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
                try:
                    self.send(SettingsFrame(flags=["ACK"]))
                except OSError:
                    # It is gone, and what it has said last is still to be heard.
                    pass
            elif isinstance(frame, GoAwayFrame) and frame.error_code:
                return f"GOAWAY {ERRORS[frame.error_code]}"
            elif isinstance(frame, HeadersFrame):
                fields = dict(self.decoder.decode(frame.data))
                if frame.stream_id == stream:
                    status = fields.get(":status", status)
            if getattr(frame, "stream_id", 0) != stream:
                continue
            if isinstance(frame, RstStreamFrame):
                return status if status and not frame.error_code else f"RST {ERRORS[frame.error_code]}"
            if "END_STREAM" in frame.flags:
                return status
        return "closed"


def literal(name, value):
    """A field as it stands, without the tables and the codes of HPACK (RFC 7541 section 6.2.2)."""
    return b"\x00" + string(name) + string(value)


def string(text):
    text = text if isinstance(text, bytes) else text.encode()
    n = len(text)
    if n < 127:
        return bytes([n]) + text
    length, n = b"\x7f", n - 127
    while n >= 128:
        length += bytes([n % 128 | 128])
        n //= 128
    return length + bytes([n]) + text


def frame(kind, flags, stream, body):
    """Any frame at all."""
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


__all__ = ["DataFrame", "Http2", "PingFrame", "RstStreamFrame", "SettingsFrame", "WindowUpdateFrame", "frame", "pseudo"]
