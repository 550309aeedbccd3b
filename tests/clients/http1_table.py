"""Requests in HTTP/1.1 that are malformed, or that two readers could read in two ways.

Each is sent with a whole request behind it: where the connection goes on, that one is answered too, and
where something was to be smuggled, it is what would be smuggled.
"""

from dataclasses import dataclass, field

NAME = b"mail.example.com"
HOST = b"Host: " + NAME + b"\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
END = b"\r\n"
LAST = b"0\r\n\r\n"


@dataclass
class Case:
    name: str
    raw: bytes
    answers: list
    # What the server behind understands.
    reached: list = field(default_factory=list)
    # Looks at the first of it.
    look: object = None
    # Nothing follows: the client's side ends.
    cut: bool = False
    # A beginning of it may reach the server.
    broken: bool = False
    # nginx refuses what is well: it is not asked.
    strict_only: bool = False


TABLE = []
# Which of them depends on how much of it was read at once.
EITHER = (414, 431)
SMUGGLED = "/read?tail"


def tail(target=SMUGGLED):
    return b"GET %b HTTP/1.1\r\n%bConnection: close\r\n\r\n" % (target.encode(), HOST)


TAIL = tail()


def refused(name, raw, status=400, cut=False):
    """It gets this status, and the connection is closed."""
    TABLE.append(Case(name, raw, [status], cut=cut))


def broken(name, raw, status=400, cut=False):
    """The same for one whose header is well and whose body is not: the server may see a beginning."""
    TABLE.append(Case(name, raw.replace(b"/read", b"/read?cut", 1), [status], cut=cut, broken=True))


def passes(name, raw, reached="GET /read", look=None, last=False, statuses=(200,), strict_only=False):
    """It passes, and the connection goes on, unless it is the `last` request."""
    reached = [reached] if isinstance(reached, str) else list(reached)
    answers = list(statuses)
    if not last:
        reached.append(f"GET {SMUGGLED}")
        answers.append(200)
    TABLE.append(Case(name, raw, answers, reached, look, strict_only=strict_only))


def answered(name, raw, status):
    """It is answered by the proxy, and the connection goes on."""
    TABLE.append(Case(name, raw, [status, 200], [f"GET {SMUGGLED}"]))


def get(fields=b"", line=b"GET /read HTTP/1.1", host=HOST):
    return line + END + host + fields + END


def post(fields, body=b"", line=b"POST /read HTTP/1.1"):
    return line + END + HOST + fields + END + body


def chunked(body, fields=b""):
    return post(CHUNKED + fields, body)


