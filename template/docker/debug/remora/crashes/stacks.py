"""Collect threads, frames and exceptions for a dump. No code of the program runs."""

import os
import sys
import threading

from ..engine.apart import standard_library
from ..hook import HOME
from ..sources.project import content_of
from . import graph, hiding, texts, uncaught

# How many frames of a stack are written, half of them from each end, and how many exceptions.
FRAMES, EXCEPTIONS = 200, 50

# How many characters the record of a frame takes, besides its names
RECORD = 120

# How many variables of a frame are written.
VARIABLES = 1000

# Ranks of variables: the user's frames that have crashed have 0. Add these for a frame of a
# library, and for a frame of another thread or exception. Lower ranks are written first.
LIBRARY, ELSEWHERE = 1, 2


class Stacks:
    """The threads of this process, and the exception that has ended one.

    graph: for the variables.
    """

    def __init__(self, graph):
        self.graph = graph
        # The files of the frames, and whether each is the user's
        self.files = {}
        self._library = (f"{HOME}/", *standard_library())
        self._exceptions, self._numbers = [], {}

    # ---- Exceptions ----

    def exceptions(self, error):
        """Return an exception and those that it comes from as records; its own record is the first.

        A record refers to another exception by the number of the record.
        """
        waiting = [error]
        self._number(error)
        while waiting and len(self._exceptions) < EXCEPTIONS:
            if self._exceptions and self.graph.is_crowded():
                break
            one = waiting.pop(0)
            record = {
                "type": texts.type_name(one),
                "module": texts.name_of(type(one), "__module__"),
                "text": texts.message_of(one),
                "notes": self._notes(one),
                "is_context_shown": not texts.field(one, "__suppress_context__"),
                "frames": self.of_trace(uncaught.trace_of(one), LIBRARY),
                "value": self.graph.child("", one, ELSEWHERE, ""),
            }
            self._exceptions.append(record)
            cause, context = texts.field(one, "__cause__"), texts.field(one, "__context__")
            group = uncaught.members(one)
            for name, others in (("cause", [cause]), ("context", [context]), ("group", group)):
                known = [other for other in others if other is not None][:EXCEPTIONS]
                waiting += [other for other in known if id(other) not in self._numbers]
                record[name] = [self._number(other) for other in known]
        return self._exceptions

    def _number(self, error):
        return self._numbers.setdefault(id(error), len(self._numbers))

    def _notes(self, error):
        found = [value for name, value in texts.attributes(error, 100) if name == "__notes__"]
        notes = found[0] if found and type(found[0]) is list else []
        shown = [note for note in notes if type(note) is str][:EXCEPTIONS]
        return [hiding.excerpt(note) for note in shown]

    # ---- Threads ----

    def threads(self, error, frame):
        """Return all threads as records; the first has crashed, or was interrupted.

        error: the exception that has ended this thread; None if there is none. frame: this thread's
        innermost frame; None if the thread is the debug layer's own.
        """
        own, found = threading.get_ident(), []
        if error is not None:
            trace = uncaught.trace_of(uncaught.innermost(error))
            frames = self.of_trace(trace, 0)
            callers = self.of_stack(trace.tb_frame.f_back, 0)
            found.append(self._thread(own, [*frames, *callers][:FRAMES], is_crashed=True))
        elif frame is not None:
            found.append(self._thread(own, self.of_stack(frame, 0)))
        main = threading.main_thread().ident
        others = sorted(sys._current_frames().items(), key=lambda item: item[0] != main)
        for number, innermost in others:
            if found and self.graph.is_crowded():
                break
            rank = ELSEWHERE if found else 0
            frames = self.of_stack(innermost, rank) if number != own else []
            if frames:
                found.append(self._thread(number, frames))
        return found

    def _thread(self, number, frames, is_crashed=False):
        thread = dict.get(threading._active, number)  # type: ignore[attr-defined]
        names = dict(texts.attributes(thread, 100)) if thread is not None else {}
        name = names.get("_name")
        name = hiding.excerpt(name, 200) if type(name) is str else f"thread {number}"
        is_daemon = names.get("_daemonic") is True
        return {"name": name, "daemon": is_daemon, "crashed": is_crashed, "frames": frames}

    # ---- Frames ----

    def of_trace(self, trace, rank):
        """Return the frames of a traceback as records, the innermost first.

        rank: of their variables.
        """
        found = []
        while trace is not None:
            found.append((trace.tb_frame, trace.tb_lineno))
            trace = trace.tb_next
        return self._records(found[::-1], rank)

    def of_stack(self, frame, rank):
        """Return a frame and its callers as records, the innermost first.

        rank: of their variables.
        """
        found = []
        while frame is not None:
            found.append((frame, frame.f_lineno))
            frame = frame.f_back
        return self._records(found, rank)

    def _records(self, found, rank):
        # Leave out the debug layer's own frames.
        shown = [pair for pair in found if not pair[0].f_code.co_filename.startswith(f"{HOME}/")]
        if len(shown) > FRAMES:
            shown = shown[: FRAMES // 2] + shown[-FRAMES // 2 :]
        return [self._record(frame, line, rank) for frame, line in shown]

    def _record(self, frame, line, rank):
        code = frame.f_code
        file = path_of(code.co_filename)
        self.graph.made += len(file) + len(code.co_name) + RECORD
        is_user = self.is_user(file)
        self.files[file] = self.files.get(file) or is_user
        rank += 0 if is_user else LIBRARY
        is_module = frame.f_locals is frame.f_globals
        found = [] if self.graph.is_full() else graph.locals_of(frame)
        local = [pair for pair in found if not is_module or is_shown(*pair)][:VARIABLES]
        used = used_globals(frame)[:VARIABLES] if is_user and found and not is_module else []
        return {
            "file": file,
            "line": line or code.co_firstlineno,
            "function": code.co_name,
            "user": is_user,
            "locals": [self.graph.child(name, value, rank, name) for name, value in local],
            "globals": [self.graph.child(name, value, rank + 1, name) for name, value in used],
        }

    def is_user(self, file):
        """Tell whether a file is the user's: not a library's, nor the debug layer's.

        Code without a file, as of `python -c`, is the user's, too.
        """
        is_installed = "/site-packages/" in file or "/dist-packages/" in file
        return not is_installed and not file.startswith(("<frozen", *self._library))

    # ---- Sources ----

    def sources(self, room):
        """Return the contents of the frames' files, by their paths; the user's files first.

        room: how many bytes they may take.
        """
        found = {}
        for file in sorted(self.files, key=lambda file: not self.files[file]):
            content = content_of(file) if file.startswith("/") else None
            if content is not None and len(content) <= room:
                found[file] = content.decode(errors="surrogateescape")
                room -= len(content)
        return found


def is_shown(name, value):
    """Tell whether a global variable is shown: a value, not a part of the program."""
    is_part = texts.is_a(value, *graph.PARTS)
    return not is_part and not (name.startswith("__") and name.endswith("__"))


def used_globals(frame):
    """Return the global variables that a frame's code uses, as a list of (name, value)."""
    found = frame.f_globals
    names = [name for name in frame.f_code.co_names if dict.__contains__(found, name)]
    pairs = [(name, dict.get(found, name)) for name in names]
    return [pair for pair in pairs if is_shown(*pair)]


def path_of(file):
    """Return the absolute path of a file that Python may know by a relative one."""
    if file.startswith(("/", "<")):
        return file
    try:
        path = os.path.join(os.getcwd(), file)
    except OSError:
        return file
    return path if os.path.exists(path) else file
