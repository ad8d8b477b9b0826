"""What is put into an image, as far as that needs no image."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bare import imported


def test_debugpy_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with imported("install") as install:
        monkeypatch.setattr(install, "CACHE", tmp_path)
        monkeypatch.setattr(install, "pip", lambda pythons: ["false"])
        with pytest.raises(SystemExit, match="pip could not fetch debugpy"):
            python = {"version": (3, 13), "tag": "cpython-313"}
            install.debugpy(sys.executable, python, {}, install.HOME)


@pytest.mark.parametrize("version", [(3, 8), (3, 14), (3, 15)])
def test_what_an_interpreter_gets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: tuple[int, int]
) -> None:
    """All that is there for one version of Python; from 3.15 on its start-up file is another."""
    wheel, image, tree = tmp_path / "wheel", tmp_path / "image", tmp_path / "tree"
    (wheel / "debugpy").mkdir(parents=True)
    (wheel / "debugpy/__init__.py").write_text("")
    tree.mkdir()
    python = {"version": version, "tag": "x", "site": str(image)}
    with imported("install") as install:
        monkeypatch.setattr(install, "interpreters", lambda: {sys.executable: python})
        monkeypatch.setattr(install, "debugpy", lambda *_: wheel)
        install.main(tree)
    home = "/opt/remora/python{}.{}".format(*version)
    site = tree / image.relative_to("/")
    assert (site / "remora.pth").read_text().startswith(f"{home}\n")
    assert (site / "remora.start").exists() == (version >= (3, 15))
    assert (tree / home[1:] / "debugpy/__init__.py").exists()
    assert (tree / home[1:] / "remora/hook.py").exists()
    assert (tree / home[1:] / "python").readlink() == Path(sys.executable)
    for name in ("remora", "debug-attach"):
        command = tree / "usr/local/bin" / name
        assert command.stat().st_mode & 0o777 == 0o755
        assert command.read_text().startswith("#!/bin/sh\n")


def test_layer_that_a_volume_hides_costs_one_line(tmp_path: Path) -> None:
    with imported("install") as install:
        line = install.START_UP.format(home=tmp_path / "gone").splitlines()[1]
    report = f"exec({line!r}); import json, sys; print(json.dumps(sys.argv))"
    done = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == ["-c"]
    (said,) = done.stderr.splitlines()
    assert said.startswith("remora: there is no ") and "without a debugger" in said