# Two lengths.
passes("CL.TE: chunks count", post(b"Content-Length: 6\r\n" + CHUNKED, b"0\r\n\r\nG"), "POST /read", last=True)
passes("TE.CL: chunks count", post(CHUNKED + b"Content-Length: 4\r\n", b"2\r\nhi\r\n0\r\n\r\n"), "POST /read hi", last=True)
passes("CL of zero beside chunks", post(b"Content-Length: 0\r\n" + CHUNKED, b"2\r\nhi\r\n0\r\n\r\n"), "POST /read hi", last=True)
refused("chunks in HTTP/1.0", post(CHUNKED, LAST, b"POST /read HTTP/1.0"))
refused("CL and chunks in HTTP/1.0", post(b"Content-Length: 5\r\n" + CHUNKED, LAST, b"POST /read HTTP/1.0"))
refused("two lengths", post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello"))
# RFC 9110 section 8.6 leaves the choice: they are one by the time they are passed on.
passes("two equal lengths", post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"), "POST /read hello")
refused("two lengths in one field", post(b"Content-Length: 5, 6\r\n", b"hello"))
refused("two equal lengths in one field", post(b"Content-Length: 5,5\r\n", b"hello"))
refused("length with a plus", post(b"Content-Length: +5\r\n", b"hello"))
refused("negative length", post(b"Content-Length: -5\r\n", b"hello"))
refused("length in hex", post(b"Content-Length: 0x5\r\n", b"hello"))
refused("length in exponents", post(b"Content-Length: 5e0\r\n", b"hello"))
refused("length with a point", post(b"Content-Length: 5.0\r\n", b"hello"))
refused("empty length", post(b"Content-Length: \r\n", b"hello"))
refused("length of words", post(b"Content-Length: five\r\n", b"hello"))
refused("length with a space inside", post(b"Content-Length: 5 5\r\n", b"hello"))
refused("length with a vertical tab", post(b"Content-Length: \x0b5\r\n", b"hello"))
refused("length with a form feed behind", post(b"Content-Length: 5\x0c\r\n", b"hello"))
refused("length beyond 64 bits", post(b"Content-Length: 18446744073709551616\r\n", b"hello"))
refused("length that wraps around", post(b"Content-Length: 18446744073709551621\r\n", b"hello"))
refused("length of a thousand digits", post(b"Content-Length: " + b"9" * 1000 + b"\r\n", b"hello"))
refused("length in other digits", post("Content-Length: ٥\r\n".encode(), b"hello"))
passes("length with spaces around", post(b"Content-Length: \t 5 \t\r\n", b"hello"), "POST /read hello")
passes("length with zeros before", post(b"Content-Length: 0005\r\n", b"hello"), "POST /read hello")
passes("body of a GET", get(b"Content-Length: 5\r\n") + b"hello", "GET /read hello")
passes("body of a GET in chunks", get(CHUNKED) + b"5\r\nhello\r\n0\r\n\r\n", "GET /read hello")
passes("POST without a length has no body", post(b""), "POST /read")
passes("a request as a body", post(b"Content-Length: %d\r\n" % len(TAIL), TAIL), "POST /read " + TAIL.decode())
broken("cut body", post(b"Content-Length: 10\r\n", b"hello"), cut=True)
refused("longer than max_body", post(b"Content-Length: 1048577\r\n"), 413)
broken("chunk longer than max_body", chunked(b"100001\r\n" + b"x" * 1_048_577 + b"\r\n" + LAST), 413)

# Transfer codings.
for name, field in {
    "xchunked": b"Transfer-Encoding: xchunked",
    "chunkedx": b"Transfer-Encoding: chunkedx",
    "identity": b"Transfer-Encoding: identity",
    "chunked, identity": b"Transfer-Encoding: chunked, identity",
    "quoted": b'Transfer-Encoding: "chunked"',
    "parameter": b"Transfer-Encoding: chunked;q=1",
    "vertical tab before": b"Transfer-Encoding: \x0bchunked",
    "vertical tab behind": b"Transfer-Encoding: chunked\x0b",
    "empty": b"Transfer-Encoding:",
    "gzip": b"Transfer-Encoding: gzip",
    "space before the colon": b"Transfer-Encoding : chunked",
    "tab before the colon": b"Transfer-Encoding\t: chunked",
    "space before the name": b" Transfer-Encoding: chunked",
    "NUL in the name": b"Transfer\x00-Encoding: chunked",
    "folded": b"Transfer-Encoding:\r\n chunked",
    "bare CR before": b"X: 1\rTransfer-Encoding: chunked",
}.items():
    refused(f"TE {name}", post(field + b"\r\nContent-Length: 5\r\n", LAST))
    refused(f"TE {name}, alone", post(field + b"\r\n", LAST))
for name, field in {
    "twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "comma behind": b"Transfer-Encoding: chunked,",
}.items():
    refused(f"TE {name}", post(field + b"\r\n", LAST))
for name, field in {
    "twice in one field": b"Transfer-Encoding: chunked, chunked",
    "identity, chunked": b"Transfer-Encoding: identity, chunked",
    "gzip, chunked": b"Transfer-Encoding: gzip, chunked",
    "in two fields": b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "comma before": b"Transfer-Encoding: , chunked",
}.items():
    refused(f"TE {name}", post(field + b"\r\n", LAST), 501)
for name, field in {
    "upper case": b"TRANSFER-ENCODING: CHUNKED",
    "tab before": b"Transfer-Encoding:\tchunked",
    "spaces around": b"Transfer-Encoding:   chunked \t",
}.items():
    passes(f"TE {name}", post(field + b"\r\n", b"2\r\nhi\r\n" + LAST), "POST /read hi")
passes("a field that only looks like TE", post(b"Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", LAST), "POST /read " + LAST.decode())

# Chunks.
for name, body in {
    "size of 17 digits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "size that wraps around": b"FFFFFFFFFFFFFFFF5\r\nhello\r\n0\r\n\r\n",
    "size with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size with a plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "size of letters": b"xyz\r\nhello\r\n0\r\n\r\n",
    "space before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "space inside the size": b"5 5\r\nhello\r\n0\r\n\r\n",
    "no CR LF behind the data": b"5\r\nhello0\r\n\r\n",
    "more data than said": b"4\r\nhello\r\n0\r\n\r\n",
    "bare LF behind the size": b"5\nhello\r\n0\r\n\r\n",
    "bare LF behind the data": b"5\r\nhello\n0\r\n\r\n",
    "bare LFs": b"5\nhello\n0\n\n",
    "bare CR behind the size": b"5\rhello\r\n0\r\n\r\n",
    "bare LF in an extension": b"5;a\nhello\r\n0\r\n\r\n",
    "bare LF behind the last chunk": b"5\r\nhello\r\n0\n\r\n",
    "NUL in the size": b"5\x00\r\nhello\r\n0\r\n\r\n",
    "a flood of extensions": b"5;" + b"x" * 70_000 + b"\r\nhello\r\n0\r\n\r\n",
    "extensions in every chunk": b"1;aaaaaaaaaaaaaaaaaaaaaaaa\r\nh\r\n" * 3_000 + LAST,
    "trailer without a colon": b"5\r\nhello\r\n0\r\nnonsense\r\n\r\n",
    "trailer with a space before the colon": b"5\r\nhello\r\n0\r\nX : 1\r\n\r\n",
    "folded trailer": b"5\r\nhello\r\n0\r\nX: 1\r\n 2\r\n\r\n",
    "NUL in a trailer": b"5\r\nhello\r\n0\r\nX: \x00\r\n\r\n",
    "trailers over 64 KiB": b"5\r\nhello\r\n0\r\n" + b"X: " + b"1" * 70_000 + b"\r\n\r\n",
    "a flood of trailers": b"5\r\nhello\r\n0\r\n" + b"X: 1\r\n" * 2_000 + b"\r\n",
}.items():
    broken(f"chunk: {name}", chunked(body))
passes("chunk: extensions are for nobody else", chunked(b'5;a=b;c="d"\r\nhello\r\n0;e\r\n\r\n'), "POST /read hello")
passes("chunk: zeros before the size", chunked(b"0005\r\nhello\r\n000\r\n\r\n"), "POST /read hello")
passes("chunk: thousands of zeros before the size", chunked(b"0" * 70_000 + b"5\r\nhello\r\n0\r\n\r\n"), "POST /read hello")
passes("chunk: size in capitals", chunked(b"A\r\nhellohello\r\n0\r\n\r\n"), "POST /read hellohello")
passes("chunk: a request as a chunk", chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(TAIL), TAIL)), "POST /read " + TAIL.decode())
broken("chunk: cut size", chunked(b"5"), cut=True)
broken("chunk: cut data", chunked(b"5\r\nhel"), cut=True)
broken("chunk: no last one", chunked(b"5\r\nhello\r\n"), cut=True)


