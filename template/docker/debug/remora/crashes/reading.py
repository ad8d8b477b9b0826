"""Find, read, list, print and remove the files of mode `dump`. No code from a file is run.

    remora crashes [--json]          list the dumps, the newest first
    remora crashes --show [NAME]     print one, or the newest
    remora crashes --remove NAME...  remove these; a name may be a pattern with * and ?

NAME may be the beginning of a dump's name; the name of a service, which means its newest dump; or
the path of a file from elsewhere. Exit codes: 0; 1 if there is no such file, or it cannot be read,
written or removed.
"""

import json
import os
import re
import stat
import sys
import time
import zlib
from contextlib import suppress

from .. import commandline, container
from ..hook import setting
from . import texts
from .writing import FOLDER, NAME, PARTIAL, SUFFIX

# How much of a file is read, in bytes after decompression.
MAX_BYTES = 2**30

# What a file has between its other facts and the values.
HEAD_END = b', "nodes": {'

# What to do if there is none
HINT = "REMORA_MODE=dump writes one when a program crashes"

# How many seconds may lie between the crash of a process and that of the one that has started it
TOGETHER = 60

# What a damaged file raises when it is read
DAMAGED = (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError)


class Unreadable(Exception):
    """There is no such file, or the file is not a dump. The text says so."""

    def __init__(self, text):
        super().__init__(plain(text))


def folder():
    """Return the folder of the container's dumps."""
    return setting("DUMPS") or setting("DUMPS", FOLDER, container.environment())


def names():
    """Return the file names of the dumps, the newest first."""
    found = []
    with suppress(OSError):  # there is no folder
        for entry in os.scandir(folder()):
            with suppress(OSError):  # another process has removed it
                found.append((entry.stat(follow_symlinks=False).st_mtime, entry.name))
    return [name for _, name in sorted(found, reverse=True) if name.endswith(SUFFIX)]


def find(name):
    """Return the path of the dump called `name`, or of the newest without a name.

    Raises Unreadable if there is none, or if several may be meant.
    """
    if name and (os.path.sep in name or os.path.isfile(name)):
        return name
    found = [one for one in names() if not name or one.startswith(name)]
    if not found:
        named = f" called {name}" if name else ""
        raise Unreadable(f"there is no dump{named} in {folder()}: {HINT}")
    if name not in found:
        of_service = [one for one in found if (facts := NAME.match(one)) and facts[1] == name]
        if name and len(found) > 1 and not of_service:
            raise Unreadable(f"{name} may be {' or '.join(found)}: say which")
        name = first_of(of_service or found)
    return f"{folder()}/{name}"


def first_of(found):
    """Return the dump from which the newest one follows, or else the newest.

    When a rank or a worker has crashed, the process that has started it often crashes, too. found:
    names of dumps, the newest first.
    """
    first = newest = None
    for name in found:
        try:
            facts = read(f"{folder()}/{name}", head_only=True)
            newest = newest or facts
            if newest["time"] - facts["time"] > TOGETHER:
                break
            is_child = newest["pid"] in facts.get("parents", ())
            if is_child and newest["host"] == facts["host"] and facts["exceptions"]:
                first = name
        except (Unreadable, *DAMAGED):
            pass
    return first or found[0]


def read(path, head_only=False):
    """Return the contents of a dump: see writing.py. With head_only, leave out the values.

    Raises Unreadable.
    """
    unpacker, content, room = zlib.decompressobj(47), bytearray(), MAX_BYTES
    try:
        # Another user may have left a pipe in the folder, which nobody writes to.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unreadable(f"{path} is not a file")
            while not (unpacker.eof or (head_only and HEAD_END in content)):
                part = file.read(2**16)
                if not part:
                    break
                content += unpacker.decompress(part, room)
                room = MAX_BYTES - len(content)
                if room <= 0:
                    raise Unreadable(f"{path} is too long to be a dump")
        if head_only and HEAD_END in content:
            content = content.partition(HEAD_END)[0] + b"}"
        found = json.loads(content.decode())
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError, zlib.error):
        raise Unreadable(f"{path} is not a dump, or only a part of one") from None
    if not isinstance(found, dict) or found.get("format") != 1:
        raise Unreadable(f"{path} is not a dump of format 1, which this debug layer reads")
    return found


