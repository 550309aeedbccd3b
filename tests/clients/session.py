"""What the clients share: session.py is told TLS HOST PORT AUTHORITY USER on the command line.

TLS is "starttls" or "implicit"; HOST is only the name asked for and verified, the server is on
127.0.0.1. Every client comes from 127.0.0.2.
"""

import socket
import ssl
import sys

tls, host, port, authority, user, *more = sys.argv[1:]
port = int(port)
PASSWORD = "correct-horse"

context = ssl.create_default_context(cafile=authority)


def connect(timeout=30):
    return socket.create_connection(("127.0.0.1", port), timeout, ("127.0.0.2", 0))


def connect_over_tls(timeout=30):
    return context.wrap_socket(connect(timeout), server_hostname=host)
