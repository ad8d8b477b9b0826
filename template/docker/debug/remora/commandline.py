"""Read what a Python command line runs. Imports only what Python has loaded at its start.

A command line is a list of texts, the interpreter first.
"""

import os

# Tools that start the ranks of a program, by the name of the script or of the module
LAUNCHERS = frozenset(
    "accelerate accelerate.commands.launch deepspeed deepspeed.launcher.launch horovodrun torchrun"
    " torch.distributed.launch torch.distributed.run".split()
)

# How the file names of interpreters begin
INTERPRETERS = ("python", "pypy")

# Tools that install programs. Mode `wait` does not hold them.
INSTALLERS = frozenset("compileall ensurepip pip py_compile uv venv virtualenv".split())

# The commands by which uv runs a program (`uv run`, `uv tool run`, `uvx`). All others install.
UV_RUNS = frozenset(["run", "uvx"])


def parsed(command):
    """Return the letters of a Python command line's options, and what it runs.

    What it runs is the path of a script or the name of a module; None for `-c`, standard input or a
    prompt.
    """
    letters, arguments = "", iter(command[1:])
    for argument in arguments:
        if argument == "--":
            return letters, next(arguments, None)
        if argument == "-":
            return letters, None
        if not argument.startswith("-"):
            return letters, argument
        if argument == "--check-hash-based-pycs":
            next(arguments, None)
        if argument.startswith("--"):
            continue
        # Options can be joined (-um) and their values too (-Wignore, -mpackage).
        for position, letter in enumerate(argument[1:], start=2):
            letters += letter
            if letter == "c":
                return letters, None
            if letter in "mWX":
                value = argument[position:] or next(arguments, None)
                if letter == "m":
                    return letters, value
                break
    return letters, None


def program_of(command):
    """Return what a Python command line runs: see parsed()."""
    return parsed(command)[1]


def is_installer(command):
    """Tell whether a command line, of Python or not, runs a tool of INSTALLERS or a part of one.

    An init or a watcher that has the tool among its arguments (`tini -- uv run x.py`) does not
    count.
    """
    own_name = os.path.basename(command[0]) if command else ""
    if own_name == "uv":
        return UV_RUNS.isdisjoint(command[1:])
    if not own_name.startswith(INTERPRETERS):
        return False
    name = program_of(command) or ""
    # pip3.13 is pip, and pip runs its own parts by their paths.
    base = os.path.basename(name).split(".")[0].rstrip("0123456789")
    return (base in INSTALLERS and not name.endswith(".py")) or "/pip/__pip-runner__.py" in name


def is_launcher(command):
    """Tell whether a Python command line runs a tool of LAUNCHERS."""
    name = program_of(command) or ""
    return name in LAUNCHERS or os.path.basename(name) in LAUNCHERS


def is_of_a_library(command):
    """Tell whether a Python command line runs a file of an installed package by its path."""
    name = program_of(command) or ""
    return "/site-packages/" in name or "/dist-packages/" in name


def whose_helper(command):
    """Return whose helper a Python command line runs, `multiprocessing` or `debugpy`; else None.

    Such a process runs only code of that library: multiprocessing's resource tracker, which cleans
    up locks and shared memory; or the adapter or launcher of a debugpy that a program has started.
    """
    code = command[-1] if command[1:] else ""
    if code.startswith("from multiprocessing.resource_tracker import main"):
        return "multiprocessing"
    name = program_of(command) or ""
    return "debugpy" if name.endswith(("debugpy/adapter", "debugpy/launcher")) else None


def is_without_site(command):
    """Tell whether a Python command line keeps the module `site` out, and the hook with it."""
    return "S" in parsed(command)[0]


def is_target(command, target):
    """Tell whether a Python command line matches the pattern `target`. An empty one matches all.

    The pattern may match the whole command line without the interpreter (`*manage.py runserver*`),
    the script's path or file name, or the module's name.
    """
    if not target:
        return True
    name = program_of(command) or ""
    names = {" ".join(command[1:]), " ".join(command), name, os.path.basename(name)}
    return any(matches(candidate, target) for candidate in names)


def matches(text, pattern):
    """Tell whether a text matches a pattern: `*` is any text, `?` is any character.

    The module `fnmatch` does the same, but its import takes half as long as the start of Python.
    """
    # The places in the text up to which the first part of the pattern matches
    places, end = {0}, len(text)
    for sign in pattern:
        if sign == "*" and places:
            places = set(range(min(places), end + 1))
        else:
            places = {n + 1 for n in places if n < end and sign in ("?", text[n])}
    return end in places
