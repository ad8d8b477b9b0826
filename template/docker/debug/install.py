"""Put together what debugging adds to the image: python3 install.py DESTINATION

DESTINATION becomes a tree to be copied onto / of the same image:

    /opt/debugpy                        debugpy, debug_hook.py, debug_session.py, debug_attach.py
    /usr/local/bin/debug-attach         debug_attach.py as a command
    /usr/local/bin/debug-entrypoint.sh  the entry point
    /run/debugpy                        where processes that can be debugged have their records
    <site-packages>/debug_hook.pth      in every interpreter: runs the hook at start-up
"""

import os
import py_compile
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
HOME = Path("/opt/debugpy")
# The earliest version that debugs Python 3.14; 2 may change what the hook relies on.
DEBUGPY = "debugpy>=1.8.22,<2"


def interpreters():
    """Yield the path of every Python 3 in the image, those of virtual environments included."""
    for folder, subfolders, files in os.walk("/"):
        if folder == "/":
            subfolders[:] = sorted(set(subfolders) - {"dev", "proc", "sys", "tmp"})
        if os.path.basename(folder) == "bin":
            yield from (
                os.path.join(folder, name)
                for name in files
                if re.fullmatch(r"python3(\.\d+)?", name)
            )


def site_packages(interpreter):
    """Return the folder in which an interpreter looks for .pth files.

    None if it does not run, or is older than debugpy supports.
    """
    script = (
        "import site, sys; assert sys.version_info >= (3, 10); print(site.getsitepackages()[0])"
    )
    answer = subprocess.run([interpreter, "-I", "-c", script], capture_output=True, text=True)
    return Path(answer.stdout.strip()) if answer.returncode == 0 else None


def make_folder(destination, folder):
    """Make a folder of the tree, with the owner and mode that it has in the image, if it has it."""
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


def copy_file(name, folder, mode):
    """Copy a file from here to a folder, whatever its mode is here, and return its path."""
    path = folder / name
    shutil.copyfile(HERE / name, path)
    path.chmod(mode)
    return path


def main(destination):
    """Make the tree below the path `destination`, which must not exist yet."""
    home = make_folder(destination, HOME)
    pip = [sys.executable, "-m", "pip", "install", "--root-user-action=ignore"]
    subprocess.run([*pip, "--target", str(home), DEBUGPY], check=True)
    for name in ("debug_hook.py", "debug_session.py"):
        module = copy_file(name, home, 0o644)
        # Compiled now, since the user of the container may not write there.
        py_compile.compile(str(module), doraise=True)

    programs = make_folder(destination, Path("/usr/local/bin"))
    copy_file("debug-entrypoint.sh", programs, 0o755)
    # Without `site`, hence without the hook, and whatever PYTHONPATH is.
    command = copy_file("debug_attach.py", home, 0o755)
    command.write_text(f"#!{sys.executable} -ES\n{command.read_text()}")
    (programs / "debug-attach").symlink_to(HOME / command.name)

    # Any user that the container is run as may write here.
    make_folder(destination, Path("/run/debugpy")).chmod(0o777)

    for folder in set(filter(None, map(site_packages, interpreters()))):
        start_up = make_folder(destination, folder) / "debug_hook.pth"
        start_up.write_text(f"{HOME}\nimport debug_hook; debug_hook.main()\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
