"""Answer a client's requests of the Debug Adapter Protocol from a dump.

No code runs. An expression is parsed, and only its names, attributes and items are looked up.
"""

import ast
import os

from ..sources.files import Files
from ..sources.paths import pairs_of
from ..sources.project import Project, content_of

# Answers to requests that have no effect here
IDLE = {
    "completions": {"targets": []},
    "initialize": {},
    "modules": {"modules": [], "totalModules": 0},
    "pause": {},
    "pydevdSystemInfo": {},
    "setDebuggerProperty": {},
    "setExceptionBreakpoints": {},
}
NOTICE = "this is a recorded crash: nothing runs"
ONLY = "only names, attributes and items can be looked at in a recorded crash"


class Refused(Exception):
    """The request cannot be answered. The text says why."""


class Recorded:
    """The contents of a dump, and the answers. found: what read() in reading.py returns."""

    def __init__(self, found):
        self.found = found
        self.nodes, self.sources = found["nodes"], found["sources"]
        self.files = Files(Project())
        # Threads, by their number from 1: (name, numbers of the frames); and all frames
        self.threads, self.frames = [], []
        crashed = found["threads"][0] if found["threads"] else {"frames": []}
        for thread in found["threads"]:
            self._add(thread["name"], thread["frames"])
        for error in found["exceptions"]:
            places = [place_of(frame) for frame in error["frames"]]
            if places and places != [place_of(f) for f in crashed["frames"]][: len(places)]:
                self._add(f"{error['type']}: {error['text'][:100]}", error["frames"])
        # Lists of children. A client refers to them by their number, from 1.
        self._lists, self._references = [], {}
        self._texts = list(self.sources)

    def _add(self, name, frames):
        numbers = range(len(self.frames), len(self.frames) + len(frames))
        self.frames += frames
        self.threads.append((name, list(numbers)))

    def stop(self):
        """Return the body of the event `stopped` that shows what has happened."""
        body = {"threadId": 1, "allThreadsStopped": True, "preserveFocusHint": False}
        if not self.found["exceptions"]:
            return dict(body, reason="pause", description="a moment that was recorded")
        error = self.found["exceptions"][0]
        return dict(body, reason="exception", description=error["type"], text=error["text"])

    def answer(self, command, arguments):
        """Return the body of the answer to a request. Raises Refused."""
        if command in IDLE:
            return IDLE[command]
        handler = getattr(self, f"on_{command}", None)
        if handler is None:
            raise Refused(NOTICE)
        try:
            return handler(arguments) or {}
        except (LookupError, TypeError, AttributeError, RecursionError):
            raise Refused("the recorded crash has no such thing, or it is damaged") from None

    # ---- Where it is ----

    def on_attach(self, arguments):
        self.files = Files(Project(), pairs_of(arguments.get("pathMappings") or []))

    def on_setBreakpoints(self, arguments):
        self.files.local(arguments["source"]["path"])  # this learns the client's folders
        wanted = arguments.get("breakpoints", [])
        known = {"verified": False, "message": NOTICE}
        return {"breakpoints": [dict(known, id=n, line=b["line"]) for n, b in enumerate(wanted)]}

    def on_setFunctionBreakpoints(self, arguments):
        return {
            "breakpoints": [{"verified": False, "message": NOTICE}] * len(arguments["breakpoints"])
        }

    def on_threads(self, _):
        return {"threads": [{"id": n, "name": t[0]} for n, t in enumerate(self.threads, 1)]}

    def on_stackTrace(self, arguments):
        numbers = self.threads[arguments["threadId"] - 1][1]
        first = arguments.get("startFrame") or 0
        shown = numbers[first : first + (arguments.get("levels") or len(numbers))]
        return {"stackFrames": [self._frame(n) for n in shown], "totalFrames": len(numbers)}

    def _frame(self, number):
        frame = self.frames[number]
        shown = {"id": number + 1, "name": frame["function"], "line": frame["line"], "column": 1}
        hint = {} if frame["user"] else {"presentationHint": "subtle"}
        return {**shown, **hint, "source": self._source(frame["file"])}

    def _source(self, file):
        """Return a file for the client: its own if it is the same, else the recorded text."""
        source = {"name": os.path.basename(file), "path": file}
        text = self.sources.get(file)
        if text is None:
            return source
        path = self._path_of(file, text.encode(errors="surrogateescape"))
        if path:
            return dict(source, path=path)
        return dict(source, sourceReference=self._texts.index(file) + 1, origin="recorded")

    def _path_of(self, file, content):
        """Return the client's path of a file with this content, in this container or another one.

        None if the client does not have the file, as far as is known.
        """
        files = self.files
        same = files.project.holding(content)
        if same:
            local = files.closest(same, file)
            return local and files.client_path(local)
        if content_of(file) != content:
            return None
        is_elsewhere = files.mappings or files.project.by_name
        return files.path_of(file) or (None if is_elsewhere else file)

    def files_as_they_were(self):
        """Return the user's files that the client gets as recorded text, not as its own file."""
        try:
            files = dict.fromkeys(frame["file"] for frame in self.frames if frame["user"])
            return [file for file in files if "sourceReference" in self._source(file)]
        except (LookupError, TypeError, AttributeError):
            return []  # the dump is damaged: the next request of the client says so

    def on_source(self, arguments):
        text = self.sources[self._texts[arguments["sourceReference"] - 1]]
        return {"content": text.encode(errors="surrogateescape").decode(errors="replace")}

    def on_exceptionInfo(self, _):
        error, *_ = self.found["exceptions"]
        trace = [
            f'  File "{f["file"]}", line {f["line"]}, in {f["function"]}'
            for f in reversed(error["frames"])
        ]
        name = f"{error['module']}.{error['type']}"
        details = {"message": error["text"], "typeName": name, "stackTrace": "\n".join(trace)}
        shown = {"exceptionId": name, "description": error["text"], "breakMode": "unhandled"}
        return dict(shown, details=details)

    # ---- What is in it ----

    def on_scopes(self, arguments):
        frame = self.frames[arguments["frameId"] - 1]
        scopes = [("Locals", frame["locals"], False), ("Globals", frame["globals"], False)]
        return {
            "scopes": [
                {"name": name, "variablesReference": self._refer(found), "expensive": is_expensive}
                for name, found, is_expensive in scopes
                if found or name == "Locals"
            ]
        }

    def on_variables(self, arguments):
        children = self._lists[arguments["variablesReference"] - 1]
        first, count = arguments.get("start") or 0, arguments.get("count") or len(children)
        shown = [self._variable(child) for child in children[first : first + count]]
        return {"variables": shown}

    def _refer(self, children):
        """Return the number of a list of children."""
        if id(children) not in self._references:
            self._lists.append(children)
            self._references[id(children)] = len(self._lists)
        return self._references[id(children)]

    def _variable(self, child):
        name, *rest = child
        node = self._node(rest)
        inside = node.get("children")
        is_subscript = name.startswith("[") and name.endswith("]")
        shown = name[1:-1] if is_subscript else name.lstrip(".")
        reference = self._refer(inside) if inside else 0
        size = f" ({node['size']} elements, the first are kept)" if "size" in node else ""
        return {
            "name": shown,
            "value": node["text"] + size,
            "type": node["type"],
            "variablesReference": reference,
        }

    def _node(self, rest):
        """Return the node of a child. rest: the child without its name."""
        if len(rest) == 2:
            return {"type": rest[0], "text": rest[1]}
        return self.nodes.get(str(rest[0])) or {"type": "", "text": "(not kept: the dump was full)"}

    def on_evaluate(self, arguments):
        frame = self.frames[arguments.get("frameId", 1) - 1]
        try:
            tree = ast.parse(arguments["expression"].strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise Refused(ONLY) from None
        shown = self._variable(["", *self._find(tree, frame)])
        shown["result"] = shown.pop("value")
        return shown

    def _find(self, tree, frame):
        """Return the child that an expression means, without its name. Raises Refused."""
        if isinstance(tree, ast.Name):
            name, children = tree.id, [*frame["locals"], *frame["globals"]]
        elif isinstance(tree, ast.Attribute):
            name = f".{tree.attr}"
            children = self._node(self._find(tree.value, frame)).get("children", [])
        elif isinstance(tree, ast.Subscript):
            node = self._node(self._find(tree.value, frame))
            children, key = node.get("children", []), key_of(tree.slice)
            if type(key) is int and key < 0:
                count = sum(child[0].startswith("[") for child in children)
                key = node.get("size", count) + key
            name = f"[{key!r}]"
        else:
            raise Refused(ONLY)
        for child, *rest in children:
            if child == name:
                return rest
        raise Refused(f"{name} was not kept")


def key_of(tree):
    """Return the constant in the brackets of an expression. Raises Refused."""
    try:
        # Python 3.8 wraps the constant.
        return ast.literal_eval(tree.value if type(tree).__name__ == "Index" else tree)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise Refused(ONLY) from None


def place_of(frame):
    return frame["file"], frame["line"], frame["function"]
