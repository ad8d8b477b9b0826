"""Make the hub a process of its own, independent of the program that has started it.

This module changes the descriptors of the process.
"""

import fcntl
import os
import resource
import signal
import sys

from .. import container
from ..hook import say, setting

# How many descriptors the hub needs at least: for its loop, its sockets, a client and a program
LEAST = 12


def begin(is_ready):
    """Leave what the program that has started the hub has set for itself.

    is_ready: the descriptor that stays open beside 0 to 2. Returns its number. Ends the process if
    it may not open enough descriptors: the program that has started it says so where it matters.
    """
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most != resource.RLIM_INFINITY and most < LEAST:
        sys.exit()
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for name, value in container.environment().items():
        if name.startswith(("REMORA_", "DEBUGPY_")):
            os.environ.setdefault(name, value)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    return take_descriptors(is_ready)


def take_descriptors(keep):
    """Close all descriptors except `keep` and 0 to 2, and open those of 0 to 2 that are closed.

    Else a socket of the hub would get such a number. Returns the number of `keep`, which is above.
    """
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor != keep:
            try:
                os.close(descriptor)
            except OSError:
                pass  # the descriptor of the listing itself
    kept, number = fcntl.fcntl(keep, fcntl.F_DUPFD_CLOEXEC, 3), 0
    os.close(keep)
    while number < 3:
        number = os.open(os.devnull, os.O_RDWR)
    os.close(number)
    return kept


def leave_terminal():
    """Release the terminal or the pipes of the program that has started the hub.

    A pipe would never end.
    """
    nothing = os.open(setting("LOG", os.devnull), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)


def say_new_names():
    """Print the new names of settings that have been given by their names of the first release.

    Compose passes them on by their new names, and lists their old ones in REMORA_OLD_NAMES.
    """
    handed_on = os.environ.get("REMORA_OLD_NAMES", "").split()
    for name in ("MODE", "PORT", "TARGET", "ADDRESS"):
        is_given = f"DEBUGPY_{name}" in os.environ and f"REMORA_{name}" not in os.environ
        if is_given or name in handed_on:
            say(f"DEBUGPY_{name} is called REMORA_{name} now")
