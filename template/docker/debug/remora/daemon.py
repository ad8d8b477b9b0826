"""Make the hub a process of its own, independent of the program that has started it.

This module changes the descriptors of the process.
"""

import os

from .hook import say, setting


def close_inherited(keep):
    """Close all descriptors that this process has inherited, except `keep` and 0 to 2."""
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor != keep:
            try:
                os.close(descriptor)
            except OSError:
                pass  # the descriptor of the listing itself
    os.set_inheritable(keep, False)


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
