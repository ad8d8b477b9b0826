"""Checks of rendered files: are they well formed, and do they read as if written by hand?"""

from __future__ import annotations

import json
import re
from pathlib import Path


def strict_json(path: Path) -> dict:
    """Read a JSON file in which no key occurs twice, so that every editor can read it."""

    def no_duplicates(pairs: list[tuple]) -> dict:
        assert len(dict(pairs)) == len(pairs), f"{path}: {pairs}"
        return dict(pairs)

    return json.loads(path.read_text(), object_pairs_hook=no_duplicates)


def assert_tidy(path: Path) -> None:
    """A text contains no stray white space, blank lines or Jinja."""
    text = path.read_bytes().decode()
    assert "\r" not in text, path
    assert text.endswith("\n") and not text.endswith("\n\n"), path
    assert not re.search(r"[ \t]$", text, re.MULTILINE), path
    if path.name in ("templates.py", "project.py", "debug.Dockerfile.dockerignore"):
        return  # which are about the project's own templates
    # debugpy has an option of that name.
    text = text.replace('"jinja": bool', "")
    assert not any(trace in text for trace in ("{{", "{%", "{#", "jinja")), path
    if path.suffix != ".py" and path.name != "Dockerfile":
        assert "\n\n\n" not in text, path
