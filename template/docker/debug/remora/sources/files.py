"""Which file of the project a file of the container is, and the other way round.

An editor names files of the project, a program names files of the container. A Dockerfile may put
files anywhere, so their contents are compared: the debug image holds a copy of the project's Python
files and templates, as of its build. If the content does not tell (a mounted file has been edited,
or there is no copy), the container's mounts, the client's path mappings and the ends of paths
decide. A file that stays ambiguous is not a file of the project.

This module only reads files. It does not use pydevd: see paths.py.
"""

import os
import sys

from ..container import read
from ..engine.apart import script_folder, standard_library
from .pathnames import below, common_tail, import_path, joined, parts_of
from .project import is_copy, size_of


def mounts():
    """Return the folders of the machine that are mounted here, as (place there, place here)."""
    found = []
    for line in read("self", "mountinfo").splitlines():  # proc(5)
        there, here = (field.replace("\\040", " ") for field in line.split()[3:5])
        if there != "/" and here != "/" and os.path.isdir(here):
            found.append((there, here))
    return found


class Files:
    """Translates between a client's files and the files of the container.

    The methods call a file by its path below the project's folder; if the copy does not have the
    file, by the client's own path. The code calls this name `local`.

    project: a Project. mappings: the client's path mappings, as (folder there, folder here).
    """

    def __init__(self, project, mappings=()):
        self.project, self.mappings, self.mounts = project, list(mappings), mounts()
        self._library = standard_library()
        # The client's folder of the project, as far as it is known: the shortest that the mappings
        # tell, until local() learns it from a path.
        folders = (project.client_folder(there, here) for there, here in mappings)
        self.root = min(folders, key=len, default=None)
        # The client's paths that the copy does not have
        self.others = []
        self._known = {}

    # ---- The client's paths ----

    def local(self, path):
        """Return the name (see the class) of the file that the client calls `path`."""
        parts = parts_of(path)
        ends = len(parts)
        for root in filter(None, [self.root, *(there for there, _ in self.mappings)]):
            local = below(path, root)
            if local is None:
                continue
            if local in self.project:
                self.root = root
                return local
            ends = min(ends, len(parts) - len(parts_of(local)))
        # A shorter end than the path below the client's folder would be another file.
        found = ["/".join(parts[first:]) for first in range(ends)]
        found = [local for local in found if local in self.project]
        if len(found) == 1:  # else …/shop/a.py may mean a.py or shop/a.py
            self.root = path[: -len(found[0]) - 1]
            return found[0]
        if path not in self.others:
            self.others.append(path)
            self._known.clear()
        return path

    def client_path(self, local):
        """Return the client's path of a file; None if it is not known. local: see the class."""
        if local not in self.project:
            return local
        return joined(self.root, local) if self.root else None

    # ---- The container's files ----

    def identify(self, file):
        """Return the name (see the class) of a file of the container; None if it has none."""
        if file not in self._known:
            self._known[file] = self._identify(file)
        return self._known[file]

    def _identify(self, file):
        local = self._most_similar(file)
        if local is None:
            return None
        places = self.places(local)
        is_one = file in places or any(is_copy(file, place) for place in places)
        return local if is_one or not places else None

    def _most_similar(self, file):
        """Return the name of a file by its content, else by its paths; None if neither tells."""
        same = self.project.same(file)
        if same:
            return self.closest(same, file)
        if size_of(file) == 0:
            return None  # there is nothing to stop at
        if file in self.others:
            return file  # the client uses the container's own path
        name = os.path.basename(file)
        named = [path for path in self.others if parts_of(path)[-1:] == [name]]
        candidates = [*self.project.by_name.get(name, ()), *named]
        return only_best({local: self._similarity(file, local) for local in candidates})

    def closest(self, same, file):
        """Return the file of `same` that `file` is most likely; None if several are equally likely.

        same: files of the project, which all have the content of `file`.
        """
        tails = {local: common_tail(local, file) for local in same}
        longest = max(tails.values())
        same = [local for local in same if tails[local] == longest]
        if len(same) == 1:
            return same[0]
        return only_best({local: self._equal_beside(local, file) for local in same})

    def _equal_beside(self, local, file):
        """Return how many files in the folder of `file` equal those in the folder of `local`."""
        here, there = os.path.dirname(file), os.path.dirname(f"{self.project.folder}/{local}")
        return sum(is_copy(f"{here}/{name}", f"{there}/{name}") for name in os.listdir(there))

    def _similarity(self, file, local):
        """Return how many parts two paths share at their ends; 0 if they are too few.

        One path is the client's path of `local`. The other is `file`, or its path on the machine or
        at the client, as far as that is known.
        """
        path = self.client_path(local) or local
        imported = import_path(file)
        if imported is not None or file.startswith(tuple(self._library)):
            # Installed files often share names. Only the copy tells, or the whole path of a module.
            shared = common_tail(path, imported or "")
            is_module = local not in self.project and shared == len(parts_of(imported or ""))
            return shared if shared > 1 and is_module else 0
        elsewhere = [f"{there}/{end}" for there, end in ends_of(file, self.mounts + self.mappings)]
        shared = max(common_tail(path, one) for one in [file, *elsewhere])
        needed = len(parts_of(local)) if local in self.project else 1
        is_enough = shared > 1 or os.path.dirname(file) in self.roots()
        return shared if shared >= needed and is_enough else 0

    def path_of(self, file):
        """Return the client's path of a file of the container; None if the client lacks it."""
        local = self.identify(file)
        if local is not None:
            return self.client_path(local)
        if self.root:
            # If containers run in a virtual machine, its path of the folder begins with more.
            root = "/" + self.root.replace("\\", "/").replace(":", "").strip("/") + "/"
            for there, end in ends_of(file, self.mounts):
                _, found, rest = f"{there}/{end}".partition(root)
                if found:
                    return joined(self.root, rest)
        mappings = [] if self.project.by_name else self.mappings
        return next((joined(there, end) for there, end in ends_of(file, mappings)), None)

    # ---- Where files of the project are ----

    def places(self, local):
        """Return the files of the container that are a file of the project; [] if none is.

        Files with the same content count first. If there are none, the files with the most similar
        paths count, unless their contents differ.
        """
        found = [file for file, known in list(self._known.items()) if known == local]
        if found:
            return found
        found = self._candidates(local)
        if local in self.project:
            equal = [file for file in found if is_copy(file, f"{self.project.folder}/{local}")]
            if equal:
                return equal
        similarity = {file: self._similarity(file, local) for file in found}
        best = max(similarity.values(), default=0)
        found = [
            file for file in found if similarity[file] == best and self._most_similar(file) == local
        ]
        if not all(is_copy(file, found[0]) for file in found):
            found = [file for file in found if file in loaded()]
        return found if all(is_copy(file, found[0]) for file in found) else []

    def _candidates(self, local):
        """Return the files of the container that may be a file of the project."""
        path = self.client_path(local) or local
        parts = parts_of(path)
        ends = ["/".join(parts[first:]) for first in range(len(parts))]
        found = [f"{root}/{end}" for root in self.roots() for end in ends]
        found += [
            f"{here}/{below(path, there)}" for there, here in self.mappings if below(path, there)
        ]
        found = [os.path.normpath(file) for file in found]
        found += [file for file in [path, *loaded()] if os.path.basename(file) == parts[-1]]
        return [file for file in dict.fromkeys(found) if size_of(file) is not None]

    def why_missing(self, local):
        """Return in words why no file of the container is a file of the project."""
        for file in self._candidates(local):
            is_another = self.identify(file)
            if is_another:
                return f"{file} is {is_another}"
            return f"{file} differs from it, or several files may be it"
        return f"nothing like it is below {', '.join(self.roots())}"

    def roots(self):
        """Return the folders of the container where a program's files may be."""
        found = [working_directory(), *sys.path, *(here for _, here in self.mappings + self.mounts)]
        try:
            found += [os.getcwd(), script_folder()]
        except OSError:  # the folder is deleted
            found = [root for root in found if os.path.isabs(root)]
        roots = dict.fromkeys(map(os.path.abspath, found))
        return [root for root in roots if root not in self._library]


def ends_of(file, pairs):
    """Return where a file is below the folders here of `pairs`, as (place there, path below it)."""
    found = [(there, below(file, here)) for there, here in pairs]
    return [(there, end) for there, end in found if end]


def loaded():
    """Return the files of the modules that the program has imported."""
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    return [file for file in files if isinstance(file, str)]


def only_best(scores):
    """Return the key with the highest number above 0; None if none or several have it."""
    best = max(scores.values(), default=0)
    found = [key for key, score in scores.items() if score == best]
    return found[0] if best and len(found) == 1 else None


def working_directory():
    """Return the working directory of the container's command; "/" if it cannot be read."""
    for folder in ("/proc/1/cwd", "/proc/self/cwd"):
        try:
            return os.readlink(folder)
        except OSError:
            pass  # the process belongs to another user
    return "/"
