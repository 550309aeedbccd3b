"""A server on ADDRESS and PORT that greets in IMAP with the address that the client comes from."""

import socket
import sys

address, port = sys.argv[1:]
server = socket.create_server((address, int(port)), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
print("listening", flush=True)
while True:
    client, peer = server.accept()
    client.sendall(f"* OK [CAPABILITY IMAP4rev1] you are {peer[0]}\r\n".encode())
    client.recv(1000)
    client.close()