def no_forbidden_trailers(seen):
    assert seen.trailers == [("x-sum", "7")], f"trailers {seen.trailers}"


passes(
    "trailers that say how the message is to be read",
    chunked(
        b"5\r\nhello\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nHost: other.example\r\n"
        b"Connection: close\r\nAuthorization: Basic eA==\r\nX-Forwarded-For: 6.6.6.6\r\nX-Sum: 7\r\n\r\n",
        b"Trailer: X-Sum\r\n",
    ),
    "POST /read hello",
    no_forbidden_trailers,
)

passes(
    "trailers that are announced, and are none",
    chunked(
        b"5\r\nhello\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nHost: other.example\r\n"
        b"Connection: close\r\nCookie: a=1\r\nX-Forwarded-For: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n"
        b"X-Request-Id: forged\r\nKeep-Alive: timeout=5\r\n\r\n",
        b"Trailer: X-Sum, Content-Length, Transfer-Encoding, Host, Connection, Cookie, X-Forwarded-For, X_Real_IP, Forwarded, "
        b"X-Request-Id, Keep-Alive\r\n",
    ),
    "POST /read hello",
    no_forbidden_trailers,
)

# Lines and fields.
for name, raw in {
    "bare CRs": b"GET /read HTTP/1.1\rHost: mail.example.com\r\r",
    "bare CR behind the request line": b"GET /read HTTP/1.1\r" + HOST + END,
    "CR CR LF": get(b"X: 1\r\r\n"),
    "bare CR in a value": get(b"X: 1\r2\r\n"),
    "folded field": get(b"X: 1\r\n 2\r\n"),
    "field folded by a tab": get(b"X: 1\r\n\t2\r\n"),
    "folded Host": b"GET /read HTTP/1.1\r\nHost:\r\n mail.example.com\r\n\r\n",
    "space before the first field": b"GET /read HTTP/1.1\r\n " + HOST + HOST + END,
    "space before the colon": get(b"X : 1\r\n"),
    "tab before the colon": get(b"X\t: 1\r\n"),
    "space before the colon of Host": b"GET /read HTTP/1.1\r\nHost : mail.example.com\r\n\r\n",
    "field without a name": get(b": 1\r\n"),
    "field without a colon": get(b"X\r\n"),
    "NUL in a name": get(b"X\x00: 1\r\n"),
    "NUL in a value": get(b"X: a\x00b\r\n"),
    "control byte in a name": get(b"X\x01: 1\r\n"),
    "control byte in a value": get(b"X: \x01\r\n"),
    "escape in a value": get(b"X: \x1b[31m\r\n"),
    "DEL in a value": get(b"X: \x7f\r\n"),
    "non-ASCII name": get("Ä: 1\r\n".encode()),
    "name in parentheses": get(b"(X): 1\r\n"),
    "name with a slash": get(b"X/Y: 1\r\n"),
    "name with an at sign": get(b"X@Y: 1\r\n"),
}.items():
    refused(name, raw)
