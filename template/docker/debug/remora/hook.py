"""Run at the start of every Python interpreter of the debug image, by remora.pth or remora.start.

Most of these interpreters will not be debugged. So this module imports only what Python has loaded
by then, and leaves no modules behind if it has nothing to do, as in mode `off`.
"""

import os
import sys

# The folder of this layer and of debugpy, for this version of Python
HOME = os.path.dirname(os.path.dirname(__file__))


def say(message):
    """Print a line to descriptor 2, if the process was started with one.

    The program may have redirected sys.stderr, and an error such as a full pipe must not end it.
    The hub, which runs without `site`, has opened descriptor 2 itself.
    """
    if sys.__stderr__ is not None or sys.flags.no_site:
        try:
            os.write(2, f"remora: {message}\n".encode(errors="backslashreplace"))
        except OSError:
            pass  # it is closed, or full and not blocking


def setting(name, default="", environment=os.environ):
    """Return a setting from an environment: REMORA_<name>, or DEBUGPY_<name>, its former name."""
    return environment.get(f"REMORA_{name}") or environment.get(f"DEBUGPY_{name}") or default


def refuse(problem):
    """End this process because of a wrong setting, before it has done anything. problem: a text."""
    say(problem)
    os._exit(78)  # EX_CONFIG; `site` would report an exception, and go on


def check_settings(mode):
    """End this process if a setting is wrong. mode: REMORA_MODE, or "" if there is none."""
    port = setting("PORT", "5678")
    if mode not in ("wait", "listen", "demand", "crash", "dump", ""):
        refuse(f"REMORA_MODE must be wait, listen, demand, crash, dump or off, not {mode!r}")
    if not (port.isdecimal() and len(port) < 6 and 1 <= int(port) <= 65535):
        refuse(f"REMORA_PORT must be a port number from 1 to 65535, not {port!r}")
    if mode in ("crash", "dump") or setting("RANK"):
        from . import checks

        checks.check_more(mode)


def own_command():
    """Return the command line of this process, a list of texts."""
    command = getattr(sys, "orig_argv", None)  # Python 3.10
    if not command:
        from . import container

        command = container.command_of("self")
    return command


def end_by_signal(number, _=None):
    """End this process like a process that has no handler for the signal `number`."""
    import _signal

    _signal.signal(number, _signal.SIG_DFL)
    _signal.raise_signal(number)
    os._exit(128 + number)  # a signal does not end PID 1


def begin():
    """Do what the settings say. Returns whether this process can be debugged."""
    mode = setting("MODE")
    if mode == "off":
        return False
    check_settings(mode)
    from . import commandline

    if mode and not commandline.is_target(own_command(), setting("TARGET")):
        return False
    from . import program

    program.begin(mode)
    return program.mode != ""


def main():
    """Make this process one that can be debugged, as the settings say. Never raises."""
    # Keep the program from finding the debug layer's modules.
    sys.path[:] = [folder for folder in sys.path if folder != HOME]
    if "_remora.program" in sys.modules:
        return  # `site` reads the .pth files of a folder again for site.addsitedir()
    try:
        # Leave no modules behind. But in a virtual environment, Python 3.15 calls this function a
        # second time, and would import them again.
        if not begin() and sys.version_info < (3, 15):
            for name in [name for name in sys.modules if name.partition(".")[0] == "_remora"]:
                del sys.modules[name]
    except KeyboardInterrupt:
        end_by_signal(2)  # SIGINT
    except Exception as error:
        say(f"pid {os.getpid()} goes on without a debugger: {error!r}")
