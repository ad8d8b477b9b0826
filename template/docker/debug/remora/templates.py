"""Breakpoints in templates of Django and of Jinja.

pydevd has a plugin for each, and takes for a template of one of them whatever is not called *.py,
if a client says that there are any. Here, the file tells whether it is a template, and what the
program has imported tells which of the plugins it needs.
"""

import os
import sys

from remora import imports, paths
from remora.files import loaded
from remora.project import content_of

# The module without which no template is rendered, by the plugin
LIBRARIES = {
    "pydevd_plugins.django_debug": "django.template.base",
    "pydevd_plugins.jinja2_debug": "jinja2.environment",
}

# Whether the imports of these are watched
is_watching = False


def apply(pydevd):
    """Have pydevd take breakpoints in templates for such, without a word of the client."""
    from _pydevd_bundle.pydevd_plugin_utils import PluginManager
    from _pydevd_bundle.pydevd_process_net_command_json import PyDevJsonCommandProcessor
    from pydevd_plugins import django_debug

    _ = django_debug._init_plugin_breaks, pydevd.PyDB.get_plugin_lazy_init  # which prepare() needs
    # It has asked the version of Django, and did not find it: see apart.py.
    django_debug.IS_DJANGO18 = django_debug.IS_DJANGO19 = False
    django_debug.IS_DJANGO19_OR_HIGHER = True
    answer = PyDevJsonCommandProcessor.on_setbreakpoints_request
    activate = PluginManager.activate

    def on_setbreakpoints_request(self, py_db, request):
        options = self._options
        before = options.django_debug, options.flask_debug
        path = request.arguments.source.path
        places = paths.files.places(paths.files.local(path))
        is_one = is_template(path, content_of(places[0]) if places else None)
        is_one = is_one and not set(places) & set(loaded())
        if is_one:
            prepare(py_db)
        options.django_debug, options.flask_debug = False, is_one
        try:
            return answer(self, py_db, request)
        finally:
            options.django_debug, options.flask_debug = before

    def activate_if_used(self, plugin):
        if LIBRARIES[plugin.__name__] in sys.modules:  # or it would cost time for nothing
            activate(self, plugin)

    PyDevJsonCommandProcessor.on_setbreakpoints_request = on_setbreakpoints_request
    PluginManager.activate = activate_if_used


def is_template(path, content):
    """Tell whether a file is a template, and not Python.

    content: what it holds; None if that is not known
    """
    extension = os.path.splitext(path.replace("\\", "/"))[1].lower()
    if extension in (".py", ".pyw", ".ipynb"):
        return False
    if content is None:
        return extension != ""
    first_line = content.partition(b"\n")[0]
    if first_line.startswith(b"#!") and b"python" in first_line:
        return False
    if extension and any(mark in content for mark in (b"{{", b"{%", b"{#")):
        return True
    try:
        compile(content, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True
    return False


def prepare(debugger):
    """Have a debugger of pydevd keep breakpoints in templates, which either plugin finds."""
    global is_watching
    if hasattr(debugger, "jinja2_breakpoints"):
        return
    for name in LIBRARIES:
        sys.modules[name]._init_plugin_breaks(debugger)
    debugger.django_breakpoints = debugger.jinja2_breakpoints
    if is_watching:
        activate(debugger)
    else:
        is_watching = True

        def on_import(module):
            activate(sys.modules["pydevd"].get_global_debugger())

        imports.change(dict.fromkeys(LIBRARIES.values(), on_import))


def activate(debugger):
    """Have the plugins look for breakpoints whose libraries the program has imported by now."""
    if hasattr(debugger, "jinja2_breakpoints"):  # and there is a debugger at all
        manager = debugger.get_plugin_lazy_init()
        for name in LIBRARIES:
            manager.activate(sys.modules[name])
        debugger.has_plugin_line_breaks = manager.has_line_breaks(debugger)
        debugger.on_breakpoints_changed()
