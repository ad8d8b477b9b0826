"""What install.py puts into an image, tested without an image."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.container import imported


def test_debugpy_that_cannot_be_fetched_ends_the_build(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with imported("install") as install:
        monkeypatch.setattr(install, "CACHE", tmp_path)
        monkeypatch.setattr(install, "pip_command", lambda pythons: ["false"])
        with pytest.raises(SystemExit, match=r"pip could not fetch debugpy.* docker/debug/wheels"):
            python = {"version": (3, 13), "tag": "cpython-313"}
            install.debugpy_for(sys.executable, python, {}, install.HOME)
    # Nothing is left in the cache of later builds.
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []
    assert [path.name for path in tmp_path.iterdir()] == ["cpython-313"]


# A file called python3 that this image cannot run as an interpreter
BROKEN = {
    "another processor": b"\x7fELF\x02\x01\x01" + bytes(57),
    "no interpreter": b"#!/opt/gone/bin/python3\n",
    "another program": b"#!/bin/sh\necho usage\n",
    "another answer": b"#!/bin/sh\necho 3\n",
    "silent": b"#!/bin/sh\n",
    "failing": b"#!/bin/sh\nexit 1\n",
    "hanging": b"#!/bin/sh\nexec sleep 100\n",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_file_that_only_looks_like_an_interpreter_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "bin/python3"
    path.parent.mkdir()
    path.write_bytes(BROKEN[kind])
    path.chmod(0o755)
    with imported("install") as install:
        monkeypatch.setattr(install, "PATIENCE", 1)
        monkeypatch.setattr(install.os, "walk", lambda root: [(str(path.parent), [], [path.name])])
        assert install.interpreters() == {}
        # pip's candidates are such files, too.
        monkeypatch.setattr(install, "PIP_PACKAGES", [])
        assert install.pip_command([str(path), sys.executable])[0] == sys.executable


def test_interpreter_behind_a_script_that_prints_is_found(tmp_path: Path) -> None:
    path = tmp_path / "python3"
    path.write_text(f'#!/bin/sh\necho welcome\nexec {sys.executable} "$@"\n')
    path.chmod(0o755)
    with imported("install") as install:
        assert install.describe(str(path))["version"] == sys.version_info[:2]


def test_image_without_pip_ends_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    with imported("install") as install:
        monkeypatch.setattr(install.subprocess, "call", lambda *command, **options: 1)
        with pytest.raises(SystemExit, match="the image has no pip to fetch debugpy with"):
            install.pip_command({sys.executable: {}})


def test_image_with_old_pythons_only_ends_the_build(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with imported("install") as install:
        monkeypatch.setattr(install, "interpreters", dict)
        with pytest.raises(SystemExit, match="the image has no Python that debugpy supports"):
            install.main(tmp_path)


def test_debugpy_comes_from_the_wheels_of_the_owner(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    version = sys.version_info[:2]
    (tmp_path / "wheels").mkdir()
    with zipfile.ZipFile(tmp_path / "wheels/debugpy-1.8.99-py2.py3-none-any.whl", "w") as wheel:
        wheel.writestr("debugpy/__init__.py", "")
        metadata = "Metadata-Version: 2.1\nName: debugpy\nVersion: 1.8.99\n"
        wheel.writestr("debugpy-1.8.99.dist-info/METADATA", metadata)
        wheel.writestr("debugpy-1.8.99.dist-info/WHEEL", "Wheel-Version: 1.0\n")
    # Without a network
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    with imported("install") as install:
        monkeypatch.setattr(install, "CACHE", tmp_path / "cache")
        monkeypatch.setattr(install, "WHEELS", tmp_path / "wheels")
        python = {"version": version, "tag": "cpython"}
        pythons = {sys.executable: python}
        folder = install.debugpy_for(sys.executable, python, pythons, install.HOME)
    # Each edit of the code copies the files into the image again, so there are no sources.
    assert [path.name for path in (folder / "debugpy").iterdir()] == ["__init__.pyc"]


@pytest.mark.parametrize(
    ("variables", "secrets", "expected"),
    [
        ({"PIP_INDEX_URL": "https://x/"}, {}, {"PIP_INDEX_URL": "https://x/"}),
        ({"UV_INDEX_URL": "https://x/"}, {}, {"PIP_INDEX_URL": "https://x/"}),
        (
            {"UV_INDEX": "a=https://x/ https://y/"},
            {},
            {"PIP_EXTRA_INDEX_URL": "https://x/ https://y/"},
        ),
        ({}, {"pip": "[global]\nindex-url = https://x/"}, {"PIP_CONFIG_FILE": "{}/pip"}),
        ({}, {"any": "machine x login y password z"}, {"NETRC": "{}/any"}),
        ({}, {"index": "https://u:p@x/simple\n"}, {"PIP_INDEX_URL": "https://u:p@x/simple"}),
        ({}, {"pip-extra": "https://x/"}, {"PIP_EXTRA_INDEX_URL": "https://x/"}),
        ({}, {"token": "abc"}, {}),
    ],
)
def test_pip_has_the_index_of_the_services_own_build(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variables: dict[str, str],
    secrets: dict[str, str],
    expected: dict[str, str],
) -> None:
    for name in [*os.environ]:
        if name.startswith(("PIP_", "UV_", "NETRC")):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name, text in secrets.items():
        (tmp_path / name).write_text(text)
    with imported("install") as install:
        monkeypatch.setattr(install, "SECRETS", tmp_path)
        found = install.pip_environment()
    found = {name: value for name, value in found.items() if name.startswith(("PIP_", "NETRC"))}
    del found["PIP_REQUIRE_VIRTUALENV"], found["PIP_USER"]
    assert found == {name: value.format(tmp_path) for name, value in expected.items()}


@pytest.mark.parametrize("version", [(3, 8), (3, 14), (3, 15)])
def test_each_interpreter_gets_all_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: tuple[int, int]
) -> None:
    """All files for one version of Python. Python 3.15 and later have another start-up file."""
    wheel, image, tree = tmp_path / "wheel", tmp_path / "image", tmp_path / "tree"
    (wheel / "debugpy").mkdir(parents=True)
    (wheel / "debugpy/__init__.py").write_text("")
    tree.mkdir()
    python = {"version": version, "tag": "x", "site": str(image)}
    with imported("install") as install:
        monkeypatch.setattr(install, "interpreters", lambda: {sys.executable: python})
        monkeypatch.setattr(install, "debugpy_for", lambda *_: wheel)
        install.main(tree)
    home = "/opt/remora/python{}.{}".format(*version)
    site = tree / image.relative_to("/")
    assert (site / "remora.pth").read_text().startswith(f"{home}\n")
    assert (site / "remora.start").exists() == (version >= (3, 15))
    assert (tree / home[1:] / "debugpy/__init__.py").exists()
    layer = {path.name for path in (tree / home[1:] / "_remora").iterdir()}
    assert {"__main__.py", "hook.pyc"} < layer and "hook.py" not in layer
    assert (tree / home[1:] / "python").readlink() == Path(sys.executable)
    for name in ("remora", "debug-attach"):
        command = tree / "usr/local/bin" / name
        assert command.stat().st_mode & 0o777 == 0o755
        assert command.read_text().startswith("#!/bin/sh\n")


def test_layer_that_a_volume_hides_costs_one_line() -> None:
    with imported("install") as install:
        line = install.START_UP.format(home="/opt/remora/gone").splitlines()[1]
    report = f"exec({line!r}); import json, sys; print(json.dumps(sys.argv))"
    done = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == ["-c"]
    (said,) = done.stderr.splitlines()
    assert said.startswith("remora: there is no /opt/remora/gone") and "without a debugger" in said


@pytest.mark.parametrize("tags", ["musllinux_1_2_x86_64", "manylinux_2_17_x86_64"])
def test_pip_of_an_image_takes_a_wheel_that_fits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tags: str
) -> None:
    """Any pip of the image fetches a wheel for each C library, or else the pure wheel."""
    pip = tmp_path / "run_pip.py"
    pip.write_text(
        f"import runpy, sys\nsys.argv += ['--platform', {tags!r}, '--implementation', 'cp']\n"
        "sys.argv[0] = 'pip'\nrunpy.run_module('pip', run_name='__main__')\n"
    )
    with imported("install") as install:
        monkeypatch.setattr(install, "CACHE", tmp_path / "cache")
        monkeypatch.setattr(install, "pip_command", lambda pythons: [sys.executable, str(pip)])
        python = {"version": sys.version_info[:2], "tag": tags}
        folder = install.debugpy_for(sys.executable, python, {}, install.HOME)
    (about,) = folder.glob("debugpy-*.dist-info/WHEEL")
    compiled = [path.name for path in folder.glob("**/*.so") if "attach_linux" not in path.name]
    (tag, *_) = [line for line in about.read_text().splitlines() if line.startswith("Tag: ")]
    assert (tag, compiled) == ("Tag: py2-none-any", [])
