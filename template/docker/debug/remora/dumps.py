"""The files that mode `dump` has written: found, read, listed and printed. Nothing in them is run.

    remora dump [PID...]             have running programs write one, without a crash
    remora crashes [--json]          list them, the newest first
    remora crashes --show [NAME]     print one, the newest if none is named

A name may be cut short, be a service, which means its newest dump, or be the path of a file that
was brought here. Exit codes: 0; 1 if there is no such file, or it cannot be read or written.
"""

import json
import os
import re
import sys
import time
import zlib

from remora import command, container, texts
from remora.dump import FOLDER, SUFFIX
from remora.hook import setting

# How much of a file is read, once it is no longer compressed, in bytes.
MOST = 2**30

# What stands in a file after all but the values.
HEAD_END = b', "nodes": {'


# What to do where there is none
HINT = "REMORA_MODE=dump has one written when a program crashes"

# What comes of a file whose parts are not where they belong
DAMAGED = (AttributeError, LookupError, TypeError, ValueError)


class Unreadable(Exception):
    """There is no such file, or it is no dump; the text says so."""


def folder():
    """Return the folder of the container's dumps."""
    return setting("DUMPS") or setting("DUMPS", FOLDER, container.environment())


def names():
    """Return the names of the dumps, the newest first."""
    try:
        found = [entry for entry in os.scandir(folder()) if entry.name.endswith(SUFFIX)]
    except OSError:
        return []
    found.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
    return [entry.name for entry in found]


def find(name):
    """Return the path of the dump that a name means, or the newest. Raises Unreadable."""
    if name and (os.path.sep in name or os.path.isfile(name)):
        return name
    found = [one for one in names() if not name or one.startswith(name)]
    if not found:
        named = f" called {name}" if name else ""
        raise Unreadable(f"there is no dump{named} in {folder()}: {HINT}")
    of_service = [one for one in found if re.match(r"-\d{8}T\d{6}Z-", one[len(name or "") :])]
    if name and len(found) > 1 and name not in found and not of_service:
        raise Unreadable(f"{name} may be {' or '.join(found)}: say which")
    return f"{folder()}/{name if name in found else (of_service or found)[0]}"


def read(path, head_only=False):
    """Return what is in a dump, as dump.py says; without the values if head_only.

    Raises Unreadable.
    """
    unpacker, content, room = zlib.decompressobj(47), bytearray(), MOST
    try:
        with open(path, "rb") as file:
            while not (unpacker.eof or (head_only and HEAD_END in content)):
                part = file.read(2**16)
                if not part:
                    break
                content += unpacker.decompress(part, room)
                room = MOST - len(content)
                if room <= 0:
                    raise Unreadable(f"{path} is too long to be a dump")
        if head_only and HEAD_END in content:
            content = content.partition(HEAD_END)[0] + b"}"
        found = json.loads(content.decode())
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError, zlib.error):
        raise Unreadable(f"{path} is no dump, or only a part of one") from None
    if not isinstance(found, dict) or found.get("format") != 1:
        raise Unreadable(f"{path} is no dump of format 1, which this debug layer reads")
    return found


# ---- What a program does now ----


def moment(chosen):
    """Have running programs write dumps, and return the exit code. chosen: their pids, or none."""
    if command.mode() == "off":
        print(command.OFF)
        return 1
    command.start_hub()
    answer = command.ask("dump", pids=chosen)
    if answer is None:
        print(command.NO_HUB)
        return 1
    written = {int(pid): path for pid, path in answer["dumped"].items()}
    for pid in chosen or written:
        path = written.get(pid)
        if path:
            print(path)
        elif pid not in written:
            print(f"pid {pid} cannot be asked: `remora status` says why, if it is Python")
        elif path is None:
            print(f"pid {pid} {command.NO_ANSWER}")
        else:
            print(f"pid {pid} could not write one: the container's log says why")
    if not chosen and not written:
        print("nothing can be asked for one")
    return 0 if written and all(map(written.get, chosen or written)) else 1


# ---- What is printed ----


def summary(name):
    """Return what one line says of a dump, as a dictionary."""
    found = read(f"{folder()}/{name}", head_only=True)
    facts = {"name": name, "time": stamp(found["time"]), "service": found["service"]}
    errors, frame = found["exceptions"], frame_of(found)
    facts["exception"] = errors[0]["type"] if errors else None
    facts["message"] = errors[0]["text"] if errors else None
    return {**facts, "file": frame.get("file"), "line": frame.get("line"), "pid": found["pid"]}


def frame_of(found):
    """Return the frame that a dump is about: the innermost of the user's that has crashed."""
    frames = found["threads"][0]["frames"] if found["threads"] else []
    return next((frame for frame in frames if frame["user"]), frames[0] if frames else {})


def plain(text):
    """Return a text without what a terminal would take for a command."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", text)


def stamp(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def crashes(options):
    """Run the command, and return its exit code. options: see command.py."""
    # Nothing replaces the standard output of this command.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
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
            print(f"{name}: {error}", file=sys.stderr)
            continue
        if options.json:
            print(json.dumps(facts))
            continue
        what = facts["exception"] or "no exception"
        place = f"{facts['file']}:{facts['line']}"
        print(plain(f"{facts['time']}  {facts['service']}  {what}  {place}"))
        print(f"  {name}")
    if not found:
        print(f"there is no dump in {folder()}: {HINT}", file=sys.stderr)
    return 0


def lines(found):
    """Yield what is printed of a dump: the traceback with the variables, and other threads."""
    when, version = stamp(found["time"]), found["python"]
    yield f"{found['service']}, pid {found['pid']}, {when}: Python {version}"
    yield " ".join(found["command"])
    errors = found["exceptions"]
    for number, error in enumerate(errors):
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
    """Yield the lines of a stack, as a traceback has them: the innermost last."""
    for frame in reversed(frames):
        source = found["sources"].get(frame["file"], "").splitlines()
        yield f"  {frame['file']}:{frame['line']} in {frame['function']}"
        if 0 < frame["line"] <= len(source):
            yield f"    {source[frame['line'] - 1].strip()}"
        for name, *rest in frame["locals"] if frame["user"] else ():
            node = found["nodes"].get(str(rest[0]), {}) if len(rest) == 1 else {}
            shown = rest[1] if len(rest) == 2 else node.get("text", "(not kept)")
            yield f"      {name} = {texts.cut(shown, 200)}"
