"""Find the program that a container is there to run, when Python starts, and see to its debugger.

Every interpreter of the debug image runs main() at start-up, through debug_hook.pth. It does so in
every Python process, so it costs next to nothing in those that it passes over: nothing is imported
at the top but what Python has loaded by then. debug_session.py does the rest, where it is wanted.

Settings, from the environment: DEBUGPY_MODE (without it: off), DEBUGPY_PORT and DEBUGPY_TARGET.
"""

import os
import sys

# Programs that only start another Python, or replace themselves by one: what they start is meant.
LAUNCHERS = frozenset(
    "circusd conda ddtrace-run dotenv hatch honcho mamba newrelic-admin opentelemetry-instrument"
    " pdm pip pipenv pipx poetry rye supervisord uv uvx".split()
)

# `site` reads the .pth files of a virtual environment twice.
has_run = False


def say(message):
    """Print a line to standard error: a program's output may be read by another program."""
    print(f"debugpy: {message}", file=sys.stderr, flush=True)


def refuse(problem):
    """End this process because of a bad setting, before it has done anything."""
    say(problem)
    os._exit(78)  # EX_CONFIG; `site` would only report an exception and go on


def check_settings(mode, port):
    """Refuse settings that mean nothing, given as the texts that the environment has."""
    if mode not in ("wait", "listen", "demand", "crash"):
        refuse(f"DEBUGPY_MODE must be wait, listen, demand, crash or off, not {mode!r}")
    if not (port.isdecimal() and len(port) < 6 and 1 <= int(port) <= 65535):
        refuse(f"DEBUGPY_PORT must be a port number from 1 to 65535, not {port!r}")


def command_line():
    """Return the command line of this process, as a list."""
    try:
        return sys.orig_argv
    except AttributeError:  # Python 3.8 and 3.9
        with open("/proc/self/cmdline", errors="surrogateescape") as file:
            return file.read()[:-1].split("\0")


def program(command):
    """Return what a Python command line runs: the path of a script or the name of a module.

    None where it is neither: `-c`, standard input, a prompt.
    """
    arguments = iter(command[1:])
    for argument in arguments:
        if argument == "--":
            return next(arguments, None)
        if not argument.startswith("-"):
            return argument
        if argument == "--check-hash-based-pycs":
            next(arguments, None)
        if argument.startswith("--"):
            continue
        # Options can be joined (-um) and their values too (-Wignore, -mpackage).
        for position, letter in enumerate(argument[1:], start=2):
            if letter == "c":
                return None
            if letter in "mWX":
                value = argument[position:] or next(arguments, None)
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


def is_multiprocessing(command):
    """Tell whether a Python command line is that of a child, or fork server, of multiprocessing."""
    modules = ("from multiprocessing.spawn ", "from multiprocessing.forkserver ")
    return any(argument.startswith(modules) for argument in command)


def main():
    """See to the debugger of this process, if it is one to debug. Never raises."""
    global has_run
    if has_run:
        return
    has_run = True
    mode = os.environ.get("DEBUGPY_MODE") or "off"
    if mode == "off":
        # Without a debugger, nothing of it is there to be imported.
        sys.path[:] = [folder for folder in sys.path if folder != os.path.dirname(__file__)]
        return
    check_settings(mode, os.environ.get("DEBUGPY_PORT") or "5678")
    try:
        command = command_line()
        name = program(command)
        if name is not None and name.endswith("/debugpy/adapter"):
            import debug_adapter

            debug_adapter.keep_open()
        elif any("/debugpy/_vendored/pydevd" in argument for argument in command):
            import debug_session  # pydevd has started this one, as a child that is debugged

            debug_session.change_pydevd()
        elif name is not None and is_wanted(name, os.environ.get("DEBUGPY_TARGET")):
            import debug_session

            debug_session.start(mode)
        elif is_multiprocessing(command):
            import debug_session

            debug_session.follow(mode)
    except KeyboardInterrupt:
        # Ctrl+C ends a program that is still waiting as it ends one that has no handler for it.
        import signal

        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
        os._exit(128 + signal.SIGINT)  # PID 1 is not ended by a signal
    except Exception as error:
        say(f"cannot start, pid {os.getpid()} goes on without a debugger: {error!r}")
