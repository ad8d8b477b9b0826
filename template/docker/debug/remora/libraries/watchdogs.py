"""Keep servers from ending a worker that is silent because a client has paused it.

This module replaces functions of gunicorn and uvicorn: see imports.py.
"""

import time

from .. import program
from . import imports


def lift():
    """Keep the servers of this process from ending paused workers, whenever it imports them."""
    imports.change(
        {"gunicorn.arbiter": of_gunicorn, "uvicorn.supervisors.multiprocess": of_uvicorn}
    )


def of_gunicorn(module):
    """End workers that are silent for `--timeout` only while no client is attached."""
    end_silent = module.Arbiter.murder_workers
    attached = 0.0  # when a client was last attached

    def murder_workers(self):
        nonlocal attached
        if program.is_attached():
            attached = time.monotonic()
        elif time.monotonic() - attached > self.timeout:  # time enough to answer
            end_silent(self)

    module.Arbiter.murder_workers = murder_workers


def of_uvicorn(module):
    """End workers that fail `--timeout-worker-healthcheck` only while no client is attached."""
    answers = module.Process.is_alive

    def is_alive(self, *arguments, **options):
        runs = self.process.is_alive()
        return runs if program.is_attached() else runs and answers(self, *arguments, **options)

    module.Process.is_alive = is_alive
