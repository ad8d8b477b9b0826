"""Ports of this machine."""

from __future__ import annotations

import ipaddress
import random
import socket
from contextlib import ExitStack
from pathlib import Path


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def first_of_six_free_ports() -> int:
    """The first of six ports in a row that nobody listens on, for a project and its services."""
    # Try at random: another test session may be about to listen on the first free port.
    for port in random.sample(range(20000, 30000, 10), 1000):
        with ExitStack() as probes:
            try:
                for number in range(port, port + 6):
                    probe = probes.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", number))
            except OSError:
                continue
        return port
    raise OSError("no free ports")


def listening(tables: str) -> set[tuple[str, int]]:
    """The addresses and ports that listen, given the text of /proc/net/tcp and tcp6 (proc(5))."""
    found = set()
    for _, local, _, state, *_ in map(str.split, tables.splitlines()):
        if state != "0A":
            continue
        host, port = local.split(":")
        # Words of four bytes, each in the order of the machine
        words = [bytes.fromhex(host[n : n + 8])[::-1] for n in range(0, len(host), 8)]
        found.add((str(ipaddress.ip_address(b"".join(words))), int(port, 16)))
    return found


def listening_here() -> set[tuple[str, int]]:
    """The addresses and ports of this machine that listen."""
    return listening("".join(Path("/proc/net", name).read_text() for name in ("tcp", "tcp6")))
