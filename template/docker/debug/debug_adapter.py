"""Keep debugpy's adapter open to clients, whatever else connects to its port.

The adapter is the process that listens on the port. It is a Python of the debug image too, so the
hook runs in it, and has it take in only those connections that begin as a client's do. debugpy
itself takes in all, and what is none does harm:

    - One that is closed at once, as by a probe of the port, raises an exception in the thread that
      accepts connections: no client could attach any more.
    - One that says something else, such as HTTP, has a session that does not end: the adapter would
      keep the port after the program has ended.
    - One that comes and goes before the program has reached the adapter would end the adapter.
"""

import socket
import threading

from debug_session import when_imported

# What a client begins with (https://microsoft.github.io/debug-adapter-protocol/overview).
GREETING = b"Content-"

# How long a client is held until the program is there, in seconds; debugpy.listen() gives the
# adapter as long.
PROGRAM_TIMEOUT = 30


def keep_open():
    """Do so in this process, which is about to become an adapter."""
    when_imported("debugpy.common.sockets", guard)


def greets(connection):
    """Wait until the other side says something or leaves, and tell whether it is a client."""
    try:
        said = connection.recv(len(GREETING), socket.MSG_PEEK)
    except OSError:
        return False
    return said != b"" and GREETING.startswith(said)


def guard(sockets):
    """Replace serve(name, handler, ...) of debugpy.common.sockets.

    It listens, and calls handler(socket) for each connection in a thread that accepts them. The
    name is "Client" for the port, and "Server" for where the program and its children connect to.
    """
    serve = getattr(sockets, "serve", None)
    if serve is None or serve.__code__.co_varnames[:2] != ("name", "handler"):
        return  # a later debugpy may do this differently: then its own way holds
    program_is_there = threading.Event()

    def serve_guarded(name, handler, *arguments, **options):
        def take_client(connection):
            if greets(connection):
                program_is_there.wait(PROGRAM_TIMEOUT)
                handler(connection)
            else:
                connection.close()

        def accept(connection):
            # What debugpy sends is short and waited for: see send_at_once() in debug_session.py.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if name == "Client":
                threading.Thread(target=take_client, args=[connection], daemon=True).start()
            else:
                handler(connection)
                program_is_there.set()

        return serve(name, accept, *arguments, **options)

    sockets.serve = serve_guarded