# RFC 9112 section 2.2 lets a reader take a bare LF for a line end in a header; nobody behind sees it.
for name, raw in {
    "bare LFs": b"GET /read HTTP/1.1\nHost: mail.example.com\n\n",
    "bare LF behind the request line": b"GET /read HTTP/1.1\n" + HOST + END,
    "bare LF behind a field": get(b"X: 1\nY: 2\r\n"),
    "bare LF behind Host": get(host=b"Host: mail.example.com\nX: 1\nY: 2\r\n"),
    "bare LF at the end": b"GET /read HTTP/1.1\r\n" + HOST + b"\n",
}.items():
    passes(name, raw)
passes("bare LF before a coding", post(b"X: 1\nTransfer-Encoding: chunked\r\n", b"2\r\nhi\r\n" + LAST), "POST /read hi")
passes("non-ASCII value", get("X: ä\r\n".encode()))
passes("empty value", get(b"X:\r\n"))
passes("blank lines before", b"\r\n\r\n" + get())
refused("more than 100 fields", get(b"X: 1\r\n" * 100), 431)
refused("thousands of fields", get(b"X: 1\r\n" * 5_000), 431)
refused("fields over 64 KiB", get(b"X: " + b"a" * 65_536 + b"\r\n"), 431)
refused("name over 64 KiB", get(b"X" * 65_536 + b": 1\r\n"), 431)
refused("a header that never ends", b"GET /read HTTP/1.1\r\n" + b"X: 1\r\n" * 30_000, 431)

