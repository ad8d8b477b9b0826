"""Run at the start of every Python interpreter of the debug image, by remora.pth or remora.start.

Most of these interpreters are not to be debugged at this moment. So nothing is imported here but
what Python has loaded by then, and in mode `off` nothing is left behind.
"""

import os
import sys

# `site` reads the .pth files of a virtual environment twice.
has_run = False


def say(message):
    """Print a line to descriptor 2, if the process was started with one.

    Not to sys.stderr, which the program may have redirected, and not so that a full pipe ends it.
    """
    if sys.__stderr__ is not None or sys.flags.isolated:
        try:
            os.write(2, f"remora: {message}\n".encode(errors="backslashreplace"))
        except OSError:
            pass  # closed, or full and not blocking


def setting(name, default="", environment=os.environ):
    """Return a setting from an environment: REMORA_<name>, or DEBUGPY_<name>, as it was called."""
    return environment.get(f"REMORA_{name}") or environment.get(f"DEBUGPY_{name}") or default


def refuse(problem):
    """End this process because of a bad setting, before it has done anything."""
    say(problem)
    os._exit(78)  # EX_CONFIG; `site` would only report an exception and go on


def check_settings(mode):
    """End this process unless the settings mean something. mode: REMORA_MODE, or "" without one."""
    port = setting("PORT", "5678")
    if mode not in ("wait", "listen", "demand", "crash", "dump", ""):
        refuse(f"REMORA_MODE must be wait, listen, demand, crash, dump or off, not {mode!r}")
    if not (port.isdecimal() and len(port) < 6 and 1 <= int(port) <= 65535):
        refuse(f"REMORA_PORT must be a port number from 1 to 65535, not {port!r}")
    if mode in ("crash", "dump") or setting("RANK"):
        from remora import checks

        checks.check_more(mode)


def end_by_signal(number, _=None):
    """End this process as a signal ends one that has no handler for it."""
    import _signal

    _signal.signal(number, _signal.SIG_DFL)
    _signal.raise_signal(number)
    os._exit(128 + number)  # PID 1 is not ended by a signal


def main():
    """Make this process one that can be debugged, as the settings say. Never raises."""
    global has_run
    if has_run:
        return
    has_run = True
    # The debug layer is not the program's to import.
    home = os.path.dirname(os.path.dirname(__file__))
    sys.path[:] = [folder for folder in sys.path if folder != home]
    try:
        mode = setting("MODE")
        if mode == "off":
            return
        check_settings(mode)
        from remora import commandline, container

        if mode and not commandline.is_target(container.own_command(), setting("TARGET")):
            return
        from remora import program

        program.begin(mode)
    except KeyboardInterrupt:
        end_by_signal(2)  # SIGINT
    except Exception as error:
        say(f"pid {os.getpid()} goes on without a debugger: {error!r}")
