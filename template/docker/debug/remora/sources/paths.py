"""Make pydevd use the project's names of files, by replacing functions of pydevd's modules.

All files of the container that are the same file of the project have one name in pydevd. pydevd
asks for the name of a file (its "canonical" path) whenever it meets a file, and looks for
breakpoints by that name. So a breakpoint stops wherever its file appears, and however late.
"""

import os
import sys

from ..hook import HOME
from .files import Files, working_directory
from .project import FOLDER, Project, content_of

# The project's files, and what they are for the present client
project = files = None

# Functions that wait until a file appears that has breakpoints, by the project's name
pending = {}

# The standard library
LIBRARY = os.path.dirname(os.__file__)


def apply(pydevd):
    """Make pydevd translate paths between a client and this process by a Files: see files.py.

    Raises AttributeError or ImportError if pydevd lacks one of the functions.
    """
    import pydevd_file_utils as utils
    from _pydevd_bundle.pydevd_api import _get_code_lines as lines_of
    from _pydevd_bundle.pydevd_filtering import FilesFiltering
    from _pydevd_bundle.pydevd_process_net_command_json import (
        PyDevJsonCommandProcessor as Processor,
    )

    # All of these must exist before the first one is replaced.
    _ = utils._abs_and_canonical_path, utils.exists, FilesFiltering.in_project_roots
    _ = utils.map_file_to_server, utils.map_file_to_client, Processor._set_debug_options
    _ = Processor._create_breakpoint_from_add_breakpoint_result
    name_files(utils, FilesFiltering)
    translate(utils, Processor)
    describe_breakpoints(utils, Processor, lines_of)
    forget(utils)


def name_files(utils, filtering):
    """Make pydevd call each file by the project's name. filtering: its class FilesFiltering."""
    canonical = utils._abs_and_canonical_path
    exists = utils.exists
    is_of_user = filtering.in_project_roots

    def abs_and_canonical_path(filename, *cache):
        try:
            absolute, name = canonical(filename, *cache)
        except OSError:
            # The path is relative, and the working directory is deleted. To pydevd, a file that is
            # missing elsewhere belongs to the standard library.
            absolute, name = canonical(os.path.join(LIBRARY, filename), *cache)
        local = None if is_name(absolute) else local_of(absolute)
        if local is None:
            return absolute, name
        for tell in pending.pop(local, ()):
            tell(absolute)
        return absolute, name_of(local)

    def in_project_roots(self, path):
        return is_name(path) or local_of(path) is not None or is_of_user(self, path)

    utils._abs_and_canonical_path = abs_and_canonical_path
    utils.exists = lambda path: is_name(path) or exists(path)
    filtering.in_project_roots = in_project_roots


def translate(utils, processor):
    """Make pydevd translate paths. processor: its class of the requests of a client."""
    set_options = processor._set_debug_options

    def map_file_to_server(path):
        count = len(files.others)
        local = files.local(path)
        if len(files.others) > count:
            forget(utils)  # pydevd may have met this file by another name
        return (files.places(local) or [name_of(local)])[0]

    def map_file_to_client(file):
        absolute = utils.absolute_path(file)
        path = files.path_of(absolute) if absolute.startswith("/") else None
        if path is None and files.mappings:
            # The client can ask for the text of such a file by a number.
            numbers = utils._client_filename_in_utf8_to_source_reference
            if absolute not in numbers:
                number = numbers[absolute] = utils._next_source_reference()
                utils._source_reference_to_server_filename[number] = absolute
        return path or absolute, path is not None

    def set_debug_options(self, py_db, args, start_reason):
        start(utils, args.get("pathMappings") or [])
        args = dict(args, pathMappings=[], autoReload=with_folder_to_watch(args))
        if str(args.get("clientOS")).upper() not in ("WINDOWS", "UNIX"):
            args.pop("clientOS", None)  # pydevd would fail
        return set_options(self, py_db, args, start_reason)

    utils.map_file_to_server = map_file_to_server
    utils.map_file_to_client = map_file_to_client
    processor._set_debug_options = set_debug_options


