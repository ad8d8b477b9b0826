"""Find the program that a container is there to run, when Python starts, and see to its debugger.

Every interpreter of the debug image runs main() at start-up, through debug_hook.pth. It does so in
every Python process, so it costs next to nothing in those that it passes over: nothing is imported
at the top but what Python has loaded by then. debug_session.py does the rest, where it is wanted.

Settings, from the environment: DEBUGPY_MODE (wait, listen, demand, crash; anything else is off),
DEBUGPY_PORT and DEBUGPY_TARGET. debug-entrypoint.sh refuses bad ones before Python starts.
"""

import os
import sys

# Programs that only start another Python, or replace themselves by one: what they start is meant.
LAUNCHERS = frozenset(
    "conda ddtrace-run dotenv hatch honcho mamba newrelic-admin opentelemetry-instrument pdm pip"
    " pipenv pipx poetry rye uv uvx".split()
)

# `site` reads the .pth files of a virtual environment twice.
has_run = False


def say(message):
    """Print a line to standard error: a program's output may be read by another program."""
    print(f"debugpy: {message}", file=sys.stderr, flush=True)


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
    mode = os.environ.get("DEBUGPY_MODE")
    if mode not in ("wait", "listen", "demand", "crash"):
        # Without a debugger, nothing of it is there to be imported.
        sys.path[:] = [folder for folder in sys.path if folder != os.path.dirname(__file__)]
        return
    try:
        name = program(sys.orig_argv)
        if name is not None and is_wanted(name, os.environ.get("DEBUGPY_TARGET")):
            import debug_session

            debug_session.start(mode)
        elif is_multiprocessing(sys.orig_argv):
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
