"""A web server with what web applications do beside pages: WebSocket, events, long polls, large bodies, logins.

at=ADDRESS: where it speaks HTTP; socket=ADDRESS: where it speaks WebSocket.
"""

import asyncio
import hashlib
import sys
from collections import defaultdict
from urllib.parse import parse_qs, urlsplit

import websockets

arguments = dict(word.split("=", 1) for word in sys.argv[1:])
BLOCK = bytes(range(256)) * 1024

PAGE = b"""<!doctype html><meta charset=utf-8><title>Mail</title>
<link rel=stylesheet href=/style.css><script src=/script.js defer></script>
<p id=said></p><script>
const said = [];
function done(what) { said.push(what); document.getElementById('said').textContent = said.sort().join(' '); }
</script>
<img src=/dot.svg onload="done('image')" onerror="done('no image')">
"""
SCRIPT = b"""
done('script');
done('style ' + getComputedStyle(document.body).color);
done('over ' + performance.getEntriesByType('navigation')[0].nextHopProtocol);
document.cookie = 'a=1'; document.cookie = 'b=2';
fetch('/hold?until=page').then(it => it.text()).then(it => done('poll ' + it));
fetch('/cookies').then(it => it.text()).then(it => done('cookies ' + it));
fetch('/hash', {method: 'POST', body: new Uint8Array(300000)}).then(it => it.text()).then(it => done('sent ' + it.split(' ')[0])).then(() => fetch('/release?until=page'));
const events = new EventSource('/events');
events.onmessage = event => { if (event.data == '3') { events.close(); done('events ' + event.data); } };
const socket = new WebSocket('wss://' + location.host + '/socket');
socket.onopen = () => socket.send('hello');
socket.onmessage = event => { done('socket ' + event.data); socket.close(); };
socket.onerror = () => done('no socket');
"""
STYLE = b"body { color: rgb(1, 2, 3); }"
DOT = b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'
PAGES = {
    "/": ("text/html", PAGE),
    "/script.js": ("text/javascript", SCRIPT),
    "/style.css": ("text/css", STYLE),
    "/dot.svg": ("image/svg+xml", DOT),
}


# What a long poll waits for.
released = defaultdict(asyncio.Event)


async def body(reader, fields):
    """The parts of a request's body, and at last its trailers."""
    if fields.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            while size:
                part = await reader.read(min(size, 1 << 20))
                size -= len(part)
                yield part
            await reader.readline()
        trailers = b""
        while (line := await reader.readline()) != b"\r\n":
            trailers += line
        if trailers:
            yield trailers.decode()
        return
    left = int(fields.get("content-length", 0))
    while left:
        part = await reader.read(min(left, 1 << 20))
        if not part:
            raise ConnectionResetError
        left -= len(part)
        yield part


async def serve(reader, writer):
    user = None
    number = writer.get_extra_info("peername")[1]
    try:
        while line := await reader.readline():
            method, target, _ = line.decode("latin-1").split()
            fields = {}
            while (each := (await reader.readline()).decode("latin-1").rstrip()) != "":
                name, value = each.split(": ", 1)
                fields[name.lower()] = value
            url = urlsplit(target)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}

            def say(status, content=b"", more="", kind="text/plain", chunked=False):
                length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(content)}"
                writer.write(f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{length}\r\n{more}\r\n".encode() + content)

            def chunk(content):
                writer.write(b"%x\r\n%b\r\n" % (len(content), content))

            if url.path in PAGES:
                kind, content = PAGES[url.path]
                say("200 OK", content, kind=kind)
            elif url.path == "/hold":
                await released[query["until"]].wait()
                say("200 OK", b"held")
            elif url.path == "/release":
                released[query["until"]].set()
                say("200 OK")
            elif url.path == "/cookies":
                say("200 OK", fields.get("cookie", "none").encode())
            elif url.path == "/events":
                say("200 OK", kind="text/event-stream", chunked=True)
                for n in range(1, 4):
                    chunk(b"data: %d\n\n" % n)
                    await writer.drain()
                    await asyncio.sleep(0.02)
                writer.write(b"0\r\n\r\n")
            elif url.path == "/hash":
                if fields.get("expect") == "100-continue":
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                digest, length, trailers = hashlib.blake2b(), 0, ""
                async for part in body(reader, fields):
                    if isinstance(part, str):
                        trailers = part.strip()
                    else:
                        digest.update(part)
                        length += len(part)
                said = f"{length} {digest.hexdigest()[:16]} {trailers}".rstrip()
                say("200 OK", said.encode(), f"X-Expected: {fields.get('expect', '')}\r\n")
            elif url.path == "/large":
                blocks = int(query["blocks"])
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {blocks * len(BLOCK)}\r\n\r\n".encode())
                for _ in range(blocks):
                    writer.write(BLOCK)
                    await writer.drain()
            elif url.path == "/trailers":
                say("200 OK", more="Trailer: X-Sum\r\n", chunked=True)
                chunk(b"abc")
                writer.write(b"0\r\nX-Sum: 7\r\n\r\n")
            elif url.path == "/hints":
                writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
                say("200 OK", b"hinted")
            elif url.path == "/login":
                # NTLM in shape: three messages, and whoever has said the third is the connection's user.
                word = fields.get("authorization", "")
                if word.startswith("NTLM one"):
                    say("401 Unauthorized", more="WWW-Authenticate: NTLM two\r\n")
                elif word.startswith("NTLM three-"):
                    user = word.removeprefix("NTLM three-")
                    say("200 OK", f"{user} on {number}".encode())
                elif user:
                    say("200 OK", f"{user} on {number}".encode())
                else:
                    say("401 Unauthorized", more="WWW-Authenticate: NTLM\r\n")
            elif url.path == "/who":
                say("200 OK", f"{user or 'nobody'} on {number}".encode())
            else:
                say("404 Not Found")
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError, ValueError):
        pass
    finally:
        writer.close()


async def echo(socket):
    """Says everything again, under the subprotocol that was agreed."""
    try:
        async for message in socket:
            await socket.send(message)
    except websockets.ConnectionClosed:
        pass


async def main():
    def at(word):
        host, port = arguments[word].rsplit(":", 1)
        return host, int(port)

    await asyncio.start_server(serve, *at("at"), limit=1 << 20)
    async with websockets.serve(echo, *at("socket"), max_size=1 << 24, subprotocols=["chat"]):
        print("listening", flush=True)
        await asyncio.Future()


asyncio.run(main())
