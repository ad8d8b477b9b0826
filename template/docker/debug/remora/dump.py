"""Mode `dump`: an uncaught exception is written to a file, and the program ends as it would have.

The file is one JSON document, compressed with gzip. A reader finds in it:

format      1
service, time, host, pid, python, command, folder, environment (the names only)
exceptions  the exception and those that it comes from, first its own; none for a moment's dump
threads     first that which has crashed: {"name", "daemon", "crashed", "frames"}
sources     what the files of the frames hold, by path
nodes       values by number: see graph.py
complete    whether all is in it that the limits of a value let in
"""

import json
import os
import re
import sys
import time
import zlib

from remora import graph, stacks, texts, uncaught
from remora.container import own_command
from remora.hook import say, setting

# Where the files are, unless REMORA_DUMPS says so.
FOLDER = "/var/lib/remora/dumps"
SUFFIX = ".json.gz"

# How old the beginning of a file is when nobody writes it any more, in seconds.
ABANDONED = 3600

# The exceptions of this process that were written, by their class and line.
written = set()


def write(error=None, frame=None):
    """Write a dump of this process, and return its path; None if none could be written.

    error: the exception that ends a thread. frame: without one, the innermost frame of this thread,
    if the thread is the program's. The same exception of the same line is written once.
    """
    what = "stack" if error is None else texts.type_name(error)
    try:
        if error is not None:
            place = what, *place_of(error)
            if place in written:
                return None
            written.add(place)
        return _write(error, frame, what)
    except KeyboardInterrupt:
        return None  # Ctrl+C: nobody wants to wait
    except BaseException as problem:
        reason = getattr(problem, "strerror", None) or texts.type_name(problem)
        say(f"the {what} of pid {os.getpid()} cannot be dumped in {folder()}: {reason}")
        return None


def folder():
    """Return the folder of the files."""
    return setting("DUMPS", FOLDER)


def place_of(error):
    """Return the file and the line that an exception was raised at."""
    trace = uncaught.trace_of(uncaught.innermost(error))
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename, trace.tb_lineno


def service():
    """Return what this container is called."""
    address = setting("ADDRESS").split()
    return address[0] if address else os.uname().nodename


def _write(error, frame, what):
    now = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    name = re.sub(r"[^\w.-]+", "_", f"{service()}-{stamp}-{os.getpid()}-{what}")
    where = folder()
    os.makedirs(where, exist_ok=True)
    begun = f"{where}/.{name}-{time.monotonic_ns()}"
    descriptor = os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            for part in compressed(document(error, frame, now)):
                write_all(descriptor, part)
        finally:
            os.close(descriptor)
        path = unused(f"{where}/{name}")
        os.rename(begun, path)
    except BaseException:
        os.unlink(begun)
        raise
    remove_old(where)
    return path


def write_all(descriptor, part):
    """Write some bytes. No buffer is left that a process that is forked meanwhile writes too."""
    while part:
        part = part[os.write(descriptor, part) :]


def unused(path):
    """Return the name of a file that is not there yet."""
    names = (f"{path}{more}{SUFFIX}" for more in ("", *(f"-{n}" for n in range(2, 1000))))
    return next(name for name in names if not os.path.exists(name))


def compressed(parts):
    """Yield texts as the bytes of a gzip file."""
    packer = zlib.compressobj(3, zlib.DEFLATED, 31)
    for part in parts:
        found = packer.compress(part.encode())
        if found:
            yield found
    yield packer.flush()


def document(error, frame, now):
    """Yield the text of the file in parts, in all no longer than REMORA_DUMP_LIMIT.

    now: the time
    """
    room = int(setting("DUMP_LIMIT", "50000000"))
    until = time.monotonic() + 0.8 * float(setting("DUMP_SECONDS", "10"))
    values = graph.Graph(room, until)
    found = stacks.Stacks(values)
    threads = found.threads(error, frame)
    head = {
        "format": 1,
        "service": service(),
        "time": now,
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "python": sys.version.split()[0],
        "command": command(values.secrets),
        "folder": os.path.realpath("/proc/self/cwd"),
        "environment": sorted(os.environ),
        "exceptions": found.exceptions(error) if error is not None else [],
        "threads": threads,
        "sources": found.sources(room // 5),
    }
    text = json.dumps(head)
    yield text[:-1] + ', "nodes": {'
    room -= len(text)
    separator = ""
    for number, node in values.nodes():
        text = f'{separator}"{number}": {json.dumps(node)}'
        room -= len(text)
        if room < 100:
            values.is_complete = False
            break
        yield text
        separator = ","
    yield f'}}, "complete": {json.dumps(values.is_complete)}}}'


def command(secrets):
    """Return the command line of this process, without secrets."""
    found, is_hidden = [], False
    for word in own_command():
        name, equals, _ = word.partition("=")
        if equals and texts.is_secret(name):
            word = f"{name}={texts.HIDDEN}"
        found.append(texts.HIDDEN if is_hidden else texts.without_secrets(word, secrets))
        is_hidden = word.startswith("--") and not equals and texts.is_secret(word)
    return found


def remove_old(where):
    """Remove the oldest files of ours, and what was begun long ago and is nobody's any more.

    The newest stays, however large it is.
    """
    count, room = int(setting("DUMP_KEEP", "20")), int(setting("DUMP_TOTAL", "500000000"))
    found, now = [], time.time()
    for entry in os.scandir(where):
        is_begun = entry.name.startswith(".") and "Z-" in entry.name
        if not is_begun and not entry.name.endswith(SUFFIX):
            continue
        try:
            facts = entry.stat(follow_symlinks=False)
            changed = facts.st_mtime
            if is_begun and now - changed > ABANDONED:
                os.unlink(entry.path)
            elif not is_begun:
                found.append((changed, entry.path, facts.st_size))
        except OSError:
            pass  # another process has removed it, or it is another user's
    for number, (_, path, size) in enumerate(sorted(found, reverse=True)):
        room -= size
        if number > 0 and (number >= count or room < 0):
            try:
                os.unlink(path)
            except OSError:
                pass
