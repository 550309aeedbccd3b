"""Python's clients of HTTP/1.1, HTTP/2 and WebSocket, before the server of web_site.py.

https=ADDRESS: the proxy's listener.
"""

import asyncio
import hashlib
import os
import socket
import ssl

import h2.config
import h2.connection
import h2.events
import httpx
import websockets

from http_wire import NAME, address, arguments, connect

host, port = address("https")
BASE = f"https://{NAME}:{port}"


def context():
    """One for each: httpx writes its protocols into it."""
    return ssl.create_default_context(cafile=arguments["ca"])



resolve = socket.getaddrinfo
# All names lead to the listener.
socket.getaddrinfo = lambda _, *more, **options: resolve(host, *more, **options)


def client(http2):
    transport = httpx.AsyncHTTPTransport(verify=context(), http1=not http2, http2=http2, local_address="127.0.0.2")
    return httpx.AsyncClient(transport=transport, base_url=BASE, timeout=30)


async def pages(http2):
    version = "HTTP/2" if http2 else "HTTP/1.1"
    async with client(http2) as web:
        # Many at once; the slow ones hold up none of the others.
        held = [asyncio.create_task(web.get(f"/hold?until={version}")) for _ in range(10)]
        quick = await asyncio.gather(*[web.get("/style.css") for _ in range(50)])
        assert {(it.status_code, it.http_version, it.text) for it in quick} == {(200, version, "body { color: rgb(1, 2, 3); }")}
        assert not any(each.done() for each in held), "what is held was answered"
        await web.get(f"/release?until={version}")
        for each in held:
            assert (await each).text == "held"
        # A body whose length nobody knows, and one whose length is known.
        block = os.urandom(100_000)

        async def unmeasured():
            for _ in range(30):
                yield block

        digest = hashlib.blake2b(block * 30).hexdigest()[:16]
        for content in (unmeasured(), block * 30):
            answer = await web.post("/hash", content=content)
            assert answer.text == f"3000000 {digest}", answer.text
        assert (await web.head("/style.css")).headers["content-length"] == "29"
        # Events come one by one, long before the end of their stream.
        async with web.stream("GET", "/events") as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            events = [line async for line in answer.aiter_lines() if line.strip()]
        assert [each.strip() for each in events] == ["data: 1", "data: 2", "data: 3"], events
        assert (await web.get("/hints")).text == "hinted"
        assert (await web.get("/trailers")).text == "abc"
        async with web.stream("GET", "/large?blocks=40") as answer:
            length = 0
            async for part in answer.aiter_raw():
                length += len(part)
        assert length == 40 * 256 * 1024, length


async def logins():
    """Whoever has logged in a connection to the server keeps it, and nobody else is there."""
    async with client(False) as one, client(False) as other, client(True) as third:
        users = {"one": one, "other": other}
        assert (await one.get("/login")).headers["www-authenticate"] == "NTLM"
        seen = {}
        for name, web in users.items():
            first = await web.get("/login", headers={"authorization": "NTLM one"})
            assert first.status_code == 401 and first.headers["www-authenticate"] == "NTLM two"
            answer = await web.get("/login", headers={"authorization": f"NTLM three-{name}"})
            user, _, seen[name] = answer.text.partition(" on ")
            assert user == name, answer.text
        assert seen["one"] != seen["other"], seen
        for _ in range(3):
            for name, web in users.items():
                assert (await web.get("/who")).text == f"{name} on {seen[name]}"
            strangers = await asyncio.gather(*[third.get("/who") for _ in range(10)])
            for each in strangers:
                user, _, number = each.text.partition(" on ")
                assert user == "nobody" and number not in seen.values(), each.text


async def sockets():
    """WebSocket over HTTP/1.1."""
    options = dict(ssl=context(), server_hostname=NAME, host=host, port=port, local_addr=("127.0.0.2", 0), max_size=1 << 24)
    url = f"wss://{NAME}:{port}/socket"
    async with websockets.connect(url, subprotocols=["chat"], **options) as socket:
        assert socket.subprotocol == "chat"
        for message in ("hello", b"\x00" * 100_000, "ä" * 70_000, b"", os.urandom(3_000_000)):
            await socket.send(message)
            assert await socket.recv() == message
        await (await socket.ping())
        for n in range(500):
            await socket.send(str(n))
        assert [await socket.recv() for _ in range(500)] == [str(n) for n in range(500)]
        await socket.close(4321, "enough")
    assert socket.close_code == 4321, socket.close_code
    many = await asyncio.gather(*[websockets.connect(url, **options) for _ in range(20)])
    for n, socket in enumerate(many):
        await socket.send(f"I am {n}")
    for n, socket in enumerate(many):
        assert await socket.recv() == f"I am {n}"
        await socket.close()


def socket_by_http2():
    """WebSocket over HTTP/2 (RFC 8441), with a page beside it on the same connection."""
    connection = connect(alpn="h2")
    http = h2.connection.H2Connection(h2.config.H2Configuration(validate_outbound_headers=False))
    http.initiate_connection()
    events = []

    def until(wanted):
        while True:
            connection.sendall(http.data_to_send())
            for at, event in enumerate(events):
                if wanted(event):
                    del events[: at + 1]
                    return event
            data = connection.recv(65536)
            assert data, f"the connection ended: {events}"
            events.extend(http.receive_data(data))

    settings = until(lambda event: isinstance(event, h2.events.RemoteSettingsChanged))
    assert settings.changed_settings[8].new_value == 1, "no extended CONNECT"
    head = [(":scheme", "https"), (":authority", NAME)]
    http.send_headers(1, [(":method", "CONNECT"), (":protocol", "websocket"), *head, (":path", "/socket"), ("sec-websocket-version", "13")])
    answer = until(lambda event: isinstance(event, h2.events.ResponseReceived))
    assert dict(answer.headers)[b":status"] == b"200", answer.headers
    http.send_headers(3, [(":method", "GET"), *head, (":path", "/style.css")], end_stream=True)
    page = until(lambda event: isinstance(event, h2.events.DataReceived) and event.stream_id == 3)
    assert page.data.startswith(b"body"), page.data
    for text in (b"hello", b"once more", b"x" * 60_000):
        length = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + len(text).to_bytes(2, "big")
        for part in pieces(b"\x81" + length + bytes(4) + text):
            http.send_data(1, part)
        got, wanted = b"", len(text) + (2 if len(text) < 126 else 4)
        while len(got) < wanted:
            event = until(lambda event: isinstance(event, h2.events.DataReceived) and event.stream_id == 1)
            http.acknowledge_received_data(event.flow_controlled_length, 1)
            got += event.data
        assert got.endswith(text) and got[0] == 0x81
    http.send_data(1, b"\x88\x82" + bytes(4) + (1000).to_bytes(2, "big"), end_stream=True)
    until(lambda event: isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)) and event.stream_id == 1)
    connection.close()


def pieces(data):
    return [data[at : at + 16_000] for at in range(0, len(data), 16_000)]


async def main():
    await pages(False)
    await pages(True)
    await logins()
    await sockets()


asyncio.run(main())
socket_by_http2()
print("served")
