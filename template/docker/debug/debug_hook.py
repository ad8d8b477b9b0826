"""Start the debugger in the Python program that a container is there to run.

Every interpreter of the debug image imports this module at start-up, through debug_hook.pth. It
runs in every Python process, so it costs next to nothing in those that it passes over: nothing is
imported at the top but what Python has loaded by then.

Settings, from the environment: DEBUGPY_MODE (wait, listen; anything else is off), DEBUGPY_PORT and
DEBUGPY_TARGET. debug-entrypoint.sh refuses bad ones before Python starts.
"""

import os
import sys

STATUS_FILE = "/run/debugpy/status.json"

# Programs that only start another Python, or replace themselves by one: what they start is meant.
LAUNCHERS = frozenset(
    "conda ddtrace-run dotenv hatch honcho mamba newrelic-admin opentelemetry-instrument pdm pip"
    " pipenv pipx poetry rye uv uvx".split()
)

# How long a program waits for the port that an earlier one has left, in seconds.
PORT_TIMEOUT = 10


def say(message):
    """Print a line to standard error: a program's output may be read by another program."""
    print(f"debugpy: {message}", file=sys.stderr, flush=True)


def program():
    """Return what this interpreter was asked to run: the path of a script or the name of a module.

    None where it is neither: `-c`, standard input, a prompt.
    """
    if sys.argv[0] != "-m":
        return None if sys.argv[0] in ("", "-", "-c") else sys.argv[0]
    # While Python starts, sys.argv does not tell which module.
    arguments = iter(sys.orig_argv[1:])
    for argument in arguments:
        # Options can be joined (-um) and their values too (-Wignore, -mpackage).
        for position, letter in enumerate(argument[1:], start=2):
            if letter in "mWX":
                value = argument[position:] or next(arguments)
                if letter == "m":
                    return value
                break
    return None


def is_wanted(name, target):
    """Tell whether a program, as named by program(), is the one to debug.

    target: DEBUGPY_TARGET, a glob for the script's path or file name or the module's name; if it is
    empty, every program is wanted but for launchers.
    """
    if any(part in name for part in ("/debugpy/adapter", "/debugpy/_vendored/")):
        return False  # debugpy's own processes; children of the program among them
    file_name = os.path.basename(name)
    if target:
        from fnmatch import fnmatchcase

        names = {name, os.path.abspath(name), file_name}
        return any(fnmatchcase(candidate, target) for candidate in names)
    if name.endswith(".py"):
        return True  # a user's own dotenv.py
    # pip3.13 is pip, and `-m pip` is a launcher too.
    return file_name.split(".")[0].rstrip("0123456789") not in LAUNCHERS


def is_free(port):
    """Tell whether a TCP port of the container can be listened on."""
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def other_program():
    """Return the status of another program that is being debugged in this container, or None."""
    import json

    try:
        with open(STATUS_FILE) as file:
            status = json.load(file)
    except OSError:
        return None
    # A program that replaces itself (os.exec*) keeps its pid.
    is_other = status["pid"] != os.getpid() and os.path.exists(f"/proc/{status['pid']}")
    return status if is_other else None


def claim(port):
    """Tell whether this program may have the port, once an earlier program has let go of it."""
    import time

    deadline = time.monotonic() + PORT_TIMEOUT
    announced = False
    while not is_free(port):
        owner = other_program()
        if owner or time.monotonic() > deadline:
            holder = f"pid {owner['pid']}" if owner else "another process"
            say(f"port {port} is taken by {holder}; pid {os.getpid()} goes on without a debugger")
            return False
        if not announced:
            say(f"waiting for port {port}, which the program before this one has just left")
            announced = True
        time.sleep(0.05)
    return True


def write_status(mode, port):
    """Tell the health check, and whoever looks, that this process can be debugged now."""
    import json

    status = {"pid": os.getpid(), "argv": sys.orig_argv, "mode": mode, "port": port}
    draft = f"{STATUS_FILE}.{os.getpid()}"
    try:
        with open(draft, "w") as file:
            json.dump(status, file)
        os.replace(draft, STATUS_FILE)
    except OSError as error:
        say(f"cannot write {STATUS_FILE} ({error}), so `up --wait` will not return")


def listen(mode, port):
    """Let a debugger attach to this process, and in mode `wait` return only when one has."""
    import debugpy

    # Not loopback: Docker delivers what it publishes to the container's own address.
    debugpy.listen(("0.0.0.0", port))
    # pydevd would have a Python that replaces this one (os.exec*) connect to the adapter, which
    # ends with this program. Undone, the hook starts anew in that one.
    for name in [name for name in dir(os) if name.startswith("original_exec")]:
        setattr(os, name.removeprefix("original_"), getattr(os, name))

    address = os.environ.get("DEBUGPY_ADDRESS") or f"container {os.uname().nodename}, port {port}"
    if mode == "listen":
        say(f"Listening, a client can attach at any time: {address}")
    else:
        say(f"Waiting for client to attach... {address}")
        say("To go on without a debugger, start it again with DEBUGPY_MODE=off")
    write_status(mode, port)
    if mode == "wait":
        debugpy.wait_for_client()


def main():
    """Start the debugger in this process if it is the one to debug. Never raises."""
    mode = os.environ.get("DEBUGPY_MODE")
    if mode not in ("wait", "listen"):
        # Without a debugger, nothing of it is there to be imported.
        sys.path[:] = [folder for folder in sys.path if folder != os.path.dirname(__file__)]
        return
    try:
        name = program()
        if name is None or not is_wanted(name, os.environ.get("DEBUGPY_TARGET")):
            return
        port = int(os.environ.get("DEBUGPY_PORT") or 5678)
        if claim(port):
            listen(mode, port)
    except KeyboardInterrupt:
        # Ctrl+C ends a program that is still waiting as it ends one that has no handler for it.
        import signal

        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
        os._exit(128 + signal.SIGINT)  # PID 1 is not ended by a signal
    except Exception as error:
        say(f"cannot start, pid {os.getpid()} goes on without a debugger: {error!r}")


main()
