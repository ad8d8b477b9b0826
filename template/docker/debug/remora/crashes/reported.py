"""Find exceptions that a library catches, and then reports or hands on to another process.

This module replaces functions of these libraries: see libraries/imports.py.
"""

import sys

from .uncaught import GOING_ON, act_on

# What a worker calls to hand an exception on to its parent, as (name, method), by the module. The
# parent raises the exception again, but without the variables of the worker.
HANDED_ON = {
    "celery.app.trace": ("TraceInfo", "handle_failure"),
    "concurrent.futures.process": ("_ExceptionWithTraceback", "__init__"),
    "joblib.externals.loky.process_executor": ("_ExceptionWithTraceback", "__init__"),
    "loky.process_executor": ("_ExceptionWithTraceback", "__init__"),
    "multiprocessing.pool": ("ExceptionWithTraceback", "__init__"),
    "ray.exceptions": ("RayTaskError", "__init__"),
    "torch._utils": ("ExceptionWrapper", "__init__"),
}

# The loggers to which a library reports exceptions that it catches, by the module. Other loops than
# asyncio's log to that of asyncio, such as uvloop; a pool logs what its `initializer` raises.
LOGGERS = {"asyncio.log": "logger", "concurrent.futures._base": "LOGGER"}


def handed_on():
    """Return the changes that find exceptions of workers and of tests: functions by module."""
    return {**dict.fromkeys(HANDED_ON, catch_handed_on), "_pytest.runner": catch_in_tests}


def all_changes():
    """Return all changes: also those that find what the program survives, as tasks of asyncio."""
    loops = {"asyncio.base_events": catch_in_loop}
    return {**handed_on(), **loops, **dict.fromkeys(LOGGERS, catch_in_log)}


def catch_handed_on(module):
    """Find the exceptions that a worker hands on. module: one of HANDED_ON."""
    place, name = HANDED_ON[module.__name__]
    kind = getattr(module, place)
    call = getattr(kind, name)

    def hand_on(*arguments, **options):
        act_on(sys.exc_info()[1], GOING_ON)
        return call(*arguments, **options)

    setattr(kind, name, hand_on)


def catch_in_tests(module):
    """Find the exceptions by which a test fails. module: pytest's module that runs tests."""
    is_failure = module.check_interactive_exception

    def check_interactive_exception(call, report):
        found = is_failure(call, report)
        if found:
            act_on(call.excinfo.value, GOING_ON)
        return found

    module.check_interactive_exception = check_interactive_exception


def catch_in_loop(module):
    """Find the exceptions that asyncio reports: of tasks that nobody awaits, and of callbacks."""
    report = module.BaseEventLoop.call_exception_handler

    def call_exception_handler(self, context):
        report(self, context)
        error = context.get("exception")
        if isinstance(error, BaseException):
            act_on(error, GOING_ON)

    module.BaseEventLoop.call_exception_handler = call_exception_handler


def catch_in_log(module):
    """Find the exceptions that a library logs. module: one of LOGGERS."""

    def find(record):
        if isinstance(record.exc_info, tuple):
            act_on(record.exc_info[1], GOING_ON)
        return True

    getattr(module, LOGGERS[module.__name__]).addFilter(find)
