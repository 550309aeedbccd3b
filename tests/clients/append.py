"""Appends a message of ten megabytes over IMAPS, fetches it, and compares every byte."""

import imaplib
import os
import socket
import ssl
import sys

host, port, authority, password = sys.argv[1:]


class FromSecondAddress(imaplib.IMAP4_SSL):
    def _create_socket(self, timeout):
        plain = socket.create_connection(("127.0.0.1", self.port), timeout, ("127.0.0.2", 0))
        return self.ssl_context.wrap_socket(plain, server_hostname=self.host)


line = lambda: os.urandom(38).hex().encode() + b"\r\n"
message = b"Subject: large\r\n\r\n" + b"".join(line() for _ in range(10_000_000 // 78 + 1))

imap = FromSecondAddress(host, int(port), ssl_context=ssl.create_default_context(cafile=authority))
imap.login("user", password)
kind, answer = imap.append("INBOX", None, None, message)
assert kind == "OK", answer
imap.select("INBOX")
kind, answer = imap.fetch("1", "(BODY.PEEK[])")
assert kind == "OK", answer
fetched = answer[0][1]
imap.logout()
assert fetched == message, f"{len(fetched)} bytes came back of {len(message)}"
print(len(fetched))
