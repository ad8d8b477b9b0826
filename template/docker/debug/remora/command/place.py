"""A line of a file, by any path of the file that the user may type.

This module only reads files.
"""

import dis
import os
from types import CodeType

from ..sources.files import Files, working_directory
from ..sources.pathnames import below, common_tail, import_path, joined, parts_of
from ..sources.project import Project, content_of

# The project's folder in the paths that the hub is given. No container has such a folder.
ROOT = "/<project>"


class Unknown(Exception):
    """There is no such place. The text says why, and what there is."""


class Place:
    """A line of a file. Raises Unknown if the file has no such line, or the line has no code.

    path    the path for the hub
    name    the path for the user: in the project, or else in the container
    """

    def __init__(self, text):
        name, _, line = text.rpartition(":")
        if not name or not line.isdecimal() or len(line) > 9:
            raise Unknown(f"a place must be FILE:LINE, such as src/shop/cart.py:41, not {text!r}")
        files = Files(Project(), [(ROOT, working_directory())])
        local = find(name, files)
        self.path, self.line = files.client_path(local), int(line)
        self.name = name_of(self.path)
        for file in [*files.places(local), f"{files.project.folder}/{local}"][:1]:
            self._check(content_of(file))

    def _check(self, content):
        """Raise Unknown if the line has no code. content: the bytes of the file."""
        if content is None:
            return
        length = len(content.splitlines())
        try:
            lines = lines_of(compile(content, self.name, "exec", dont_inherit=True))
        except (SyntaxError, ValueError):
            # It is a template, or the program has another Python. The program knows better.
            lines = range(1, length + 1)
        if self.line not in lines:
            why = "has no code" if self.line <= length else f"is past its end, line {length}"
            near = sorted(sorted(lines, key=lambda line: abs(line - self.line))[:3])
            shown = f"the nearest lines with code are {', '.join(map(str, near))}"
            hint = shown if near else "the file has no code at all"
            raise Unknown(f"line {self.line} of {self.name} {why}: {hint}")


def find(name, files):
    """Return the project's name (see Files) of a file, by any path that the user may type.

    Raises Unknown if there is no such file, or several may be meant.
    """
    project, parts = files.project, parts_of(os.path.normpath(name))
    is_whole = name.startswith(("/", "\\")) or name[1:2] == ":"
    if is_whole and content_of(name) is not None:  # a path of the container
        local, end = files.identify(name), below(name, working_directory())
        if local and local in project:
            return local
        is_imported = import_path(name) is not None
        return files.local(name if is_imported or not end else joined(ROOT, end))
    if "/".join(parts) in project and not is_whole:
        return "/".join(parts)
    alike = project.by_name.get(parts[-1] if parts else "", [])
    shared = {local: len(parts_of(local) if is_whole else parts) for local in alike}
    found = [local for local in alike if common_tail(local, name) == shared[local]]
    if len(found) > 1:
        raise Unknown(f"{name} may be {' or '.join(sorted(found))}: say which")
    if found:
        return found[0]
    local = files.local(name if is_whole else joined(ROOT, "/".join(parts)))
    places = parts and files.places(local)
    if not places:
        hint = f": there is {', '.join(sorted(alike)[:3])}" if alike else ""
        what = "is not a Python file or template of the project or this container"
        raise Unknown(f"{name} {what}{hint}")
    return find(places[0], files) if is_whole else local


def lines_of(code):
    """Return the numbers of the lines that have code, also in functions and classes."""
    found = {line for _, line in dis.findlinestarts(code) if line}
    return found.union(*(lines_of(one) for one in code.co_consts if isinstance(one, CodeType)))


def name_of(path):
    """Return the user's path of a file by the path for the hub."""
    return path[len(ROOT) + 1 :] if path.startswith(f"{ROOT}/") else path
