"""Requests in HTTP/2 that are malformed or ambiguous, before our strict server.

strict=ADDRESS: where it listens, with listener `https` of the proxy before it.
"""

import sys
import time
from dataclasses import dataclass, field

from hyperframe.frame import ContinuationFrame, HeadersFrame, PriorityFrame

from http2_wire import DataFrame, Http2, RstStreamFrame, SettingsFrame, WindowUpdateFrame, frame, literal, pseudo
from http_wire import Strict, address


@dataclass
class Case:
    name: str
    # What is sent on stream 1.
    say: object
    outcome: str
    reached: list = field(default_factory=list)
    look: object = None


TABLE = []


def case(name, fields, outcome, reached=(), body=None, look=None, trailers=None):
    """Fields, and the DATA and the trailers behind them."""

    def say(http):
        http.send(http.headers(1, fields, end=body is None and trailers is None))
        if body is not None:
            http.send(DataFrame(1, data=body, flags=["END_STREAM"] if trailers is None else []))
        if trailers is not None:
            http.send(http.headers(1, trailers))

    TABLE.append(Case(name, say, outcome, [reached] if isinstance(reached, str) else list(reached), look))


def raw(name, outcome, *frames):
    """Frames of whatever kind."""
    TABLE.append(Case(name, lambda http: http.send(*(each(http) if callable(each) else each for each in frames)), outcome))


# What is whole as far as it goes may have reached the server by the time that more comes, and be answered.
PERHAPS = "/told?perhaps"
RESET = "RST PROTOCOL_ERROR"
GONE = "GOAWAY PROTOCOL_ERROR"


def has(**wanted):
    def look(seen):
        for name, value in wanted.items():
            found = seen.values(name.replace("_", "-"))
            assert found == value, f"{name} is {found}"

    return look


def post(*more):
    return pseudo("POST") + list(more)


# Lengths.
case("length fits", post(("content-length", "5")), "200", "POST /told hello", b"hello")
case("no length", post(), "200", "POST /told hello", b"hello")
case("length too short", post(("content-length", "2")), RESET, body=b"hello")
case("length too long", post(("content-length", "9")), RESET, body=b"hello")
case("length without a body", post(("content-length", "9")), RESET)
case("length of zero with a body", pseudo("POST", PERHAPS) + [("content-length", "0")], f"200 or {RESET}", body=b"hello")
case("two lengths", post(("content-length", "5"), ("content-length", "6")), RESET, body=b"hello")
case("two equal lengths", post(("content-length", "5"), ("content-length", "5")), "400", body=b"hello")
for length in ("+5", "-5", "0x5", "5,5", "", "5 ", "18446744073709551621", "five"):
    case(f"length {length!r}", post(("content-length", length)), RESET, body=b"hello")

# Fields of HTTP/1.1.
for name, value in {
    "transfer-encoding": "chunked",
    "connection": "close",
    "keep-alive": "timeout=5",
    "proxy-connection": "close",
    "upgrade": "websocket",
    "te": "gzip",
}.items():
    case(f"{name}: {value}", post((name, value)), RESET, body=b"0\r\n\r\nGET /told?smuggled HTTP/1.1\r\nhost: mail.example.com\r\n\r\n")
case("te: trailers", pseudo() + [("te", "trailers")], "200", "GET /told", look=has(te=["trailers"]))
case("http2-settings", pseudo() + [("http2-settings", "AAMAAABkAAQAAP__")], "200", "GET /told", look=has(http2_settings=[]))
case("transfer_encoding", post(("transfer_encoding", "chunked")), "200", "POST /told hello", b"hello")

# Names and values.
for name in ("X-Upper", "transfer-Encoding", "x y", "x:y", "x\r\ny", "x\ny", "x\x00y", "", "x\x7f", "ä", "(x)", " x", "x "):
    case(f"name {name!r}", pseudo() + [(name, "1")], GONE)
for value in ("1\r\nx-smuggled: 1", "1\nx-smuggled: 1", "1\rx", "1\x00", "\x01", "1\x7f", "1\r\n\r\nGET /told?smuggled HTTP/1.1"):
    case(f"value {value!r}", pseudo() + [("x", value)], GONE)
case("value with spaces around", pseudo() + [("x", " \t1 ")], "200", "GET /told", look=has(x=["1"]))
case("cookies in pieces", pseudo() + [("cookie", "a=1"), ("cookie", "b=2")], "200", "GET /told", look=has(cookie=["a=1; b=2"]))

