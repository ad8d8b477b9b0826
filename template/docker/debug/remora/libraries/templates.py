"""Breakpoints in templates of Django and Jinja.

pydevd has a plugin for each library. If a client says that there are templates, pydevd believes
that every file is a template whose name does not end in .py. Here, the content of a file decides
whether it is a template, and the modules that the program has imported decide which plugins it
needs.

This module replaces methods of pydevd.
"""

import os
import sys

from ..sources import paths
from ..sources.files import loaded
from ..sources.project import content_of
from . import imports

# The module without which no template is rendered, by the name of the plugin
LIBRARIES = {
    "pydevd_plugins.django_debug": "django.template.base",
    "pydevd_plugins.jinja2_debug": "jinja2.environment",
}

# Whether the imports of these modules are watched
is_watching = False


def apply(pydevd):
    """Make pydevd find out itself which breakpoints are in templates.

    Raises AttributeError or ImportError if pydevd lacks one of the functions.
    """
    from _pydevd_bundle import pydevd_frame_utils
    from _pydevd_bundle.pydevd_plugin_utils import PluginManager
    from _pydevd_bundle.pydevd_process_net_command_json import PyDevJsonCommandProcessor
    from pydevd_plugins import django_debug

    _ = django_debug._init_plugin_breaks, pydevd.PyDB.get_plugin_lazy_init  # prepare() needs them
    # The plugin has looked for Django's version while engine/apart.py hid Django.
    django_debug.IS_DJANGO18 = django_debug.IS_DJANGO19 = False
    django_debug.IS_DJANGO19_OR_HIGHER = True
    answer = PyDevJsonCommandProcessor.on_setbreakpoints_request
    activate = PluginManager.activate
    frames_from = pydevd_frame_utils.create_frames_list_from_frame

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
        if LIBRARIES[plugin.__name__] in sys.modules:  # else it would only cost time
            activate(self, plugin)

    def create_frames_list_from_frame(frame):
        """Return a stack with the lines of templates, not of what Jinja has made of them."""
        frames = frames_from(frame)
        for frame in frames:
            template = frame.f_globals.get("__jinja_template__")
            if template is not None:
                line = template.get_corresponding_lineno(frame.f_lineno)
                frames.frame_id_to_lineno[id(frame)] = line
        return frames

    pydevd_frame_utils.create_frames_list_from_frame = create_frames_list_from_frame
    PyDevJsonCommandProcessor.on_setbreakpoints_request = on_setbreakpoints_request
    PluginManager.activate = activate_if_used


def is_template(path, content):
    """Tell whether a file is a template, and not Python.

    path: its path. content: its bytes; None if they are not known.
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
    """Make pydevd's debugger keep breakpoints in templates, for either plugin."""
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
    """Let those plugins look for breakpoints whose libraries the program has imported."""
    if hasattr(debugger, "jinja2_breakpoints"):  # there is a debugger, with templates
        manager = debugger.get_plugin_lazy_init()
        for name in LIBRARIES:
            manager.activate(sys.modules[name])
        debugger.has_plugin_line_breaks = manager.has_line_breaks(debugger)
        debugger.on_breakpoints_changed()
