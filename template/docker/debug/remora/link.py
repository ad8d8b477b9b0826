"""The way from a process to the hub: a Unix socket with an abstract name.

Such a name is no file. So it vanishes with the hub, nobody can leave anything in its place, and it
works on a read-only disk. It has the container's PID namespace in it, since containers may share a
network. The kernel tells each side who the other one is (SO_PEERCRED in unix(7)), so there is no
secret to keep.
"""

import os
import sys

from remora.hook import say

# How long the hub may take to start or to answer, in seconds.
TIMEOUT = 30

# What the names end in: that of the hub's socket, and one more that is there while a client is.
HUB, ATTACHED = "hub", "attached"


def name(kind):
    """Return an abstract name as /proc/net/unix has it, without the "@" in front.

    Raises OSError where /proc is not there.
    """
    namespace = os.stat("/proc/self/ns/pid").st_ino
    return f"remora-{namespace}-{kind}"


def exists(kind):
    """Tell whether a name is taken, without a socket: it is cheaper to read than to ask."""
    from remora.container import read

    return f"@{name(kind)}\n" in read("self", "net/unix", 2**24)


def peer(connection):
    """Return the pid, user and group of the other side of a Unix socket."""
    import socket
    import struct

    size = struct.calcsize("3i")
    return struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))


def connect(is_program=True):
    """Return a socket to the hub, or None if there is no hub that this process can trust.

    Whoever a program is connected to can run any code in it. So the hub has to be root's or this
    user's, and in this container (of any other process the kernel gives no pid here).
    """
    # gevent does not patch _socket.
    socket = __import__("_socket" if is_program else "socket")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
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
    """Return a message between a process and the hub as it is sent: a line of JSON."""
    import json

    return json.dumps(message).encode() + b"\n"


async def answer(writer, **facts):
    """Send a process what the hub answers."""
    writer.write(line_of(facts))
    await writer.drain()


def exchange(connection, message):
    """Send a message to the hub, and return its answer; None if there is none in time."""
    import json

    try:
        connection.sendall(line_of(message))
        answer = b""
        # Not a byte more is read: what follows is for pydevd.
        while not answer.endswith(b"\n"):
            byte = connection.recv(1)
            if not byte:
                return None
            answer += byte
        return json.loads(answer.decode())
    except (OSError, ValueError):
        return None


def start_hub(wait, output=None):
    """Start the hub, unless there is one: of several at once, the first to take the name stays.

    wait: whether to return only when a hub takes in programs, or cannot be started.
    output: a descriptor for what it says until then, if that is not descriptor 2.
    """
    import warnings

    home = os.path.dirname(os.path.dirname(__file__))
    python = os.path.join(home, "python")
    if not os.path.exists(python):
        python = sys.executable
    ready, is_ready = os.pipe()
    # Python 3.12 warns of a fork where there are threads: here the child becomes another program.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        # The hub belongs to no program: it is nobody's child and has no terminal.
        try:
            os.setsid()
            if os.fork() == 0:
                os.set_inheritable(is_ready, True)
                if output is not None:
                    os.dup2(output, 2)
                main = os.path.join(home, "remora", "__main__.py")
                os.execv(python, [python, "-I", "-S", main, "hub", str(is_ready)])
        finally:
            os._exit(0)
    os.close(is_ready)
    os.waitpid(child, 0)
    if wait:
        # The hub closes its end when it is ready, and the kernel does if it ends before.
        import select

        select.select([ready], [], [], TIMEOUT)
    os.close(ready)