# ---- What is printed ----


def summary(name):
    """Return what one line says about a dump, a mapping. Raises Unreadable, or one of DAMAGED."""
    found = read(f"{folder()}/{name}", head_only=True)
    facts = {"name": name, "time": stamp(found["time"]), "service": found["service"]}
    errors, frame = found["exceptions"], frame_of(found)
    facts["exception"] = errors[0]["type"] if errors else None
    facts["message"] = errors[0]["text"] if errors else None
    return {**facts, "file": frame.get("file"), "line": frame.get("line"), "pid": found["pid"]}


def frame_of(found):
    """Return the frame that a dump is about: the user's innermost in the first thread."""
    frames = found["threads"][0]["frames"] if found["threads"] else []
    return next((frame for frame in frames if frame["user"]), frames[0] if frames else {})


def plain(text):
    """Return a text without characters that a terminal would read as a command."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", text)


def stamp(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def crashes(options):
    """Run `remora crashes`, and return its exit code.

    options: what argparse has read in command/command.py.
    """
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if options.remove:
        return remove(options.remove)
    if options.show is not None:
        try:
            found = read(find(options.show))
            print(json.dumps(found) if options.json else plain("\n".join(lines(found))))
        except Unreadable as error:
            print(error, file=sys.stderr)
            return 1
        except DAMAGED:
            print("the dump is damaged", file=sys.stderr)
            return 1
        return 0
    found = names()
    for name in found:
        try:
            facts = summary(name)
        except (Unreadable, *DAMAGED) as error:
            print(plain(f"{name}: {error}"), file=sys.stderr)
            continue
        if options.json:
            print(json.dumps(facts))
            continue
        what, place = facts["exception"] or "no exception", f"{facts['file']}:{facts['line']}"
        said = f"{facts['time']}  {facts['service']}  {what}  {place}", f"  {name}"
        print(*(plain(text.replace("\n", "\r")) for text in said), sep="\n")  # two lines
    if not found:
        print(f"there is no dump in {folder()}: {HINT}", file=sys.stderr)
    return 0


def remove(patterns):
    """Remove dumps, and return the exit code. patterns: names, which may have * and ? in them."""
    known, code = names(), 0
    for pattern in patterns:
        if not any(commandline.matches(name, pattern) for name in known):
            print(f"there is no dump called {pattern} in {folder()}", file=sys.stderr)
            code = 1
    for name in known:
        if any(commandline.matches(name, pattern) for pattern in patterns):
            try:
                os.unlink(f"{folder()}/{name}")
                print(plain(f"removed {name}"))
            except OSError as error:
                print(plain(f"{name} cannot be removed: {error.strerror}"), file=sys.stderr)
                code = 1
    return code


def lines(found):
    """Yield what is printed of a dump: the traceback with its variables, and other threads."""
    when, version = stamp(found["time"]), found["python"]
    more = "" if found["complete"] else f", {PARTIAL}"
    yield f"{found['service']}, pid {found['pid']}, {when}: Python {version}{more}"
    yield " ".join(found["command"])
    for number, error in enumerate(found["exceptions"]):
        yield ""
        yield f"{error['type']}: {error['text']}" + (f" (exception {number})" if number else "")
        yield from error["notes"]
        for word in ("cause", "context", "group"):
            if error[word]:
                yield f"  {word}: exception {', '.join(map(str, error[word]))}"
        yield from lines_of_frames(found, error["frames"])
    for thread in found["threads"]:
        if not thread["crashed"]:
            yield ""
            yield f"thread {thread['name']}"
            yield from lines_of_frames(found, thread["frames"])


def lines_of_frames(found, frames):
    """Yield the lines of a stack, in the order of a traceback: the innermost last."""
    for frame in reversed(frames):
        source = found["sources"].get(frame["file"], "").splitlines()
        yield f"  {frame['file']}:{frame['line']} in {frame['function']}"
        if 0 < frame["line"] <= len(source):
            yield f"    {source[frame['line'] - 1].strip()}"
        for name, *rest in frame["locals"] if frame["user"] else ():
            node = found["nodes"].get(str(rest[0]), {}) if len(rest) == 1 else {}
            shown = rest[1] if len(rest) == 2 else node.get("text", "(not kept)")
            yield f"      {name} = {texts.cut(shown, 200)}"