# Methods, versions and targets.
for name, line in {
    "no method": b" /read HTTP/1.1",
    "only a method": b"GET",
    "no target": b"GET HTTP/1.1",
    "two spaces before the target": b"GET  /read HTTP/1.1",
    "two spaces before the version": b"GET /read  HTTP/1.1",
    "tab before the target": b"GET\t/read HTTP/1.1",
    "tab before the version": b"GET /read\tHTTP/1.1",
    "space behind the version": b"GET /read HTTP/1.1 ",
    "space in the target": b"GET /read x HTTP/1.1",
    "method with a colon": b"GET:X /read HTTP/1.1",
    "method in brackets": b"[GET] /read HTTP/1.1",
    "method with a NUL": b"G\x00ET /read HTTP/1.1",
    "non-ASCII method": "GÉT /read HTTP/1.1".encode(),
    "HTTP/0.9": b"GET /read",
    "HTTP/1.2": b"GET /read HTTP/1.2",
    "HTTP/1.10": b"GET /read HTTP/1.10",
    "HTTP/01.1": b"GET /read HTTP/01.1",
    "HTTP/2.0": b"GET /read HTTP/2.0",
    "HTTP/9.9": b"GET /read HTTP/9.9",
    "http/1.1": b"GET /read http/1.1",
    "another protocol": b"GET /read ICY/1.1",
    "HTTP/1,1": b"GET /read HTTP/1,1",
    "relative target": b"GET told HTTP/1.1",
    "asterisk for GET": b"GET * HTTP/1.1",
    "authority for GET": b"GET mail.example.com:443 HTTP/1.1",
    "non-UTF-8 target": b"GET /read/\xe4 HTTP/1.1",
    "NUL in the target": b"GET /read\x00 HTTP/1.1",
    "control byte in the target": b"GET /read\x01 HTTP/1.1",
    "DEL in the target": b"GET /read\x7f HTTP/1.1",
    "backslash for a slash": b"GET \\told HTTP/1.1",
    "escaped NUL": b"GET /read%00 HTTP/1.1",
    "escape that is none": b"GET /read%zz HTTP/1.1",
    "cut escape": b"GET /read% HTTP/1.1",
    "path above the top": b"GET /read/../../etc HTTP/1.1",
    "escaped path above the top": b"GET /read/%2e%2e/%2E./etc HTTP/1.1",
    "another scheme": b"GET ftp://mail.example.com/read HTTP/1.1",
    "URL of another host": b"GET https://other.example/read HTTP/1.1",
    "URL with a user": b"GET https://mail.example.com@other.example/read HTTP/1.1",
    "URL of nobody": b"GET https:///read HTTP/1.1",
}.items():
    refused(name, get(line=line))
