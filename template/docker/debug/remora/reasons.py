"""Why a Python process of the container cannot be debugged."""

from remora import commandline, container
from remora.hook import setting


def why_not(pid, mode):
    """Return why a Python process cannot be debugged, in words. mode: that of the container."""
    command, settings = container.command_of(pid), container.environment_of(pid)
    target = setting("TARGET", environment=settings)
    if not settings:
        return "it belongs to another user: run this with `docker compose exec --user root`"
    if (setting("MODE", environment=settings) or mode) == "off":
        return "REMORA_MODE is off"
    if not commandline.is_target(command, target):
        return f"REMORA_TARGET is {target}"
    if commandline.is_tracker(command):
        return "it is a helper of multiprocessing's, and runs no code of the project"
    if not container.is_interpreter(pid):
        return "it is no Python interpreter: Python is built into it, as into uWSGI"
    if commandline.is_without_site(command):
        return "it was started with an option that keeps the hook out (-S)"
    environment = container.virtual_environment(pid, command, settings)
    if environment:
        return (
            f"the virtual environment {environment} was made when the container ran, so the debug"
            " layer is not in it: make it in the image"
        )
    return (
        "its interpreter has no hook: it came into the container after the debug layer;"
        " have it in the image, and build that anew"
    )
