"""Ranks of a program that runs in several processes: which one this is, and which ones are held."""

import os

from . import commandline

# Variables with the rank of a process, in the order in which they count. Those that belong to the
# process alone come before the one that belongs to its container.
VARIABLES = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID", "JOB_COMPLETION_INDEX")

# The mode of a process that is not held, by the mode of the others. A client can attach to it
# later.
MODE_WHEN_FREE = {"wait": "listen", "crash": "demand"}

# The hint when a rank is held. {} is the rank.
WARNING = (
    "Other ranks wait for rank {} in collectives, and fail in the end: by default after 10 minutes"
    " with NCCL, 30 with Gloo. init_process_group(timeout=...) of torch.distributed sets that"
)


def rank_of(environment=os.environ):
    """Return the rank of a process with this environment; None if it is not one of several.

    In a pod without any of VARIABLES, the rank is the number at the end of the pod's name, by which
    a StatefulSet or an Indexed Job numbers its pods.
    """
    for name in VARIABLES:
        if environment.get(name, "").isdecimal():
            return int(environment[name])
    ordinal = os.uname().nodename.rpartition("-")[2]
    if "KUBERNETES_SERVICE_HOST" in environment and ordinal.isdecimal():
        return int(ordinal)
    return None


def is_held(chosen, command):
    """Tell whether a mode that holds programs holds this process.

    chosen: REMORA_RANK. If it is empty, every process is held. If not, a process of such a rank is
    held, except a launcher, whose own rank would be its node's. command: the command line.
    """
    if not chosen:
        return True
    rank = rank_of()
    if rank is None or commandline.is_launcher(command):
        return False
    return chosen == "*" or rank in map(int, chosen.split(","))


def facts_for_hub():
    """Return what a held process tells the hub: {"rank": its rank}; {} if it has no others."""
    rank = rank_of()
    return {} if rank is None or os.environ.get("WORLD_SIZE") == "1" else {"rank": rank}
