"""Breakpoints in templates, with the real Django and Flask from a package index."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.container import Container, imported
from support.project import line

TEMPLATE = """<h1>A list</h1>
{% for item in items %}
<p>{{ item }}</p>
<p>again {{ item }}</p>
{% endfor %}
"""

# Renders index.html with each library. The other library must not matter.
DJANGO = """
import jinja2
import django
from django.conf import settings
from django.template.loader import render_to_string

place = {"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": ["pages"]}
settings.configure(TEMPLATES=[dict(place, APP_DIRS=True)], INSTALLED_APPS=["shop"])
django.setup()

def render():
    return render_to_string("index.html", {"items": ["a"]})
"""
JINJA = """
import jinja2
import django.template

loader = jinja2.FileSystemLoader(["pages", "../site/shop/templates"])
environment = jinja2.Environment(loader=loader)

def render():
    return environment.get_template("index.html").render(items=["a"])
"""
FLASK = """
import flask

app = flask.Flask("__main__", template_folder="pages")

def render():
    with app.test_request_context():
        return flask.render_template("index.html", items=["a"])
"""
PROGRAMS = {"django": DJANGO, "jinja2": JINJA, "flask": FLASK}

HOME = Path("/home/dev/shop")


@pytest.fixture
def packages(installed: Callable[..., dict[str, str]], shop: Container) -> dict[str, str]:
    """The setting with which a program finds Django, Flask, and the package `shop`."""
    shop.write("../site/shop/__init__.py", "")
    (path,) = installed("django", "flask").values()
    return {"PYTHONPATH": f"{path}:../site"}


def message(container: Container, path: Path) -> str | None:
    """The message for a file's last breakpoint if it is not set; None if it is set."""
    shown = container.editors[-1].clients[0].breakpoints.values()
    *_, found = (b for b in shown if b["source"]["path"] == str(path))
    return None if found["verified"] else found["message"]


@pytest.mark.parametrize("library", PROGRAMS)
def test_breakpoint_stops_once_the_library_is_imported(
    shop: Container, packages: dict[str, str], library: str
) -> None:
    """The file has another path than on the client, and another file has its name."""
    template, another = HOME / "src/pages/index.html", HOME / "src/pages/old/index.html"
    for folder in ("pages", "../project/src/pages"):
        place = shop.write(f"{folder}/index.html", TEMPLATE)
        shop.write(f"{folder}/old/index.html", TEMPLATE.replace("again", "never"))
    program = shop.write("p.py", "print()" + PROGRAMS[library] + "\nprint(render())\n")
    number = line(place, "<p>{{ item }}")
    shop.start("python p.py", **packages)
    editor = shop.attach({template: [number], another: [number], program: [1]}, justMyCode=True)
    at_start = editor.stopped()
    assert at_start.path == program
    waits = "The breakpoint is set when Django or Jinja renders {}."
    assert message(shop, template) == waits.format(shop.folder / "pages/index.html")
    editor.resume(at_start)
    stop = editor.stopped()
    assert (stop.path, stop.line, stop.locals["item"]) == (template, number, "'a'")
    assert message(shop, template) is None
    assert message(shop, another)
    after = editor.step(stop)
    assert (after.path, after.line) == (template, number + 1)
    editor.resume(after)
    assert shop.exit_code() == 0


LOOP = """
import os, time
print("up", flush=True)
while not os.path.exists("end"):
    render()
    time.sleep(0.01)
"""


@pytest.mark.parametrize("library", ["django", "jinja2"])
def test_template_in_a_package_of_a_running_program_stops(
    shop: Container, packages: dict[str, str], library: str
) -> None:
    template = HOME / "src/shop/templates/index.html"
    place = shop.write("../site/shop/templates/index.html", TEMPLATE)
    shop.write("p.py", PROGRAMS[library] + LOOP)
    shop.start("exec python p.py", mode="listen", **packages)
    shop.says("up")
    number = line(place, "again")
    for _ in range(2):
        editor = shop.attach({template: [number]}, justMyCode=True)
        stop = editor.stopped()
        assert (stop.path, stop.line, stop.locals["item"]) == (template, number, "'a'")
        assert message(shop, template) is None
        # A line that no program contains.
        editor.set_breakpoints(template, 99)
        assert message(shop, template)
        editor.detach()
    shop.write("end", "")
    assert shop.exit_code() == 0