def describe_breakpoints(utils, processor, lines_of):
    """Make pydevd tell a client which breakpoints are in a file of the program.

    processor: see translate(). lines_of: pydevd's function for the lines of a code object.
    """
    describe = processor._create_breakpoint_from_add_breakpoint_result

    def has_code(path, line):
        try:
            return line in lines_of(compile(content_of(path), path, "exec", dont_inherit=True))
        except (SyntaxError, ValueError, TypeError):
            return True  # it cannot be read here: assume that the line has code

    def kind_of(py_db, path, number):
        _, known = py_db.api_received_breakpoints.get(
            (utils.normcase_from_client(path), number), (None, (path, "python-line"))
        )
        return known[1]

    def describe_breakpoint(self, py_db, source, number, result):
        """Return a breakpoint for the client: set only if a file of the program has its line."""
        found = describe(self, py_db, source, number, result)
        kind = kind_of(py_db, source.path, number)
        local = files.local(source.path)
        places = files.places(local)
        problem = None
        if not places:
            problem = (
                f"{local} is not in this container, as far as is known: {files.why_missing(local)}."
                " The breakpoint is set when a program loads the file."
            )

            def tell(file):
                # pydevd may have read its lines from another version of the file.
                self._on_changed_breakpoint_state(py_db, source, number, result)

            pending.setdefault(local, []).append(tell)
        elif result.original_line > count_lines(places[0]) > 0:
            problem = f"{places[0]} has no line {result.original_line}: build the image again"
            self.api.remove_breakpoint(py_db, source.path, kind, number)
        elif result.error_code == self.api.ADD_BREAKPOINT_LAZY_VALIDATION:
            problem = f"The breakpoint is set when Django or Jinja renders {places[0]}."
        elif result.error_code == self.api.ADD_BREAKPOINT_INVALID_LINE or (
            kind == "python-line" and not has_code(places[0], result.translated_line)
        ):
            problem = f"line {result.translated_line} of {places[0]} has no code"
        return dict(found, verified=False, message=problem) if problem else found

    processor._create_breakpoint_from_add_breakpoint_result = describe_breakpoint


def start(utils, mappings):
    """Begin to translate for a client. mappings: its path mappings, as the protocol has them."""
    global project, files
    project = project or Project()
    files = Files(project, pairs_of(mappings))
    pending.clear()
    forget(utils)


def pairs_of(mappings):
    """Return a client's path mappings in the form that Files takes."""
    known = []
    for mapping in mappings:
        there, here = mapping.get("localRoot", ""), mapping.get("remoteRoot", "")
        if there and here:
            known.append((there, os.path.normpath(os.path.join(working_directory(), here))))
    return known


def with_folder_to_watch(options):
    """Return a client's autoReload, with a folder to watch if the working directory is deleted.

    By default, pydevd watches the working directory, and fails if it has no path.
    """
    found = options.get("autoReload") or {}
    try:
        os.getcwd()
    except OSError:
        found = dict(found, watchDirectories=found.get("watchDirectories") or ["/proc/self/cwd"])
    return found


def forget(utils):
    """Make pydevd ask again for the name of each file, and whether the file is the user's."""
    utils.NORM_PATHS_CONTAINER.clear()
    utils.NORM_PATHS_AND_BASE_CONTAINER.clear()
    debugger = sys.modules["pydevd"].get_global_debugger()
    if debugger is not None:
        debugger._clear_caches()


def name_of(local):
    """Return pydevd's name of a file of the project. local: see Files."""
    return f"{FOLDER}/{local.lstrip('/')}"


def is_name(path):
    return path.startswith(f"{FOLDER}/")


def local_of(path):
    """Return the project's name of a file of the container; None if it is not in the project."""
    # The project's copy contains the debug layer, too.
    is_file = path.startswith("/") and not path.startswith(f"{HOME}/")
    return files.identify(path) if files and is_file else None


def count_lines(path):
    """Return how many lines a file has; 0 if it cannot be read."""
    content = content_of(path)
    return 0 if content is None else content.count(b"\n") + 1