# Pseudo-headers.
for name in ("method", "path", "scheme"):
    case(f"no :{name}", pseudo(**{name: None}), RESET)
    case(f"empty :{name}", pseudo(**{name: ""}), {"method": GONE, "path": RESET, "scheme": "400"}[name])
    case(f"two :{name}", pseudo() + [(f":{name}", dict(pseudo())[f":{name}"])], RESET)
case("two :authority", [(":authority", "mail.example.com")] + pseudo(), RESET)
case("unknown pseudo-header", pseudo() + [(":told", "1")], GONE)
case(":status in a request", pseudo() + [(":status", "200")], RESET)
case("pseudo-header behind a field", [("x", "1")] + pseudo(), RESET)
case("pseudo-header twice behind a field", pseudo() + [("x", "1"), (":path", "/told?smuggled")], RESET)
case(":protocol without CONNECT", pseudo() + [(":protocol", "websocket")], RESET)
for path in ("told", "/told HTTP/1.1\r\nx: 1", "/told x", "/told\t", "/told\r\n", "/told\n", "/told\x00", "/told\x7f", "http://mail.example.com/told", "\\told"):
    case(f":path {path!r}", pseudo(path=path), RESET)
for path in ("*", "/told%00", "/told%zz", "/..", "/told/%2e%2e/%2e%2e"):
    case(f":path {path!r}", pseudo(path=path), "400")
case(":path not in ASCII", pseudo(path="/told/ä"), "200", "GET /told/%C3%A4")
case(":path with a fragment", pseudo(path="/told#x"), "200", "GET /told")
for method in ("GE T", "GET /told?smuggled HTTP/1.1\r\nx: 1\r\n\r\nGET", "G\x00T", "[GET]", "GÉT"):
    case(f":method {method!r}", pseudo(method=method), GONE)
case("TRACE", pseudo(method="TRACE"), "405")
case("CONNECT", [(":method", "CONNECT"), (":authority", "mail.example.com:443")], "405", body=b"")
case("CONNECT with a path", pseudo(method="CONNECT"), RESET, body=b"")
case("CONNECT for an unknown protocol", pseudo(method="CONNECT") + [(":protocol", "connect-udp")], "501")
for scheme in ("https://mail.example.com", "ht tp"):
    case(f":scheme {scheme!r}", pseudo(scheme=scheme), RESET)
for scheme in ("ftp", "gopher", "javascript"):
    case(f":scheme {scheme!r}", pseudo(scheme=scheme), "400")
case(":scheme http", pseudo(scheme="http"), "200", "GET /told", look=has(x_forwarded_proto=["https"]))

# Whose it is.
case("host agrees", pseudo() + [("host", "mail.example.com")], "200", "GET /told", look=has(host=["mail.example.com"]))
case("host alone", pseudo(authority=None) + [("host", "mail.example.com")], "200", "GET /told", look=has(host=["mail.example.com"]))
case("host of another", pseudo() + [("host", "other.example")], "400")
case("two hosts", pseudo() + [("host", "mail.example.com"), ("host", "mail.example.com")], "400")
case("no authority at all", pseudo(authority=None), "400")
case("authority that the certificate does not cover", pseudo(authority="other.example"), "421")
for authority in ("user@mail.example.com", "mail.example.com,other.example", "mail.example.com:65536"):
    case(f":authority {authority!r}", pseudo(authority=authority), "400")
for authority in ("", "mail.example.com/x", "mail.example.com x", "mail.example.com\r\nx: 1", "mail%2eexample.com", "mail.example.com#", "[::1"):
    case(f":authority {authority!r}", pseudo(authority=authority), RESET)
case("forged fields", pseudo() + [("x-forwarded-for", "6.6.6.6"), ("x_forwarded_for", "6.6.6.6"), ("x-real-ip", "6.6.6.6"), ("via", "1.1 evil"), ("proxy", "http://6.6.6.6/")],
     "200", "GET /told", look=has(x_forwarded_for=["127.0.0.2"], x_real_ip=["127.0.0.2"], via=["2 gatepost"], proxy=[]))
case("unknown expectation", post(("expect", "more")), "417", body=b"hello")

# Trailers.
case("trailers", post(("trailer", "x-sum")), "200", "POST /told hello", b"hello", trailers=[("x-sum", "7")])
# h2 leaves it out, and so nobody gets to see it.
case("pseudo-header in trailers", post(), "200", "POST /told hello", b"hello", trailers=[(":path", "/told?smuggled")])
case("transfer-encoding in trailers", post(), RESET, body=b"hello", trailers=[("transfer-encoding", "chunked")])
case("upper-case name in trailers", post(), GONE, body=b"hello", trailers=[("X-Sum", "1")])
case("line ends in trailers", post(), GONE, body=b"hello", trailers=[("x-sum", "1\r\nx: 1")])

