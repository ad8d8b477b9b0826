"""A program's socket to the hub, which survives what the program does to its descriptors.

A program that becomes a daemon closes every number that may be a descriptor. Its next file can have
the number of this socket, and must not be read, written to or closed in place of this socket.
"""

import _socket  # gevent does not patch it
import fcntl
import os
import struct

# How often a thread that waits for the hub checks that it still has its socket, in microseconds
INTERVAL = 100_000


class Connection(_socket.socket):
    """A Unix socket. is_back: whether the program has closed the descriptor of the last one."""

    is_back = False

    def __init__(self):
        with_low_number = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        # Leave the low numbers to the program, as without a debugger: it may expect to get them.
        start = min(os.sysconf("SC_OPEN_MAX"), 1024) // 2
        number = fcntl.fcntl(with_low_number.fileno(), fcntl.F_DUPFD_CLOEXEC, start)
        with_low_number.close()
        super().__init__(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, number)
        self._identity = identity(number)
        self.is_back, Connection.is_back = Connection.is_back, False
        timeout = struct.pack("ll", 0, INTERVAL)
        self.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, timeout)

    def _check(self):
        """Let go of the descriptor if it is not this socket's any more."""
        number = self.fileno()
        if number != -1 and identity(number) != self._identity:
            Connection.is_back = True  # the hub notices, and asks this process again
            self.detach()  # from now on, all functions raise OSError

    def recv(self, size):  # type: ignore[override]
        """Return bytes from the hub. Raises OSError soon if the program closes the descriptor."""
        while True:
            self._check()
            try:
                return super().recv(size)
            except BlockingIOError:
                pass  # INTERVAL has passed

    def sendall(self, data):  # type: ignore[override]
        self._check()
        super().sendall(data)

    def shutdown(self, how):
        self._check()
        super().shutdown(how)

    def close(self):
        self._check()
        super().close()

    __del__ = close


def identity(number):
    """Return what tells the file of a descriptor from all others; None if the number is free."""
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return found.st_dev, found.st_ino
