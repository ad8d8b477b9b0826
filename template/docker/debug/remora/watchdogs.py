"""While a client is attached, no server ends a worker that is silent because it is paused."""

import time

from remora import imports, program


def lift():
    """Lift the watchdogs of this process."""
    imports.change(
        {"gunicorn.arbiter": of_gunicorn, "uvicorn.supervisors.multiprocess": of_uvicorn}
    )


def of_gunicorn(module):
    """Lift what ends workers that have said nothing for as long as `--timeout`."""
    if not hasattr(getattr(module, "Arbiter", None), "murder_workers"):
        return  # of another version, or a module of the program's own
    end_silent = module.Arbiter.murder_workers
    attached = 0.0  # when a client was last there

    def murder_workers(self):
        nonlocal attached
        if program.is_attached():
            attached = time.monotonic()
        elif time.monotonic() - attached > self.timeout:  # they have been able to speak again
            end_silent(self)

    module.Arbiter.murder_workers = murder_workers


def of_uvicorn(module):
    """Lift what ends workers that do not answer within `--timeout-worker-healthcheck`."""
    if not hasattr(getattr(module, "Process", None), "is_alive"):
        return
    answers = module.Process.is_alive

    def is_alive(self, *arguments, **options):
        runs = self.process.is_alive()
        return runs if program.is_attached() else runs and answers(self, *arguments, **options)

    module.Process.is_alive = is_alive
