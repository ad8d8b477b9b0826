"""What the command line of a Python process tells. Imports only what Python has loaded."""

import os

# Tools that put programs in place. In mode `wait` they are not what is waited for.
INSTALLERS = frozenset("compileall ensurepip pip py_compile uv venv virtualenv".split())


def program_of(command):
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


def is_installer(command):
    """Tell whether a Python command line is that of a tool of INSTALLERS, or a part of one."""
    name = program_of(command) or ""
    # pip3.13 is pip; pip runs parts of itself by their paths.
    base = os.path.basename(name).split(".")[0].rstrip("0123456789")
    return (base in INSTALLERS and not name.endswith(".py")) or "/pip/__pip-runner__.py" in name


def is_of_a_library(command):
    """Tell whether a Python command line runs a file of an installed package by its path."""
    name = program_of(command) or ""
    return "/site-packages/" in name or "/dist-packages/" in name


def is_without_site(command):
    """Tell whether a Python command line keeps the module `site`, and with it the hook, out."""
    for argument in command[1:]:
        if not argument.startswith("-") or argument.startswith("--"):
            return False
        # Options can be joined (-IS); what follows these is no option.
        letters = argument[1:]
        end = next((n for n, letter in enumerate(letters) if letter in "cmWX"), len(letters))
        if "S" in letters[:end]:
            return True
        if end < len(letters) and letters[end] in "cm":
            return False
    return False


def is_target(command, target):
    """Tell whether a Python command line is what a glob means; every one is if that is empty.

    The glob is for the whole command line without the interpreter (`*manage.py runserver*`), or for
    the script's path or file name, or for the module's name.
    """
    if not target:
        return True
    from fnmatch import fnmatchcase

    name = program_of(command) or ""
    names = {" ".join(command[1:]), " ".join(command), name, os.path.basename(name)}
    return any(fnmatchcase(candidate, target) for candidate in names)