# Sizes.
case("100 fields and more", pseudo() + [("x", "1")] * 101, "431")
case("fields over 64 KiB", pseudo() + [("x", "a" * 70_000)], "431")

# Frames that make no sense.
raw("DATA on stream 0", GONE, frame(0, 1, 0, b"x"))
raw("HEADERS on stream 0", GONE, frame(1, 5, 0, b"\x82"))
raw("HEADERS on an even stream", GONE, lambda http: http.headers(2, pseudo()))
raw("DATA before HEADERS", GONE, frame(0, 1, 1, b"x"))
raw("CONTINUATION before HEADERS", GONE, frame(9, 4, 1, b"x"))
raw("CONTINUATION of another stream", GONE, HeadersFrame(1, data=b"\x82"), ContinuationFrame(3, data=b"\x84", flags=["END_HEADERS"]))
raw("DATA inside of a header block", GONE, HeadersFrame(1, data=b"\x82"), frame(0, 0, 1, b"x"))
raw("padding longer than the frame", GONE, frame(0, 0x8, 1, b"\xffx"))
raw("padding longer than HEADERS", GONE, frame(1, 0xD, 1, b"\xff\x82"))
raw("frame beyond the size", "GOAWAY FRAME_SIZE_ERROR", frame(0, 0, 1, b"x" * 16_385))
raw("PING of seven bytes", GONE, frame(6, 0, 0, b"1234567"))
raw("SETTINGS of five bytes", GONE, frame(4, 0, 0, b"12345"))
raw("SETTINGS on a stream", GONE, frame(4, 0, 1, b""))
raw("window of 2^31", GONE, frame(4, 0, 0, b"\x00\x04\x80\x00\x00\x00"))
raw("window that overflows", "GOAWAY FLOW_CONTROL_ERROR", *[WindowUpdateFrame(0, window_increment=2**31 - 1)] * 2)
raw("window update of nothing", GONE, frame(8, 0, 0, b"\x00" * 4))
raw("RST_STREAM of an idle stream", GONE, RstStreamFrame(1))
raw("PUSH_PROMISE from a client", GONE, frame(5, 4, 1, b"\x00\x00\x00\x02\x82"))
raw("a stream that depends on itself", RESET, lambda http: PriorityFrame(1, depends_on=1), lambda http: http.headers(1, pseudo()))
raw("index beyond the table", GONE, frame(1, 5, 1, b"\xff\xff\xff\x7f"))
raw("index of zero", GONE, frame(1, 5, 1, b"\x80"))
raw("table larger than agreed", GONE, frame(1, 5, 1, b"\x3f\xff\xff\xff\x07"))
raw("cut field", GONE, frame(1, 5, 1, literal("x", "1")[:-1]))
raw("code that is none", GONE, frame(1, 5, 1, b"\x00\x81\xff\x81\xff"))
raw("HTTP/1.1 in the middle", "GOAWAY FRAME_SIZE_ERROR", b"GET /told?smuggled HTTP/1.1\r\nHost: mail.example.com\r\n\r\n")

faults = []


def run(each):
    http = Http2()
    try:
        each.say(http)
    except OSError:
        pass
    outcome = http.outcome(1)
    if outcome not in each.outcome.split(" or "):
        faults.append(f"{each.name}: {outcome} instead of {each.outcome}")
    wanted = list(each.reached)
    if not outcome.startswith("GOAWAY") and outcome != "closed":
        # One stream is not all of them.
        http.send(http.headers(3, pseudo(path="/told?tail")))
        tail = http.outcome(3)
        if tail != "200":
            faults.append(f"{each.name}: the next request gets {tail}")
        wanted.append("GET /told?tail")
    http.socket.close()
    # Sooner or later the server sees where they end.
    seen = [one for one in strict.take() if not one.fault.startswith("cut off") and str(one) != f"POST {PERHAPS}"]
    found = [str(one) for one in seen]
    if sorted(found) != sorted(wanted):
        faults.append(f"{each.name}: {found} reached the server instead of {wanted}")
    elif each.look:
        try:
            each.look(next(one for one in seen if str(one) == each.reached[0]))
        except AssertionError as error:
            faults.append(f"{each.name}: {error}")


strict = Strict(address("strict"))
started = time.monotonic()
for each in TABLE:
    run(each)
outcomes = sorted({each.outcome for each in TABLE})
print(f"{len(TABLE)} requests, {', '.join(outcomes)}, in {time.monotonic() - started:.1f} s")
if faults:
    print(f"{len(faults)} faults:", *faults, sep="\n")
    sys.exit(1)
