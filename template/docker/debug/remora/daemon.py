"""What makes the hub a process of the container's, and of no program's."""

import os

from remora.hook import say, setting


def close_inherited(but):
    """Close the descriptors that this process was started with, but one and those from 0 to 2."""
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor != but:
            try:
                os.close(descriptor)
            except OSError:
                pass  # that of the listing
    os.set_inheritable(but, False)


def leave_terminal():
    """Let go of what the process that started the hub had open: a pipe would never end."""
    nothing = os.open(setting("LOG", os.devnull), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)


def say_new_names():
    """Say what settings are called now that have been given by the names of the first release.

    Compose hands them on by their new names, and says which in REMORA_OLD_NAMES.
    """
    handed_on = os.environ.get("REMORA_OLD_NAMES", "").split()
    for name in ("MODE", "PORT", "TARGET", "ADDRESS"):
        is_given = f"DEBUGPY_{name}" in os.environ and f"REMORA_{name}" not in os.environ
        if is_given or name in handed_on:
            say(f"DEBUGPY_{name} is called REMORA_{name} now")
