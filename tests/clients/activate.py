"""Hands a listening socket over as systemd does: activate.py ADDRESS PORT PROGRAM ARGUMENT…"""

import os
import socket
import sys

address, port, *command = sys.argv[1:]
listener = socket.socket()
listener.bind((address, int(port)))
listener.listen()
if listener.fileno() != 3:
    os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(command[0], command)
