"""Remove delays of pydevd.

Each function raises AttributeError if pydevd lacks what the function replaces.
"""

from types import SimpleNamespace


def wake_threads(pydevd):
    """Wake the threads that a client resumes, in programs of several threads too.

    _update_stepping_info() of pydevd uses its parameter's name in a loop, and so wakes the last
    thread of that loop. The thread that should go on notices that after 0.2 s. Debugpy 1.8.20 to
    1.8.22 do so. Here, each wake-up reaches all paused threads: a thread that is woken looks for
    itself whether it goes on, or what it has to do.
    """
    begin, ThreadingEvent = pydevd.PyDB.__init__, pydevd.ThreadingEvent

    def __init__(self, *arguments, **options):
        begin(self, *arguments, **options)
        events = getattr(self, "_thread_events", None)

        def set_all(_):
            for event in list(events.values()):
                ThreadingEvent.set(event)

        if events is not None:
            events.default_factory = type("Event", (ThreadingEvent,), {"set": set_all})

    pydevd.PyDB.__init__ = __init__


def begin_at_once(pydevd):
    """Begin a session without a pause of 0.1 s, in which pydevd lets its threads start.

    They have started by then: Thread.start() waits for that.
    """
    begin, time = pydevd.PyDB.initialize_network, pydevd.time
    without_pause = SimpleNamespace(**dict(vars(time), sleep=lambda seconds: None))

    def initialize_network(self, *arguments, **options):
        pydevd.time = without_pause
        try:
            begin(self, *arguments, **options)
        finally:
            pydevd.time = time

    pydevd.PyDB.initialize_network = initialize_network


def skip_libraries(pydevd):
    """Decide once for each file, and not for each function, that the code is a library's.

    pydevd stores its decisions by code objects, and reads all of a code object to find one. So,
    under a client, `import pandas` took 1.8 times as long as without; here, 1.5 times.
    """
    decide = pydevd.PyDB.apply_files_filter

    def apply_files_filter(self, frame, file, is_forced):
        decided = self._apply_filter_cache
        # For these, pydevd has to look at the function or the frame.
        if self._exclude_filters_enabled or self.has_plugin_line_breaks or is_special(frame, file):
            return decide(self, frame, file, is_forced)
        if file in decided:
            return is_forced or self._is_libraries_filter_enabled
        is_left_out = decide(self, frame, file, is_forced)
        if is_left_out:
            decided[file] = True
        return is_left_out

    pydevd.PyDB.apply_files_filter = apply_files_filter


def is_special(frame, file):
    """Tell whether code is in no file, or may be left out although its file is the user's."""
    return file.startswith("<") or frame.f_code.co_name == "__annotate__"
