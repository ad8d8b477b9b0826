"""Mode `dump`: write an uncaught exception to a file. The program then ends as it would have.

The file is a JSON document, compressed with gzip:

format      1
service, time, host, pid, parents, python, command, folder, environment (only the names)
exceptions  the exception, and those that it comes from; none in a dump of a running program
threads     all threads, the crashed one first: {"name", "daemon", "crashed", "frames"}
sources     the contents of the frames' files, by path
nodes       the values, by number: see graph.py
complete    whether the limits have left nothing out

This module runs no code of the program. It writes only in folder().
"""

import json
import os
import re
import sys
import time
import zlib

from .. import container
from ..hook import own_command, say, setting
from . import graph, hiding, stacks, texts, uncaught

# The default of REMORA_DUMPS
FOLDER = "/var/lib/remora/dumps"
SUFFIX = ".json.gz"
# The name of a dump: its service, time, process and exception
NAME = re.compile(r"(.+)-\d{8}T\d{6}Z-\d+-.*\.json\.gz$")

# The note at a dump from which a limit has left something out
PARTIAL = "not complete, since REMORA_DUMP_LIMIT or REMORA_DUMP_SECONDS was reached"

# How old an unfinished file is when nobody is still writing it, in seconds.
ABANDONED = 3600

# The exceptions that this process has written, as (class, file, line)
written = set()


def write(error=None, frame=None):
    """Write a dump of this process. Returns the path; None if no dump was written.

    error: the exception that ends a thread; None for a dump of a running program. frame: without an
    exception, the innermost frame of this thread, if the thread belongs to the program. An
    exception of the same class and line is written once.
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
        return None  # Ctrl+C: the user does not want to wait
    except BaseException as problem:
        reason = getattr(problem, "strerror", None) or texts.type_name(problem)
        say(f"the {what} of pid {os.getpid()} cannot be dumped in {folder()}: {reason}")
        return None


def folder():
    """Return the folder of the dumps."""
    return setting("DUMPS", FOLDER)


def place_of(error):
    """Return the file and the line that raised an exception."""
    trace = uncaught.trace_of(uncaught.innermost(error))
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename, trace.tb_lineno


def service():
    """Return the name of this container's service; without one, the name of the host."""
    address = setting("ADDRESS").split()
    return address[0] if address else os.uname().nodename


def _write(error, frame, what):
    now = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    name = f"{service()[:100]}-{stamp}-{os.getpid()}-{what[:100]}"
    name = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII)
    where = folder()
    os.makedirs(where, exist_ok=True)
    descriptor, begun, path = begin(where, name)
    try:
        try:
            for part in compressed(document(error, frame, now)):
                write_all(descriptor, part)
        finally:
            os.close(descriptor)
        os.rename(begun, path)
    except BaseException:
        os.unlink(begun)
        raise
    remove_old(where)
    return path


def begin(where, name):
    """Create an unfinished file in a folder. Returns its descriptor, its path, and its later path.

    Containers of the same service share the folder, and in each the program may be pid 1. Nobody
    else takes the later path as long as the unfinished file exists.
    """
    for more in ("", *(f"-{n}" for n in range(2, 1000))):
        begun, path = f"{where}/.{name}{more}", f"{where}/{name}{more}{SUFFIX}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(begun, flags, 0o600)
        except FileExistsError:
            continue
        if not os.path.lexists(path):
            return descriptor, begun, path
        os.close(descriptor)
        os.unlink(begun)
    raise OSError(f"there are already 1000 dumps called {name}")


def write_all(descriptor, part):
    """Write bytes without a buffer, which a process that is forked meanwhile would write too."""
    while part:
        part = part[os.write(descriptor, part) :]


def compressed(parts):
    """Yield the bytes of a gzip file with some texts."""
    packer = zlib.compressobj(3, zlib.DEFLATED, 31)
    for part in parts:
        found = packer.compress(part.encode())
        if found:
            yield found
    yield packer.flush()


def document(error, frame, now):
    """Yield the text of the file in parts, in all not longer than REMORA_DUMP_LIMIT.

    now: the time of the dump, in seconds since 1970.
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
        "parents": parents(),
        "python": sys.version.split()[0],
        "command": command(),
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


def parents():
    """Return the pids of this process's parent, of the parent's parent and so on."""
    found = [os.getppid()]
    while len(found) < 100 and (parent := container.parent_of(found[-1])):
        found.append(parent)
    return found


def command():
    """Return the command line of this process, a list of texts, without secrets."""
    found, is_hidden = [], False
    for word in own_command():
        name, equals, _ = word.partition("=")
        if equals and hiding.is_secret(name):
            word = f"{name}={hiding.HIDDEN}"
        found.append(hiding.HIDDEN if is_hidden else hiding.excerpt(word))
        is_hidden = word.startswith("--") and not equals and hiding.is_secret(word)
    return found


def remove_old(where):
    """Remove the oldest dumps above the limits, and unfinished files that nobody is still writing.

    The newest dump of each service is removed last. The newest of all stays, however large it is.
    where: the folder.
    """
    count, room = int(setting("DUMP_KEEP", "20")), int(setting("DUMP_TOTAL", "500000000"))
    found, now = [], time.time()
    for entry in os.scandir(where):
        is_begun = entry.name.startswith(".") and "Z-" in entry.name
        name = NAME.match(entry.name)
        try:
            facts = entry.stat(follow_symlinks=False)
            changed = facts.st_mtime
            if is_begun and now - changed > ABANDONED:
                os.unlink(entry.path)
            elif name and not is_begun:
                found.append((changed, entry.path, name[1], facts.st_size))
        except OSError:
            pass  # another process has removed it, or it belongs to another user
    # How many dumps of the same service are newer
    newer, ranked = {}, []
    for changed, path, of_service, size in sorted(found, reverse=True):
        newer[of_service] = newer.get(of_service, -1) + 1
        ranked.append((newer[of_service], -changed, path, size))
    for number, (rank, _, path, size) in enumerate(sorted(ranked)):
        room -= size
        if number > 0 and (rank >= count or room < 0):
            try:
                os.unlink(path)
            except OSError:
                pass
