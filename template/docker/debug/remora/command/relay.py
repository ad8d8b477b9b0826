"""The command `remora relay`: connect a client by standard input and output.

It serves where nothing forwards a port. A tool runs the command in a container and connects to its
streams, for example `kubectl exec -i`, `docker exec -i` or `srun --overlap`. The client's bytes go
to the hub's Unix socket, so the port may be closed. The command ends when either side does.
"""

import os
import sys
import threading

from .. import link
from . import command


def main():
    """Run the command. Returns 0 when the session has ended, 1 if there cannot be one."""
    if command.mode() == "off":
        return refuse(command.OFF)
    command.start_hub()
    connection = link.connect(is_program=False)
    if connection is None:
        return refuse(command.NO_HUB)
    connection.settimeout(None)
    connection.sendall(b'{"ask": "session"}\n')

    def send():
        import socket

        copy(0, connection.fileno())
        try:
            connection.shutdown(socket.SHUT_WR)  # then the hub ends the session
        except OSError:
            pass  # the session has ended

    threading.Thread(target=send, daemon=True).start()
    copy(connection.fileno(), 1)
    return 0


def refuse(why):
    print(f"remora relay: {why}", file=sys.stderr)
    return 1


def copy(source, target):
    """Copy bytes from one descriptor to another until either of them ends."""
    try:
        while True:
            part = os.read(source, 65536)
            if not part:
                return
            while part:
                part = part[os.write(target, part) :]
    except OSError:
        pass  # one side has left