CALLED = """
def shout(text):
    return text + "!"  # shout

environment.filters["shout"] = shout
"""
PARENT = "<html>\n\n\n{% block body %}{% endblock %}\n"
CHILD = """{% extends "base.html" %}
{% block body %}
{% for item in items %}
{{ item | shout }}
{% endfor %}
{% endblock %}
"""


def test_stack_has_the_lines_of_jinja_templates(shop: Container, packages: dict[str, str]) -> None:
    """Jinja makes Python code of templates, whose lines have other numbers."""
    base, child = shop.write("pages/base.html", PARENT), shop.write("pages/index.html", CHILD)
    program = shop.write("p.py", JINJA + CALLED + "render()\n")
    number, called = line(child, "shout"), line(program, "# shout")
    shop.start("python p.py", **packages)
    editor = shop.attach({program: [called], child: [number]}, justMyCode=True)
    for top in ((child, number), (program, called)):
        stop = editor.stopped()
        assert (stop.path, stop.line) == top
        found = stop.client.request("stackTrace", threadId=stop.thread)["stackFrames"]
        stack = [(Path(frame["source"]["path"]), frame["line"]) for frame in found]
        templates = dict.fromkeys(place for place in stack if place[0].suffix == ".html")
        assert list(templates) == [(child, number), (base, 4), (child, 1)]
        editor.resume(stop)


@pytest.mark.parametrize("library", ["django", "jinja2"])
def test_values_at_a_line_of_a_template_are_printed(
    shop: Container, packages: dict[str, str], library: str
) -> None:
    for folder in ("pages", "../project/src/pages"):
        shop.write(f"{folder}/index.html", TEMPLATE)
    shop.write("p.py", PROGRAMS[library] + LOOP)
    shop.start("exec python p.py", mode="listen", **packages)
    shop.says("up")

    def at(number: int) -> subprocess.CompletedProcess[str]:
        return shop.remora("at", f"src/pages/index.html:{number}", "--eval", "item", "--json")

    facts = json.loads(at(3).stdout)
    assert (facts["file"], facts["line"]) == ("src/pages/index.html", 3)
    assert facts["values"] == {"item": "'a'"}
    refused = {
        1: "has no code\n",
        5: "has no code: the nearest line with code is 4\n",
        99: "is past its end, line 5: the nearest lines with code are 3, 4, 5\n",
    }
    for number, why in refused.items():
        done = at(number)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"line {number} of src/pages/index.html {why}"
    shop.write("end", "")
    assert shop.exit_code() == 0


SCRIPT = """{}
import sys
text = "{{{{ no template }}}}"
print(text)  # here
"""

# Files with this text that Python runs, and their beginnings
SCRIPTS = {"run": "#", "run.pyw": "#", "run.cgi": "#!/usr/bin/env python3"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_with_another_suffix_stops(shop: Container, name: str) -> None:
    """Templates beside the script cost no time if nothing renders them."""
    script = shop.write(name, SCRIPT.format(SCRIPTS[name]))
    template = shop.write("index.html", TEMPLATE)
    shop.start(f"python {name}")
    # Settings of debugpy that Remora does not need do no harm.
    editor = shop.attach({template: [3], script: [4]}, django=True, jinja=True)
    stop = editor.stopped()
    assert (stop.path, stop.line) == (script, 4)
    assert message(shop, script) is None
    assert message(shop, template)
    manager = "__import__('pydevd').get_global_debugger().get_plugin_lazy_init()"
    active = f"{manager}.active_plugins"
    assert stop.client.request("evaluate", expression=active)["result"] == "[]"
    editor.resume(stop)
    assert shop.exit_code() == 0


# The text of files that Python does not run yet, and whether they are templates
FILES = {
    "a.html": ("<p>text</p>", True),
    "a.txt": ("{{ name }}", True),
    "a.sql.j2": ("select {% if all %}*{% endif %}", True),
    "Dockerfile": ("FROM {{ image }}", True),
    "bin/run": ("print('{{ name }}')", False),
    "a.conf": ("workers = 2", False),
    "a.py": ("{{ name }}", False),
}


@pytest.mark.parametrize("name", FILES)
def test_templates_are_recognized(name: str) -> None:
    text, expected = FILES[name]
    with imported("remora.libraries.templates") as templates:
        assert templates.is_template(name, text.encode()) is expected
