"""One process or several: what `torchrun` sets up, and the few things that the processes agree on."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Workers:
    """This process's place among those that train together."""

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is the process that prints, validates and saves."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any of the processes; all of them must ask."""
        if self.count == 1:
            return flag
        value = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return bool(value)

    def wait(self) -> None:
        """Until all processes are here: gloo may abort in one that leaves while another is still at work."""
        if self.count > 1:
            dist.barrier()

    def close(self) -> None:
        """Leave the group."""
        if self.count > 1:
            dist.destroy_process_group()


def join_workers(device: torch.device) -> Workers:
    """Join the group that `torchrun` describes in the environment; without it this process is alone.

    Of several processes on a machine with GPUs each takes its own; on CPUs they speak over gloo.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return Workers(0, 1, device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Workers(dist.get_rank(), dist.get_world_size(), device)
