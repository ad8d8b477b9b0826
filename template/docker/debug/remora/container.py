"""What /proc tells of the container's processes. Imports only what Python has loaded at its start.

The kernel's answers cannot be forged, and nothing has to be removed when a process ends.
"""

import os
import sys

from . import commandline

# The signal by which the hub asks a process for its debugger. By default the kernel ignores this
# signal, so it does no harm to a process that has lost its handler.
SIGNAL = 23  # SIGURG, on all processors except MIPS and the like

# How the file names of emulators and loaders begin. Each runs another program, its argument. An
# emulator runs programs for another processor, such as amd64 on a Mac with Apple's processor.
EMULATORS = ("qemu-", "rosetta", "ld-linux", "ld-musl")


def read(pid, name, limit=2**20):
    """Return a file of /proc/<pid> as text; "" if the process is gone or belongs to another user.

    pid: a number, or "self". name: the file. limit: how many bytes are read at most.
    """
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
    """Return the command line of a process, a list of texts; [] if it cannot be read."""
    return without_emulator(read(pid, "cmdline").split("\0")[:-1])


def without_emulator(command):
    """Return a command line without the emulator or loader that runs the program, if there is one.

    The emulator's arguments are the program's path and arguments. With the flag P of binfmt_misc,
    which Docker Desktop sets, the path comes twice: as the kernel found it, and as it was typed.
    """
    if len(command) < 2 or not is_emulator(command[0]):
        return command
    names = [os.path.basename(part) for part in command[1:3]]
    return command[2:] if len(names) > 1 and names[0] == names[1] else command[1:]


def is_emulator(path):
    return os.path.basename(path).startswith(EMULATORS)


def environment_of(pid):
    """Return the environment that a process was started with; {} if it cannot be read."""
    entries = (entry.partition("=") for entry in read(pid, "environ").split("\0"))
    return {name: value for name, separator, value in entries if separator}


def status_of(pid):
    """Return the fields of /proc/<pid>/status (proc(5)) as texts; {} if they cannot be read."""
    fields = (line.partition(":") for line in read(pid, "status").splitlines())
    return {name: value.strip() for name, _, value in fields}


def stat_of(pid):
    """Return the fields of /proc/<pid>/stat (proc(5)) from the third on; [] if it is gone."""
    return read(pid, "stat").rpartition(")")[2].split()


def parent_of(pid):
    """Return the pid of a process's parent; 0 if it is unknown, or outside of the container."""
    fields = stat_of(pid)
    return int(fields[1]) if fields else 0


def started(pid):
    """Return when a process was started, in ticks since boot; None if it has ended."""
    fields = stat_of(pid)
    return int(fields[19]) if fields and fields[0] not in "ZX" else None


def pids():
    """Return the pids of all processes of the container, sorted."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def is_interpreter(pid):
    """Tell whether a process is a Python interpreter, and not a program with Python built in."""
    try:
        path = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        path = ""  # it belongs to another user
    if not path or is_emulator(path):
        path = (command_of(pid) or [""])[0]
    return os.path.basename(path).startswith(commandline.INTERPRETERS)


def is_python(pid):
    """Tell whether a process is a Python interpreter, or a program with Python built in."""
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
    """Tell whether the container ends with a process: PID 1, or the command that an init runs."""
    return pid == 1 or (parent_of(pid) == 1 and has_init())


def environments():
    """Return the environments that may have the container's settings; the last one counts most.

    An init in front of the container's command was started before the entry point set anything. The
    environment of another user's process is empty here.
    """
    first = [1]
    if has_init():
        first.append(min((pid for pid in pids() if parent_of(pid) == 1), default=1))
    return [environment_of(pid) for pid in first]


def environment():
    """Return the environment of the container's command, as far as this user may read it."""
    return {name: value for found in environments() for name, value in found.items()}


def is_environment_known():
    """Tell whether environment() is the environment that the container was given.

    Each engine of containers sets HOSTNAME. A command without it has cleared its own environment
    (`env -i NAME=value python x.py`).
    """
    return all("HOSTNAME" in found for found in environments())


def virtual_environment(pid, command, settings):
    """Return the folder of the virtual environment that a process runs in; None if there is none.

    command, settings: the command line and the environment of the process.
    """
    folder = settings.get("VIRTUAL_ENV")
    if "/" in command[0]:
        here = os.path.realpath(f"/proc/{pid}/cwd")
        folder = os.path.normpath(os.path.join(here, command[0], "../.."))
    return folder if folder and os.path.exists(f"{folder}/pyvenv.cfg") else None


def open_log():
    """Return a descriptor of the container's log; None if this user may not write there."""
    try:
        return os.open("/proc/1/fd/2", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None


def log(text):
    """Print a line to the container's log; do nothing if this user may not write there."""
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

    The kernel has some settings only for its first network, which is the machine's. If the machine
    is itself a container, look at the interfaces: the bridges to other containers are visible, and
    eth0, if there is one, is not this container's end of a pair.
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


def is_held(command):
    """Tell whether mode `wait` holds this process, which runs `command`.

    It holds what the container's command has started, but neither installers and what they run, nor
    helpers that a library starts from a file of its own. What `docker exec` has started has no
    parent in the container, and is not held either.
    """
    # Tools isolate (-I) their own helpers from the program's settings.
    is_helper = commandline.is_of_a_library(command) or sys.flags.isolated
    if is_helper or commandline.is_installer(command):
        return False
    pid = os.getpid()
    while pid > 1:
        pid = parent_of(pid)
        if commandline.is_installer(command_of(pid)):
            return False
    return pid == 1


def is_assistant(command):
    """Tell whether this process only assists the programs, as a health check does.

    command: its command line.
    """
    is_of_exec = parent_of(os.getpid()) == 0 and os.getpid() != 1
    is_one_liner = commandline.program_of(command) is None
    return commandline.is_installer(command) or (is_of_exec and is_one_liner)
