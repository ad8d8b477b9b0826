"""The project's Python files and templates, as they were when the debug image was built.

debug.Dockerfile copies them. In a Dev Container, and where a dump is shown, the project's folder is
mounted in place of the copy, and the files are the present ones. This module only reads files.
"""

import os
import stat

from .hook import HOME
from .pathnames import below, parts_of

# The copy in the image
FOLDER = os.path.join(os.path.dirname(HOME), "project")

# The endings that debug.Dockerfile.dockerignore lets through: Python files, and templates
ENDS = (".py", ".html", ".txt", ".jinja", ".jinja2", ".j2")

# The folders that it leaves out, because they are not the project's own
LEFT_OUT = ("site-packages", "node_modules", ".git")


class Project:
    """The copy of the project's files. A file is named by its path below the project's folder."""

    def __init__(self, folder=FOLDER):
        self.folder = folder
        self.by_size, self.by_name = {}, {}
        for here, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if name not in LEFT_OUT]
            for name in (name for name in names if name.endswith(ENDS)):
                path = os.path.join(here, name)
                local = path[len(folder) + 1 :]
                size = size_of(path)
                if size is not None:  # None: a link to nothing
                    self.by_name.setdefault(name, []).append(local)
                    self.by_size.setdefault(size, []).append(local)

    def __contains__(self, local):
        return local in self.by_name.get(os.path.basename(local), ())

    def same(self, path):
        """Return the files with the content of `path`; none if it is empty, as many are."""
        copies = self.by_size.get(size_of(path) or None, ())
        return [local for local in copies if is_copy(path, f"{self.folder}/{local}")]

    def holding(self, content):
        """Return the files with this content (bytes); none if it is empty, as many are."""
        copies = self.by_size.get(len(content) or None, ())
        return [local for local in copies if content_of(f"{self.folder}/{local}") == content]

    def client_folder(self, there, here):
        """Return the client's folder of the project, if it maps its folder `there` to `here`.

        The client may have mapped a folder further down. The files that have the same sizes in
        `here` tell which one.
        """
        there = there.rstrip("/\\")
        parts = parts_of(there)
        ends = ["/".join(parts[first:]) for first in range(len(parts), -1, -1)]
        ends = [end for end in ends if os.path.isdir(os.path.join(self.folder, end))]
        if len(ends) < 2:  # there is no folder further down
            return there
        best = max(ends, key=lambda end: self._count_alike(end, here))
        return there[: -len(best) - 1] if best else there

    def _count_alike(self, folder, here):
        """Return how many files below a folder of the project have the same size below `here`."""
        top = os.path.join(self.folder, folder)
        paths = (f"{self.folder}/{local}" for found in self.by_name.values() for local in found)
        pairs = ((path, below(path, top)) for path in paths)
        return sum(size_of(f"{here}/{end}") == size_of(path) for path, end in pairs if end)


def is_copy(one, other):
    """Tell whether two files have the same content."""
    size = size_of(one)
    return size is not None and size == size_of(other) and content_of(one) == content_of(other)


def size_of(path):
    """Return the size of a file in bytes, also of a file in a zip file; None if it is missing."""
    try:
        return os.path.getsize(path)
    except NotADirectoryError:
        content = content_of(path)
        return None if content is None else len(content)
    except (OSError, ValueError):
        return None


def content_of(path):
    """Return the bytes of a file, also of a file in a zip file; None if it cannot be read.

    Another kind of file is not read: a pipe, as in `python /dev/stdin`, may never end.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as file:
            return file.read()
    except NotADirectoryError:
        return _content_in_zip(path)
    except (OSError, ValueError):
        return None


def _content_in_zip(path):
    # Avoid zipfile: the program may have a file of that name.
    import zipimport

    archive = path
    while not os.path.exists(archive):
        archive = os.path.dirname(archive)
    try:
        return zipimport.zipimporter(archive).get_data(path)
    except (OSError, ImportError):
        return None
