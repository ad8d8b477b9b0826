"""The Python processes of the container, as the command `remora` shows them."""

import os
import time

from .. import commandline, container
from ..hook import setting

# How long an interpreter may take to come to the hook, in seconds
START = 5


def mode():
    """Return the mode of the container: from this environment, or from the command's."""
    return setting("MODE") or setting("MODE", "off", container.environment())


def why_not(pid):
    """Return in words why a Python process cannot be debugged."""
    command, settings = container.command_of(pid), container.environment_of(pid)
    target = setting("TARGET", environment=settings)
    if not settings:
        return "it belongs to another user: run this with `docker compose exec --user root`"
    if (setting("MODE", environment=settings) or mode()) == "off":
        return "REMORA_MODE is off"
    if not commandline.is_target(command, target):
        return f"REMORA_TARGET is {target}"
    helped = commandline.whose_helper(command)
    if helped:
        return f"it is a helper of {helped}, and runs no code of the project"
    if not container.is_interpreter(pid):
        return "it is not a Python interpreter: Python is built into it, as into uWSGI"
    if commandline.is_without_site(command):
        return "it was started with an option that keeps the hook out (-S)"
    if age(pid) < START:
        return "it has only just started: ask again in a moment"
    environment = container.virtual_environment(pid, command, settings)
    if environment:
        return (
            f"the virtual environment {environment} was made when the container ran:"
            " make it in the image, so that it has the debug layer"
        )
    return (
        "its interpreter has no hook, because it was installed after the debug layer:"
        " install the interpreter in the image, and build the image again"
    )


def age(pid):
    """Return for how many seconds a process has run; 0 if it has ended."""
    now, ticks = time.clock_gettime(time.CLOCK_BOOTTIME), container.started(pid)
    return 0 if ticks is None else now - ticks / os.sysconf("SC_CLK_TCK")


def pythons():
    """Yield the pids of all Python processes of the container except those of the debug layer."""
    for pid in container.pids():
        is_own = "/_remora/__main__.py" in " ".join(container.command_of(pid)[:4])
        if pid != os.getpid() and not is_own and container.is_python(pid):
            yield pid


def states(answer):
    """Return what each Python process does, by its pid. answer: the hub's answer to "status"."""
    programs = {int(pid): state for pid, state in answer.get("programs", {}).items()}
    problems, crashed = answer.get("problems", {}), answer.get("crashed", {})
    found = {}
    dumps = [pid for pid, program in programs.items() if program["kept"] == "recorded"]
    for pid in (*dumps, *pythons()):
        program = programs.get(pid)
        if str(pid) in crashed:
            found[pid] = "has crashed"
        elif program and program["is_shown"]:
            found[pid] = "is debugged"
        elif program and program["kept"]:
            found[pid] = "waits"
        elif program:
            found[pid] = "ready"
        else:
            can_be = container.can_be_asked(pid) and str(pid) not in problems
            found[pid] = "runs" if can_be else "no debugger"
    return found


def show(found, answer, notes=()):
    """Print what each Python process does, or why it cannot be debugged.

    found: see states(). answer: the hub's. notes: further texts, by pid.
    """
    problems, crashed = answer.get("problems", {}), answer.get("crashed", {})
    programs = answer.get("programs", {})
    for pid, state in found.items():
        command = programs.get(str(pid), {}).get("command") or container.command_of(pid)
        print(f"  pid {pid:<6} {state:<11} {' '.join(command)[:200]}")
        if state == "no debugger":
            print(f"    {problems.get(str(pid)) or why_not(pid)}")
        elif pid in notes or str(pid) in crashed:
            print(f"    {notes[pid] if pid in notes else crashed[str(pid)]}")
    if not found:
        print("no Python process runs")