refused("CONNECT", get(line=b"CONNECT mail.example.com:443 HTTP/1.1"), 405)
refused("CONNECT of a path", get(line=b"CONNECT /read HTTP/1.1"), 405)
refused("TRACE", get(line=b"TRACE /read HTTP/1.1"), 405)
refused("TRACE with a body", get(b"Content-Length: 5\r\n", b"TRACE /read HTTP/1.1") + b"hello", 405)
refused("preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
refused("TLS inside of TLS", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\x00" * 32)
refused("SMTP", b"EHLO client.example.net\r\n")
refused("PROXY header", b"PROXY TCP4 6.6.6.6 127.0.0.1 1 2\r\n" + get())
refused("method of 70,000 letters", get(line=b"G" * 70_000 + b" /read HTTP/1.1"), 431)
refused("target over 64 KiB", get(line=b"GET /read?" + b"a" * 65_536 + b" HTTP/1.1"), EITHER)
passes("method of one's own", get(line=b"X-METHOD /read HTTP/1.1"), "X-METHOD /read")
passes("method of odd letters", get(line=b"X.Method!~ /read HTTP/1.1"), "X.Method!~ /read", strict_only=True)
passes("method in small letters is another", get(line=b"get /read HTTP/1.1"), "get /read", strict_only=True)
passes("fragment stays here", get(line=b"GET /read#fragment HTTP/1.1"), "GET /read")
passes("non-ASCII target is escaped", get(line="GET /read/ä?ö HTTP/1.1".encode()), "GET /read/%C3%A4?%C3%B6")
passes("escaped line ends stay escaped", get(line=b"GET /read%0d%0aX:%201 HTTP/1.1"), "GET /read%0d%0aX:%201")
passes("absolute target", get(line=b"GET https://mail.example.com/read?q HTTP/1.1"), "GET /read?q")
passes("path with dots", get(line=b"GET /read/./a/../b HTTP/1.1"), "GET /read/./a/../b")
passes("HTTP/1.0", get(line=b"GET /read HTTP/1.0"), last=True)

# Whose it is.
for name, host in {
    "no Host": b"",
    "two Hosts": HOST + b"Host: other.example\r\n",
    "two equal Hosts": HOST + HOST,
    "empty Host": b"Host:\r\n",
    "Host with a user": b"Host: user@mail.example.com\r\n",
    "Host that is a user": b"Host: mail.example.com@other.example\r\n",
    "Host with a path": b"Host: mail.example.com/read\r\n",
    "Host with a question mark": b"Host: mail.example.com?x\r\n",
    "Host with a fragment": b"Host: mail.example.com#x\r\n",
    "Host with a backslash": b"Host: mail.example.com\\x\r\n",
    "Host with a comma": b"Host: mail.example.com,other.example\r\n",
    "Host with a space": b"Host: mail.example.com other.example\r\n",
    "Host with a tab": b"Host: mail.example.com\tx\r\n",
    "Host with a NUL": b"Host: mail.example.com\x00x\r\n",
    "Host with a port beyond all": b"Host: mail.example.com:65536\r\n",
    "Host with port 0": b"Host: mail.example.com:0\r\n",
    "Host with a negative port": b"Host: mail.example.com:-1\r\n",
    "Host with a port of letters": b"Host: mail.example.com:https\r\n",
    "Host with two ports": b"Host: mail.example.com:1:2\r\n",
    "Host with an escape": b"Host: mail%2eexample.com\r\n",
    "Host in other letters": "Host: mäil.example.com\r\n".encode(),
    "Host that is a URL": b"Host: https://mail.example.com\r\n",
    "Host in half a bracket": b"Host: [::1\r\n",
    "Host of 300 letters": b"Host: " + b"a" * 300 + b"\r\n",
}.items():
    refused(name, get(host=host))
refused("two Hosts in HTTP/1.0", get(line=b"GET /read HTTP/1.0", host=HOST + HOST))
refused("URL without Host", get(line=b"GET https://mail.example.com/read HTTP/1.1", host=b""))
answered("Host that the certificate does not cover", get(host=b"Host: other.example\r\n"), 421)
answered("Host that is an address", get(host=b"Host: 127.0.0.1\r\n"), 421)
passes("Host with a port", get(host=b"Host: mail.example.com:8443\r\n"))
passes("Host in capitals", get(host=b"hOsT: MAIL.EXAMPLE.COM\r\n"))

# Fields of the connection, and what others are to believe of it.


def has(**wanted):
    """Looks for fields, and for the lack of fields."""

    def look(seen):
        for name, value in wanted.items():
            name = name.replace("_", "-")
            found = seen.values(name)
            if callable(value):
                assert value(found), f"{name} is {found}"
            else:
                assert found == value, f"{name} is {found}"

    return look


refused("unknown expectation", get(b"Expect: the unexpected\r\n"), 417)
refused("two expectations", get(b"Expect: 100-continue, more\r\n"), 417)
passes("upgrade to h2c", get(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
       look=has(upgrade=[], http2_settings=[], connection=[]))
passes("upgrade to TLS", get(b"Connection: Upgrade\r\nUpgrade: TLS/1.2, HTTP/1.1\r\n"), look=has(http2_settings=[]))
passes("upgrade that Connection does not name", get(b"Upgrade: websocket\r\n"), look=has(upgrade=[], connection=[]))
passes("upgrade with a body that the server does not follow", post(b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n", b"hello"), "POST /read hello",
       look=has(upgrade=["websocket"]))
passes("upgrade with a request behind it", get(b"Connection: Upgrade\r\nUpgrade: websocket\r\n") + get(line=b"GET /read?2 HTTP/1.1"), ["GET /read", "GET /read?2"], statuses=(200, 200))
refused("URL with another port", get(line=b"GET https://mail.example.com:8443/read HTTP/1.1"))
passes("HTTP/1.0 that stays", get(b"Connection: keep-alive\r\n", b"GET /read HTTP/1.0"))
passes("HTTP/1.0 that expects", get(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"POST /read HTTP/1.0") + b"hello", "POST /read hello", last=True)
passes("Connection names Host", get(b"Connection: Host\r\n"), look=has(host=["mail.example.com"], connection=[]))
passes("Connection names the length", post(b"Connection: Content-Length\r\nContent-Length: 5\r\n", b"hello"), "POST /read hello")
passes("Connection names the coding", chunked(b"2\r\nhi\r\n0\r\n\r\n", b"Connection: Transfer-Encoding\r\n"), "POST /read hi")
passes("Connection names what we say", get(b"Connection: X-Forwarded-For, X-Real-IP, Forwarded, Via, X-Request-Id\r\n"),
       look=has(x_forwarded_for=["127.0.0.2"], x_real_ip=["127.0.0.2"], via=["1.1 gatepost"], x_request_id=lambda it: len(it) == 1))
passes("Connection names a field", get(b"Connection: X-Secret\r\nX-Secret: 1\r\nX-Other: 2\r\n"), look=has(x_secret=[], x_other=["2"]))
passes("Connection in two fields", get(b"Connection: X-A\r\nConnection: X-B, keep-alive\r\nX-A: 1\r\nX-B: 2\r\n"), look=has(x_a=[], x_b=[], connection=[]))
passes("fields of the connection", get(b"Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nTE: gzip\r\nProxy: http://6.6.6.6/\r\n"),
       look=has(proxy=[], te=[]))
passes("TE: trailers is the one that stays", get(b"TE: gzip, trailers\r\nConnection: TE\r\n"), look=has(te=["trailers"]))
passes("forged fields of a proxy", get(
    b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Port: 1\r\n"
    b"X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nVia: 1.1 evil\r\nX-Request-Id: forged\r\nX-Forwarded-Prefix: /x\r\nX-Forwarded-Server: evil\r\n"),
       look=has(x_forwarded_for=["127.0.0.2"], x_forwarded_proto=["https"], x_forwarded_host=["mail.example.com"],
                x_real_ip=["127.0.0.2"], via=["1.1 gatepost"], x_request_id=lambda it: it != ["forged"] and len(it) == 1,
                x_forwarded_prefix=[], x_forwarded_server=[],
                forwarded=lambda it: len(it) == 1 and it[0].startswith("for=127.0.0.2;host=mail.example.com;proto=https")))
passes("forged fields with underscores", get(b"X_Forwarded_For: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\nX-Forwarded_Proto: http\r\n"),
       look=has(**{"x_forwarded_for": ["127.0.0.2"]}, forwarded=lambda it: len(it) == 1))
passes("early data", get(b"Early-Data: 1\r\n"), look=has(early_data=[]))
passes("Connection: close", get(b"Connection: close\r\n"), last=True)
passes("Connection: close among others", get(b"Connection: keep-alive, close\r\n"), last=True)

# Several requests at once.
passes("good before good", get() + get(line=b"GET /read?2 HTTP/1.1"), ["GET /read", "GET /read?2"], statuses=(200, 200))
passes("good before bad", get() + get(host=b"") , "GET /read", last=True, statuses=(200, 400))
passes("body before bad", post(b"Content-Length: 5\r\n", b"hello") + b"X" + b"\x00" * 10 + get(), "POST /read hello", last=True, statuses=(200, 400))
passes("more body than said", post(b"Content-Length: 2\r\n", b"he\x00lo") + get(), "POST /read he", last=True, statuses=(200, 400))
passes("fifty at once", b"".join(get(line=b"GET /read?%d HTTP/1.1" % n) for n in range(50)), [f"GET /read?{n}" for n in range(50)], statuses=(200,) * 50)
TABLE.append(Case("cut request line", b"GET /to", [], cut=True))
TABLE.append(Case("cut header", b"GET /read HTTP/1.1\r\nHost: mail.exam", [], cut=True))
