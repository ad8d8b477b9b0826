"""The project's Python files and templates, as they were when the debug image was built.

See debug.Dockerfile. In a Dev Container, and where a dump is shown, they are those of now: the
folder is mounted.
"""

import os

from remora.pathnames import below, parts_of

# Their copy in the image
FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(__file__))), "project")

# What debug.Dockerfile.dockerignore takes of a project: Python files, and templates
ENDS = (".py", ".html", ".txt", ".jinja", ".jinja2", ".j2")

# What is not the project's: see there, too
LEFT_OUT = ("site-packages", "node_modules", ".git")


class Project:
    """The copy of the project's files, which are called by their paths below its folder."""

    def __init__(self, folder=FOLDER):
        self.folder = folder
        self.by_size, self.by_name = {}, {}
        for here, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if name not in LEFT_OUT]
            for name in (name for name in names if name.endswith(ENDS)):
                path = os.path.join(here, name)
                local = path[len(folder) + 1 :]
                size = size_of(path)
                if size is not None:  # or else it is a link to nothing
                    self.by_name.setdefault(name, []).append(local)
                    self.by_size.setdefault(size, []).append(local)

    def __contains__(self, local):
        return local in self.by_name.get(os.path.basename(local), ())

    def same(self, path):
        """Return the files with the content of a file; none for an empty one, of which many are."""
        copies = self.by_size.get(size_of(path) or None, ())
        return [local for local in copies if is_copy(path, f"{self.folder}/{local}")]

    def holding(self, content):
        """Return the files with a content; none for an empty one, of which many are."""
        copies = self.by_size.get(len(content) or None, ())
        return [local for local in copies if content_of(f"{self.folder}/{local}") == content]

    def client_folder(self, there, here):
        """Return where a client has the project's folder if it maps a folder to one of here.

        It may have mapped a folder that is further down. Which one, is told by the files that are
        of the same size here.
        """
        there = there.rstrip("/\\")
        parts = parts_of(there)
        ends = ["/".join(parts[first:]) for first in range(len(parts), -1, -1)]
        ends = [end for end in ends if os.path.isdir(os.path.join(self.folder, end))]
        if len(ends) < 2:  # or else all files would be looked at for nothing
            return there
        best = max(ends, key=lambda end: self._count_alike(end, here))
        return there[: -len(best) - 1] if best else there

    def _count_alike(self, folder, here):
        """Return how many files below a folder of the project are below a folder of here, too."""
        top = os.path.join(self.folder, folder)
        paths = (f"{self.folder}/{local}" for found in self.by_name.values() for local in found)
        pairs = ((path, below(path, top)) for path in paths)
        return sum(size_of(f"{here}/{end}") == size_of(path) for path, end in pairs if end)


def is_copy(one, other):
    """Tell whether two files have the same content."""
    size = size_of(one)
    return size is not None and size == size_of(other) and content_of(one) == content_of(other)


def size_of(path):
    """Return the size of a file in bytes, also of one in a zip file; None if it is not there."""
    try:
        return os.path.getsize(path)
    except NotADirectoryError:
        content = content_of(path)
        return None if content is None else len(content)
    except (OSError, ValueError):
        return None


def content_of(path):
    """Return what a file holds, also one in a zip file; None if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except NotADirectoryError:
        return _content_in_zip(path)
    except (OSError, ValueError):
        return None


def _content_in_zip(path):
    # Not zipfile, of which the program may have a file of its own.
    import zipimport

    archive = path
    while not os.path.exists(archive):
        archive = os.path.dirname(archive)
    try:
        return zipimport.zipimporter(archive).get_data(path)
    except (OSError, ImportError):
        return None
