"""What the container tells of its processes, by /proc. Imports nothing that Python has not loaded.

Nobody can forge what the kernel says, and nothing has to be removed when a process ends.
"""

import os
import sys

from remora import commandline

# What asks a process for its debugger. By default the kernel ignores this signal, so that it does
# no harm to a process that has no handler for it any more.
SIGNAL = 23  # SIGURG, on all processors but those of MIPS and the like


def read(pid, name, limit=2**20):
    """Return a file of /proc/<pid>, or nothing if the process is gone or another user's."""
    try:
        descriptor = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        parts = []
        while limit > 0:
            part = os.read(descriptor, min(limit, 65536))
            if not part:
                break
            parts.append(part)
            limit -= len(part)
        return b"".join(parts).decode(errors="surrogateescape")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def command_of(pid):
    """Return the command line of a process, as a list."""
    return read(pid, "cmdline").split("\0")[:-1]


def environment_of(pid):
    """Return the environment that a process was started with, as far as it is known."""
    entries = (entry.partition("=") for entry in read(pid, "environ").split("\0"))
    return {name: value for name, separator, value in entries if separator}


def status_of(pid):
    """Return the fields of /proc/<pid>/status (proc(5)), as texts."""
    fields = (line.partition(":") for line in read(pid, "status").splitlines())
    return {name: value.strip() for name, _, value in fields}


def stat_of(pid):
    """Return the fields of /proc/<pid>/stat (proc(5)) from the third on, or [] if it is gone."""
    return read(pid, "stat").rpartition(")")[2].split()


def parent_of(pid):
    """Return the pid of a process's parent; 0 if that is outside of the container, or unknown."""
    fields = stat_of(pid)
    return int(fields[1]) if fields else 0


def started(pid):
    """Return when a process was started, in ticks since boot, or None if it has ended."""
    fields = stat_of(pid)
    return int(fields[19]) if fields and fields[0] not in "ZX" else None


def pids():
    """Return the pids of all processes of the container, in order."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def is_interpreter(pid):
    """Tell whether a process is a Python interpreter, and no program that has one built in."""
    try:
        name = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:  # another user's
        name = os.path.basename((command_of(pid) or [""])[0])
    return name.startswith(("python", "pypy"))


def is_python(pid):
    """Tell whether a process is, or holds, a Python interpreter."""
    return is_interpreter(pid) or "/libpython" in read(pid, "maps", 2**24)


def can_be_asked(pid):
    """Tell whether a process has the hook's handler for SIGNAL."""
    caught = int(status_of(pid).get("SigCgt", "0"), 16)
    return bool(caught >> (SIGNAL - 1) & 1) and is_interpreter(pid)


def has_init():
    """Tell whether PID 1 is an init, which starts the container's command and waits for it."""
    init = os.path.basename((command_of(1) or [""])[0])
    return init in ("docker-init", "podman-init", "tini", "dumb-init", "catatonit")


def ends_with(pid):
    """Tell whether the container ends with a process: PID 1, or the one that an init waits for."""
    return pid == 1 or (parent_of(pid) == 1 and has_init())


def environments():
    """Return the environments that may have the container's settings; a later one counts more.

    An init in front of the container's command has been started before the entry point set
    anything. One is empty if it is another user's.
    """
    first = [1]
    if has_init():
        first.append(min((pid for pid in pids() if parent_of(pid) == 1), default=1))
    return [environment_of(pid) for pid in first]


def environment():
    """Return the environment of the container's command, as far as it is known."""
    return {name: value for found in environments() for name, value in found.items()}


def is_environment_known():
    """Tell whether environment() is what the container was given.

    Each engine gives HOSTNAME to its containers: a command that has none has cleared its own
    environment (`env -i NAME=value python x.py`).
    """
    return all("HOSTNAME" in found for found in environments())


def virtual_environment(pid, command, settings):
    """Return the folder of the virtual environment that a process runs in; None without one.

    command, settings: the command line and the environment of the process.
    """
    folder = settings.get("VIRTUAL_ENV")
    if "/" in command[0]:
        here = os.path.realpath(f"/proc/{pid}/cwd")
        folder = os.path.normpath(os.path.join(here, command[0], "../.."))
    return folder if folder and os.path.exists(f"{folder}/pyvenv.cfg") else None


def open_log():
    """Return a descriptor of the container's log, or None if this user may not write there."""
    try:
        return os.open("/proc/1/fd/2", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None


def log(text):
    """Print a line to the container's log, if this user may."""
    descriptor = open_log()
    if descriptor is None:
        return
    try:
        os.write(descriptor, f"remora: {text}\n".encode(errors="backslashreplace"))
    except OSError:
        pass
    finally:
        os.close(descriptor)


def has_network_of_machine():
    """Tell whether the container shares the network of its machine (`network_mode: host`).

    That network is the kernel's first one, for which alone it has some settings. Or the machine is
    a container itself: then the bridges to other containers are seen, and eth0, if there is one, is
    not this container's own end of a pair.
    """
    if os.path.exists("/proc/sys/net/core/netdev_max_backlog"):
        return True
    folder = "/sys/class/net"

    def number(name):
        with open(f"{folder}/eth0/{name}") as file:
            return int(file.read())

    try:
        names = os.listdir(folder)
        sees_bridge = any(os.path.exists(f"{folder}/{name}/bridge") for name in names)
        return sees_bridge and ("eth0" not in names or number("iflink") == number("ifindex"))
    except OSError:
        return False


# ---- Programs ----


def own_command():
    """Return the command line of this process, as a list."""
    return getattr(sys, "orig_argv", None) or command_of("self")  # orig_argv: Python 3.10


def is_held(command):
    """Tell whether mode `wait` holds this process: whether the container's command leads to it.

    It does not lead to what `docker exec` has started, which has no parent in the container, nor to
    installers and what these run, nor to helpers that a library starts by a file of its own.
    """
    # Tools that run helpers of theirs isolate them (-I) from the program's settings.
    is_helper = commandline.is_of_a_library(command) or sys.flags.isolated
    if is_helper or commandline.is_installer(command):
        return False
    pid = os.getpid()
    while pid > 1:
        pid = parent_of(pid)
        if commandline.is_installer(command_of(pid)):
            return False
    return pid == 1


def is_beside(command):
    """Tell whether this process runs beside the programs only, such as a health check."""
    is_of_exec = parent_of(os.getpid()) == 0 and os.getpid() != 1
    is_one_liner = commandline.program_of(command) is None
    return commandline.is_installer(command) or (is_of_exec and is_one_liner)
