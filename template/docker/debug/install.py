"""Build the tree that a debug image adds to an image: python3 install.py DESTINATION

The script runs in the image, as root. The debug image copies DESTINATION onto / of the same image:

    /opt/remora/python3.X               debugpy, this package `remora` as `_remora`, and a link to
                                        its interpreter
    /usr/local/bin/remora               the command; also as `debug-attach`, its former name
    /usr/local/bin/debug-entrypoint.sh  the entry point, if there is one here
    <site-packages>/remora.pth          runs the hook at the start of every interpreter
    <site-packages>/remora.start        the same for Python 3.15 and later (PEP 829)

An image may have interpreters of several versions, and pip for some of them or none. So pip only
fetches debugpy. This script unpacks and compiles it, once for all builds.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
HOME = Path("/opt/remora")

# A cache between builds: only the first build needs a network, and later builds take no time.
CACHE = Path("/var/cache/debugpy")

# Wheels of debugpy from the owner of the project, for builds without a network, as fetched by
# `pip download debugpy --no-deps --only-binary=:all: --python-version 3.X`
WHEELS = HERE / "wheels"

# The secrets that the build of the service has
SECRETS = Path("/run/secrets")

# Parts of debugpy that do nothing here, more than half of it: the sources of its extension modules,
# its tests, its own adapter, and its parts for Windows, for test runners, and for attaching from
# outside. Each edit of the code copies the rest into the image again.
NEEDLESS = re.compile(
    r"\.(c|cpp|h|hpp|pxd|pyx)$|/winappdbg/|/tests/|/pydev_runfiles|/pydev_sitecustomize/"
    r"|/pydevd_attach_to_process/(?!attach_linux)"
    r"|^debugpy/(adapter/(?!__init__)|launcher/)|/__main__pydevd_gen"
)

# How to get pip if the image has none. This happens in a build stage: only DESTINATION is kept.
PIP_PACKAGES = [
    "{python} -m ensurepip",
    "apt-get update && apt-get install --reinstall --no-install-recommends --yes python3-pip",
    "apk add --no-cache py3-pip",
    "dnf install --assumeyes python3-pip",
    "microdnf install --assumeyes python3-pip",
]

# The start-up file of an interpreter: a folder for sys.path, and a line to run. In a virtual
# environment, Python reads the file twice, but the hook has removed the folder from sys.path by
# then. If a volume hides the folder, the line says so, once.
START_UP = """{home}
import os, sys; "{home}" in sys.path and __import__("_remora.hook").hook.main() \
if os.path.exists("{home}/_remora") else hasattr(sys, "remora") or setattr(sys, "remora", \
sys.stderr.write("remora: there is no {home}, pid %d goes on without a debugger\\n" % os.getpid()))
"""
ENTRY_POINT = "_remora.hook:main\n"

# The command, isolated from the program's modules
COMMAND = """#!/bin/sh
exec {home}/python -I -S {home}/_remora/__main__.py "$@"
"""
OLD_COMMAND = """#!/bin/sh
exec remora debug-attach "$@"
"""

# What an interpreter tells about itself, in its last line. The tag names all that a wheel must fit:
# the version, the processor and the C library.
DESCRIBE = """
import json, platform, site, sys, sysconfig
tag = [sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag, *platform.libc_ver()]
print(json.dumps({
    "version": list(sys.version_info[:2]),
    "tag": "-".join(filter(None, tag)),
    "site": site.getsitepackages()[0],
}))
"""

# How long an interpreter may take to tell that, in seconds. Builds may emulate another processor.
PATIENCE = 60


def requirement(version):
    """Return what to ask pip for: the last debugpy for a version of Python, such as (3, 12)."""
    # 1.8.22 is the first for Python 3.14, and supports 3.10 and later. Version 2 may change what
    # the hook relies on.
    return "debugpy>=1.8.22,<2" if version >= (3, 10) else "debugpy>=1.8.20,<2"


def interpreters():
    """Return the Pythons of the image that debugpy supports: dictionaries (see DESCRIBE) by path.

    Those of virtual environments are included.
    """
    found = {}
    for folder, subfolders, files in os.walk("/"):
        if folder == "/":
            subfolders[:] = sorted(set(subfolders) - {"dev", "proc", "sys", "tmp"})
        if os.path.basename(folder) != "bin":
            continue
        for name in files:
            path = os.path.join(folder, name)
            if not re.fullmatch(r"python3(\.\d+)?", name) or not os.access(path, os.X_OK):
                continue
            python = describe(path)
            if python and python["version"] >= (3, 8):
                found[path] = python
    return found


def describe(path):
    """Return what the interpreter at `path` tells about itself (see DESCRIBE); None if it does not.

    It may be for another processor or C library, a link to another program, or a broken script.
    """
    try:
        answer = subprocess.run(
            [path, "-I", "-c", DESCRIBE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=PATIENCE,
            check=True,
        )
        python = json.loads(answer.stdout.splitlines()[-1])
        python["version"] = tuple(python["version"])
        return python
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError):
        return None


def pip_command(pythons):
    """Return a command (a list) that runs pip. Installs pip if needed, or ends the script.

    Any pip will do: it can fetch for other versions than its own. pythons: paths of interpreters.
    """
    for bring in ["true", *PIP_PACKAGES]:
        command = bring.format(python=sys.executable)
        if not shutil.which(command.split()[0]) or subprocess.call(command, shell=True) != 0:
            continue
        for python in [*pythons, "/usr/bin/python3"]:
            found = [python, "-m", "pip"]
            if describe(python) and subprocess.call([*found, "--version"]) == 0:
                return found
    sys.exit(
        "install.py: the image has no pip to fetch debugpy with, and none could be installed:"
        " see above, or add pip to the image"
    )


def pip_environment():
    """Return the environment for pip, with the package index that the build of the service uses."""
    # Settings of the image that are meant for its own packages would stop pip.
    found = dict(os.environ, PIP_REQUIRE_VIRTUALENV="0", PIP_USER="0")
    for uv, name in [
        ("UV_DEFAULT_INDEX", "PIP_INDEX_URL"),
        ("UV_INDEX_URL", "PIP_INDEX_URL"),
        ("UV_INDEX", "PIP_EXTRA_INDEX_URL"),
        ("UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL"),
    ]:
        if found.get(uv):
            # uv lets an index have a name: name=https://...
            found.setdefault(name, re.sub(r"(^|\s)\w+=(?=https?:)", r"\1", found[uv]))
    for secret in sorted(SECRETS.glob("*")):
        text = secret.read_bytes().decode(errors="replace").strip()
        if re.match(r"(machine|default)\s", text):
            found["NETRC"] = str(secret)
        elif re.search(r"^\[(global|install|download)\]", text, re.MULTILINE):
            found["PIP_CONFIG_FILE"] = str(secret)
        elif re.fullmatch(r"https?://\S+", text):
            kind = "EXTRA_INDEX" if "extra" in secret.name.lower() else "INDEX"
            found[f"PIP_{kind}_URL"] = text
    return found


def compile_all(path, folder, home):
    """Replace the modules in `folder`, in the image `home`, by compiled ones for a Python, `path`.

    Compile at the build: the user of the container may not write there. Keep no sources: each edit
    of the code copies the tree into the image again, and the time depends on the number of files.
    Leave out the times of the sources, so that the same files make the same layer.
    """
    command = [path, "-I", "-m", "compileall", "-q", "-b", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([*command, "-d", str(home), str(folder)], stdout=subprocess.DEVNULL)
    for source in folder.rglob("*.py"):
        # Python runs `__main__` as a file. A module that does not compile stays as it is.
        if source.name != "__main__.py" and source.with_suffix(".pyc").exists():
            source.unlink()


def debugpy_for(path, python, pythons, home):
    """Return the folder of debugpy for an interpreter. Fetches it if it is not in the cache.

    path, python: one item of interpreters(). pythons: all of them. home: the folder in the image.
    """
    wanted = requirement(python["version"])
    folder = CACHE / python["tag"] / wanted
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        command = [*pip_command(pythons), "download", "--no-deps", "--only-binary=:all:"]
        command += ["--python-version", "{}.{}".format(*python["version"])]
        if WHEELS.is_dir():
            command += ["--no-index", "--find-links", str(WHEELS)]
        # Another build may do the same at this moment: the folder appears only when it is complete.
        with tempfile.TemporaryDirectory(dir=str(CACHE)) as temporary:
            draft = Path(temporary, "debugpy")
            command += ["--dest", str(draft), wanted]
            if subprocess.call(command, env=pip_environment()) != 0:
                sys.exit(
                    f"install.py: pip could not fetch {wanted}: see above; it needs a package"
                    " index, or that wheel in the folder docker/debug/wheels"
                )
            wheel = next(draft.glob("*.whl"))
            with zipfile.ZipFile(str(wheel)) as archive:
                needed = [name for name in archive.namelist() if not NEEDLESS.search(name)]
                archive.extractall(str(draft), needed)
            wheel.unlink()
            compile_all(path, draft, home)
            try:
                os.rename(str(draft), str(folder))
            except OSError:
                pass  # the other build was faster
    return folder


def make_folder(destination, folder):
    """Make a folder of the tree, and return its path below `destination`.

    If the image has the folder, the copy has the same owner and mode.
    """
    folder = folder.resolve()
    copy = destination / folder.relative_to("/")
    if not copy.exists():
        if folder != folder.parent:
            make_folder(destination, folder.parent)
        copy.mkdir()
        if folder.exists():
            status = folder.stat()
            os.chown(copy, status.st_uid, status.st_gid)
            copy.chmod(status.st_mode & 0o7777)
    return copy


def write_file(path, text, mode=0o644):
    """Write a file of the tree. mode: its permissions."""
    path.write_text(text)
    path.chmod(mode)


def install(path, python, pythons, destination):
    """Put debugpy and the layer into the tree for one version of Python, and return their folder.

    Arguments: see debugpy_for(). destination: the tree. The result is a path in the image.
    """
    home = HOME / "python{}.{}".format(*python["version"])
    copy = make_folder(destination, home)
    for package in debugpy_for(path, python, pythons, home).iterdir():
        shutil.copytree(str(package), str(copy / package.name))
    (copy / "python").symlink_to(path)
    # The program may have a package called `remora`.
    for module in (HERE / "remora").rglob("*.py"):
        folder = home / "_remora" / module.parent.relative_to(HERE / "remora")
        # Anybody may read the copies, whatever the modes are here.
        write_file(make_folder(destination, folder) / module.name, module.read_text())
    compile_all(path, copy / "_remora", home / "_remora")
    return home


def main(destination):
    """Make the tree at the path `destination`, which must not exist yet."""
    pythons = interpreters()
    if not pythons:
        sys.exit(
            "install.py: the image has no Python that debugpy supports, which is 3.8 or later:"
            " take another base image, or leave its service out of debug_services"
        )
    homes = {}
    for path, python in pythons.items():
        version = python["version"]
        if version not in homes:
            homes[version] = install(path, python, pythons, destination)
        site_packages = make_folder(destination, Path(python["site"]))
        write_file(site_packages / "remora.pth", START_UP.format(home=homes[version]))
        if version >= (3, 15):
            write_file(site_packages / "remora.start", ENTRY_POINT)

    # For mode `dump`: every user of the container may write there.
    make_folder(destination, Path("/var/lib/remora/dumps")).chmod(0o1777)

    commands = make_folder(destination, Path("/usr/local/bin"))
    write_file(commands / "remora", COMMAND.format(home=homes[max(homes)]), 0o755)
    write_file(commands / "debug-attach", OLD_COMMAND, 0o755)
    if (HERE / "debug-entrypoint.sh").exists():
        entry_point = (HERE / "debug-entrypoint.sh").read_text()
        write_file(commands / "debug-entrypoint.sh", entry_point, 0o755)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
