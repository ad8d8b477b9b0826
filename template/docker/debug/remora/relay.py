"""The command `remora relay`: a client by standard input and output, where nothing forwards a port.

It is for what runs a command in a container and connects to its streams, such as `kubectl exec -i`,
`docker exec -i` and `srun --overlap`. The client's bytes go to the hub by the hub's own socket, as
those of `remora at` do, so no port has to be open. It ends when either side does.
"""

import os
import sys
import threading

from remora import command, link


def main():
    """Run the command. Returns 0 when the session has ended, 1 if there can be none."""
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
            connection.shutdown(socket.SHUT_WR)  # upon which the hub ends the session
        except OSError:
            pass  # it has ended

    threading.Thread(target=send, daemon=True).start()
    copy(connection.fileno(), 1)
    return 0


def refuse(why):
    print(f"remora relay: {why}", file=sys.stderr)
    return 1


def copy(source, target):
    """Copy the bytes of one descriptor to another, as they come, until either is at its end."""
    try:
        while True:
            part = os.read(source, 65536)
            if not part:
                return
            while part:
                part = part[os.write(target, part) :]
    except OSError:
        pass  # one side has gone
