"""Tell Python processes of this container to listen for a debugger: debug-attach [--all | PID]

    debug-attach            the one process that can be told to
    debug-attach --all      all of them, which share one port
    debug-attach PID        that one
    debug-attach --status   tell none, and say what is going on

In the modes demand and crash, debug_session.py makes the processes that it watches ready for this.
A signal is sent to these only: to any other process it would be the end.
"""

import argparse
import os
import sys
import time

import debug_hook
import debug_session

# How long a process may take to answer, in seconds; loading debugpy takes about one.
TIMEOUT = 30


def read(pid, name):
    """Return a file of /proc/<pid>, or nothing if the process is gone or another user's."""
    try:
        with open(f"/proc/{pid}/{name}", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def command_of(pid):
    """Return the command line of a process, as a list."""
    return read(pid, "cmdline").rstrip("\0").split("\0")


def is_ready(pid, record):
    """Tell whether a process has its handler yet: one that has replaced itself has it no more."""
    fields = dict(line.split(":\t", 1) for line in read(pid, "status").splitlines())
    caught = int(fields.get("SigCgt", "0"), 16)
    return record["signal"] is not None and caught >> (record["signal"] - 1) & 1


def known():
    """Return the records of the processes that have a debugger or can be told to, by pid."""
    return {
        pid: record
        for pid, record in sorted(debug_session.records().items())
        if record["debugger"] or is_ready(pid, record)
    }


def why_not(pid):
    """Return why a Python process is not one that can be debugged, in words."""
    command = command_of(pid)
    settings = dict(
        entry.partition("=")[::2] for entry in read(pid, "environ").split("\0") if "=" in entry
    )
    name, target = debug_hook.program(command), settings.get("DEBUGPY_TARGET")
    if not settings:
        return "it belongs to another user"
    if settings.get("DEBUGPY_MODE", "off") == "off":
        return "DEBUGPY_MODE is off"
    if name is None:
        return "it runs no script or module"
    if debug_hook.is_wanted(name, target):
        return "it was started before the hook, or with an option that keeps the hook out (-S)"
    return f"DEBUGPY_TARGET is {target}" if target else "it only starts other programs"


def others():
    """Yield the pid of every Python process of the container but this one and debugpy's own."""
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
        command = command_of(pid)
        is_python = os.path.basename(command[0]).startswith("python")
        if is_python and pid != os.getpid() and "/debugpy/adapter" not in " ".join(command):
            yield pid


def table(found):
    """Return the lines that list processes."""
    lines = []
    for pid, record in found.items():
        state = "listens" if record["debugger"] else "runs"
        lines.append(f"  pid {pid:<6} {state:<8} {' '.join(command_of(pid))}")
    return "\n".join(lines)


def is_full():
    """Tell whether there is no room left where processes answer."""
    return os.statvfs(debug_session.FOLDER).f_bavail == 0


def explain_absence():
    """Return why there is nothing to debug."""
    if is_full():
        return f"{debug_session.FOLDER} is full, so no process can be found: make room there"
    lines = [f"  pid {pid:<6} {' '.join(command_of(pid))}\n    {why_not(pid)}" for pid in others()]
    if not lines:
        return "no Python process runs"
    return "\n".join(["no Python process can be debugged:", *lines])


def status():
    """Print what is going on, and return the exit code: 0 if there is a process to debug."""
    found = known()
    if not found:
        print(explain_absence())
        return 1
    record = next(iter(found.values()))
    port = record["port"]
    attached = debug_session.connections(port, debug_session.ESTABLISHED)
    client = "a client is attached" if attached else "no client is attached"
    if record["debugger"] and not debug_session.connections(port, debug_session.LISTEN):
        client = "which debugpy's adapter has left: no client can attach until a restart"
    print(f"mode {record['mode']}, port {port} ({debug_session.address(record)}), {client}")
    print(table(found))
    return 0


def ask(pid, record):
    """Tell a process to listen, wait until it does, and return whether it does."""
    if record["debugger"]:
        print(f"pid {pid} listens already: {debug_session.address(record)}")
        return True
    if is_full():
        print(f"{debug_session.FOLDER} is full, so pid {pid} could not answer: make room there")
        return False
    try:
        os.kill(pid, record["signal"])
    except PermissionError:
        print(f"pid {pid} belongs to another user: run this with `docker compose exec --user root`")
        return False
    deadline = time.monotonic() + TIMEOUT
    now = record
    while now == record and time.monotonic() < deadline:
        time.sleep(0.05)
        now = debug_session.records().get(pid)
    if not now:
        print(f"pid {pid} has ended")
    elif now["failures"] > record["failures"]:
        print(f"pid {pid} cannot listen: {now['error']}")
    elif not now["debugger"]:
        print(
            f"pid {pid} has not answered in {TIMEOUT} s: it is inside a library that is not Python,"
        )
        print("or not running. It will listen as soon as it is back in Python.")
    else:
        print(f"pid {pid} listens: {debug_session.address(now)}")
        return True
    return False


def main():
    """Run the command, and return its exit code: 0 if all that were asked to listen do."""
    parser = argparse.ArgumentParser(
        prog="debug-attach",
        description="Tell Python processes of this container to listen for a debugger.",
    )
    parser.add_argument("pid", nargs="?", type=int, help="a process, where there are several")
    parser.add_argument("--all", action="store_true", help="all of them, which share one port")
    parser.add_argument("--status", action="store_true", help="tell none, say what is going on")
    options = parser.parse_args()
    if options.status:
        return status()

    found = known()
    if options.pid is not None and options.pid not in found:
        print(f"pid {options.pid} is not a process that can be debugged:")
        print(table(found) if found else explain_absence())
        return 1
    if not found:
        print(explain_absence())
        return 1
    if options.pid is not None:
        found = {options.pid: found[options.pid]}
    if len(found) > 1 and not options.all:
        print("several processes can be debugged: name one (debug-attach PID), or say --all:")
        print(table(found))
        return 1
    answers = [ask(pid, record) for pid, record in found.items()]
    return 0 if all(answers) else 1


if __name__ == "__main__":
    sys.exit(main())
