"""Paths of files as texts: of a client, which may run on another system, and of this container.

This module does not touch the disk.
"""


def parts_of(path):
    """Return the parts of a path of any system."""
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]


def common_tail(one, other):
    """Return how many parts two paths share at their ends."""
    pairs = zip(reversed(parts_of(one)), reversed(parts_of(other)))  # noqa: B905 - Python 3.8
    count = 0
    for left, right in pairs:
        if left != right:
            break
        count += 1
    return count


def below(path, folder):
    """Return the path of a file below a folder, with "/" between parts; None if it is elsewhere.

    On Windows, upper and lower case are the same, and so are both slashes.
    """
    path, folder = path.replace("\\", "/"), folder.replace("\\", "/").rstrip("/") + "/"
    is_of_windows = folder[1:2] == ":"
    start = path[: len(folder)]
    is_same = start.lower() == folder.lower() if is_of_windows else start == folder
    return path[len(folder) :] if is_same else None


def import_path(path):
    """Return the path of a file below its folder of installed packages; None if it has none."""
    for folder in ("/site-packages/", "/dist-packages/"):
        if folder in path:
            return path.rpartition(folder)[2]
    return None


def joined(folder, path):
    """Return the path of a file below a folder of the client, as the client's system writes it."""
    separator = "\\" if "\\" in folder else "/"
    return folder.rstrip("/\\") + separator + path.replace("/", separator)
