"""Which of several ranks a process is, and which of them REMORA_RANK has held."""

import os

from remora import commandline

# Where a process finds its rank. What is set for the process itself comes before what is set for
# the container that it runs in.
VARIABLES = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID", "JOB_COMPLETION_INDEX")

# What a mode that holds is for a process that is not to be held, which can be attached to later.
FREE = {"wait": "listen", "crash": "demand"}

# What is said when a rank is held.
WARNING = (
    "Other ranks wait for rank {} in collectives, and fail in the end: by default after 10 minutes"
    " with NCCL, 30 with Gloo. init_process_group(timeout=...) of torch.distributed sets that"
)


def rank_of(environment=os.environ):
    """Return the rank of a process with this environment; None if it is none of several.

    In a pod without any of VARIABLES, it is the ordinal at the end of the pod's name, as a
    StatefulSet and an Indexed Job number their pods.
    """
    for name in VARIABLES:
        if environment.get(name, "").isdecimal():
            return int(environment[name])
    ordinal = os.uname().nodename.rpartition("-")[2]
    if "KUBERNETES_SERVICE_HOST" in environment and ordinal.isdecimal():
        return int(ordinal)
    return None


def is_held(chosen, command):
    """Tell whether this process is to be held, where the mode holds programs.

    chosen: REMORA_RANK. Without one, every process is. With one, only a process of such a rank is,
    and no launcher: its own rank, if it has one, is that of its node. command: its command line.
    """
    if not chosen:
        return True
    rank = rank_of()
    if rank is None or commandline.is_launcher(command):
        return False
    return chosen == "*" or rank in map(int, chosen.split(","))


def told():
    """Return what the hub is told of a process that is held: its rank, if there are others."""
    rank = rank_of()
    return {} if rank is None or os.environ.get("WORLD_SIZE") == "1" else {"rank": rank}
