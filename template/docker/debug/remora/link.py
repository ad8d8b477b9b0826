"""The connection from a process to the hub: a Unix socket with an abstract name.

An abstract name is not a file. It vanishes with the hub, nobody can leave something else in its
place, and it works on a read-only disk. Containers may share a network, so the name contains the
PID namespace. The kernel tells each side who the other one is (SO_PEERCRED in unix(7)), so there
are no secrets to keep.
"""

import os
import sys

from .container import read
from .hook import HOME, say

# How long the hub may take to start or to answer, in seconds.
TIMEOUT = 30

# The names end in these words: the hub's socket, and a name that exists while a client is attached.
HUB, ATTACHED = "hub", "attached"


def name(kind):
    """Return an abstract name as /proc/net/unix shows it, without the "@" in front.

    kind: HUB or ATTACHED. Raises OSError if /proc is missing.
    """
    namespace = os.stat("/proc/self/ns/pid").st_ino
    return f"remora-{namespace}-{kind}"


def exists(kind):
    """Tell whether a name exists: HUB or ATTACHED. To read /proc is cheaper than to connect."""
    return f"@{name(kind)}\n" in read("self", "net/unix", 2**24)


def is_served():
    """Tell whether a hub accepts connections: whether its socket listens (__SO_ACCEPTCON)."""
    sockets = (line.split() for line in read("self", "net/unix", 2**24).splitlines())
    return any(line[3] == "00010000" and line[-1] == f"@{name(HUB)}" for line in sockets)


def peer(connection):
    """Return (pid, user, group) of the other side of a Unix socket."""
    import socket
    import struct

    size = struct.calcsize("3i")
    return struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))


def connect(is_program=True):
    """Return a socket to the hub; None if there is no hub that this process can trust.

    A program's debugger can run any code in it. So a program accepts only a hub of root or of its
    own user, in this container: for a process of another container, the kernel gives no pid.

    is_program: whether a program connects, and not the command `remora`.
    """
    if is_program:
        from .connection import Connection

        connection = Connection()
    else:
        import socket

        connection = socket.socket(socket.AF_UNIX)  # type: ignore[assignment]
    try:
        connection.settimeout(TIMEOUT)
        connection.connect("\0" + name(HUB))
        pid, user, _ = peer(connection)
        if pid > 0 and (user in (0, os.geteuid()) or not is_program):
            return connection
        say(
            f"the debugger's hub is pid {pid} of user {user},"
            f" so pid {os.getpid()} of user {os.geteuid()} goes on without it"
        )
    except OSError:
        pass
    connection.close()
    return None


def line_of(message):
    """Return a message between a process and the hub as bytes: a line of JSON."""
    import json

    return json.dumps(message).encode() + b"\n"


async def answer(writer, **facts):
    """Send a process the hub's answer."""
    writer.write(line_of(facts))
    await writer.drain()


def exchange(connection, message):
    """Send a message to the hub, and return its answer; None if none comes in time."""
    import json

    try:
        connection.sendall(line_of(message))
        answer = b""
        # Read byte by byte: what follows the line is for pydevd.
        while not answer.endswith(b"\n"):
            byte = connection.recv(1)
            if not byte:
                return None
            answer += byte
        return json.loads(answer.decode())
    except (OSError, ValueError):
        return None


def start_hub(wait, output=None):
    """Start the hub if none runs. If several start at once, the first one to take the name stays.

    wait: whether to return only when the hub accepts programs, or cannot be started. output: a
    descriptor to which the hub prints until then, instead of descriptor 2. Without it, a program
    waits, and this function says so if there is no hub for it.
    """
    if wait and is_served():
        return  # to start one that ends at once takes a tenth of a second
    # A socket's timeout needs no module that gevent patches, and works with any descriptor.
    import _socket

    ready, is_ready = _socket.socketpair()
    try:
        _execute_hub(is_ready.fileno(), output)
        is_ready.close()
        if wait:
            # The hub closes its end when it is ready. If it ends before, the kernel closes it.
            ready.settimeout(TIMEOUT)
            ready.recv(1)
    except _socket.timeout:
        pass
    finally:
        is_ready.close()
        ready.close()
    if wait and output is None and not exists(HUB):
        say(f"the debugger's hub cannot start, so pid {os.getpid()} goes on without it")


def _execute_hub(is_ready, output):
    """Execute the hub in a new process. is_ready: see Server.run(). output: see start_hub()."""
    import warnings

    python = os.path.join(HOME, "python")
    if not os.path.exists(python):
        python = sys.executable
    # Python 3.12 warns of a fork of a process with threads. This child only executes another
    # program.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        # Detach the hub from this process: it has no terminal, and no program is its parent.
        try:
            os.setsid()
            if os.fork() == 0:
                os.set_inheritable(is_ready, True)
                if output is not None:
                    os.dup2(output, 2)
                main = os.path.join(HOME, "_remora", "__main__.py")
                os.execv(python, [python, "-I", "-S", main, "hub", str(is_ready)])
        finally:
            os._exit(0)
    try:
        os.waitpid(child, 0)
    except ChildProcessError:
        pass  # the program ignores SIGCHLD, or has waited for any child meanwhile
