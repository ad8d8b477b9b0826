"""Find exceptions that a library catches, and then reports or hands on to another process.

This module replaces functions of these libraries: see imports.py.
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


def handed_on():
    """Return the changes that find exceptions of workers and of tests: functions by module."""
    return {**dict.fromkeys(HANDED_ON, catch_handed_on), "_pytest.runner": catch_in_tests}


def all_changes():
    """Return all changes: also those that find what asyncio reports, and the program survives."""
    loops = {"asyncio.base_events": catch_in_loop, "asyncio.log": catch_in_log}
    return {**handed_on(), **loops}


def catch_handed_on(module):
    """Find the exceptions that a worker hands on. module: one of HANDED_ON."""
    place, name = HANDED_ON[module.__name__]
    kind = getattr(module, place, None)
    call = getattr(kind, name, None)
    if kind is None or call is None:
        return  # another version, or a module of the program with that name

    def hand_on(*arguments, **options):
        act_on(sys.exc_info()[1], GOING_ON)
        return call(*arguments, **options)

    setattr(kind, name, hand_on)


def catch_in_tests(module):
    """Find the exceptions by which a test fails. module: pytest's module that runs tests."""
    is_failure = getattr(module, "check_interactive_exception", None)
    if is_failure is None:
        return

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
    """Find the exceptions that other loops than asyncio's report, such as uvloop."""

    def find(record):
        if isinstance(record.exc_info, tuple):
            act_on(record.exc_info[1], GOING_ON)
        return True

    module.logger.addFilter(find)
