"""ManageSieve (RFC 5804): logs in, stores a script, reads it back and compares it; prints it."""

import base64
import re

from session import PASSWORD, connect, connect_over_tls, context, host, tls, user


class Sieve:
    def __init__(self, sock):
        self.sock = sock
        self.stream = sock.makefile("rb")

    def answer(self):
        """The lines before OK, each with the literal that it ends in; fails on NO and BYE."""
        lines = []
        while True:
            line = self.stream.readline()
            assert line.endswith(b"\r\n"), line
            if re.match(rb"OK\b", line, re.I):
                return lines
            assert not re.match(rb"(NO|BYE)\b", line, re.I), line
            literal = re.search(rb"\{(\d+)\+?\}\r\n$", line)
            if literal:
                line = self.stream.read(int(literal[1]))
                assert self.stream.readline() == b"\r\n"
            lines.append(line)

    def say(self, *lines):
        self.sock.sendall(b"".join(line + b"\r\n" for line in lines))
        return self.answer()

    def start_tls(self):
        self.say(b"STARTTLS")
        self.sock = context.wrap_socket(self.sock, server_hostname=host)
        self.stream = self.sock.makefile("rb")


def capabilities(lines):
    words = (re.findall(rb'"([^"]*)"', line) for line in lines)
    return {name.decode().upper(): [v.decode() for v in value] for name, *value in words}


sieve = Sieve(connect_over_tls() if tls == "implicit" else connect())
offered = capabilities(sieve.answer())
if tls == "starttls":
    assert "STARTTLS" in offered and offered["SASL"] == [""], offered
    sieve.start_tls()
    offered = capabilities(sieve.answer())
assert "STARTTLS" not in offered, offered
assert "PLAIN" in offered["SASL"][0].split(), offered
token = base64.b64encode(f"\0{user}\0{PASSWORD}".encode())
sieve.say(b'AUTHENTICATE "PLAIN" "%s"' % token)
script = b'require "fileinto";\r\nfileinto "Junk";\r\n'
sieve.say(b'PUTSCRIPT "test" {%d+}' % len(script), script)
fetched = sieve.say(b'GETSCRIPT "test"')
sieve.say(b"LOGOUT")
assert fetched == [script], fetched
print(script.decode(), end="")
