"""Moving tensors between the ranks of a group, never longer than a timeout."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from mhc_diag.errors import MhcDiagError

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.distributed import ProcessGroup


def gathered(tensor: Tensor, group: ProcessGroup, timeout: float) -> list[Tensor]:
    """A tensor of every rank of a group, in the order of the group, on the device of one's own.

    Args:
        tensor: of the same shape and type on every rank.
        group: all of whose ranks call this.
        timeout: seconds to wait.

    Raises:
        MhcDiagError: the exchange failed, or a rank did not come in time.
    """
    import torch
    import torch.distributed as dist

    sent = tensor.to(_device(group, tensor)).contiguous()
    received = [torch.empty_like(sent) for _ in range(dist.get_world_size(group))]
    try:
        work = dist.all_gather(received, sent, group=group, async_op=True)
        work.wait(timedelta(seconds=timeout))
    except RuntimeError as e:
        ranks = ", ".join(map(str, dist.get_process_group_ranks(group)))
        raise MhcDiagError(
            f"the exchange of numbers among ranks {ranks} failed: {str(e).splitlines()[0]}",
            hint="one of these ranks has ended or hangs since it answered the roll call",
        ) from e
    return [part.to(tensor.device) for part in received]


def gathered_rows(tensor: Tensor, group: ProcessGroup, timeout: float) -> Tensor:
    """The rows of every rank under each other, however many each has.

    Args:
        tensor: (R, ...), of which only R differs between the ranks.
        group: as for `gathered`.
        timeout: seconds to wait.
    """
    import torch

    counts = gathered(torch.tensor([len(tensor)], device=tensor.device), group, timeout)
    sizes = [int(count) for count in counts]
    padded = tensor.new_zeros((max(sizes), *tensor.shape[1:]))
    padded[: len(tensor)] = tensor
    parts = gathered(padded, group, timeout)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def _device(group: ProcessGroup, tensor: Tensor) -> torch.device:
    """Where a group can take a tensor from: its own device, if the group has a backend for that."""
    import torch

    able = {device.type for device in group._device_types}
    if tensor.device.type in able:
        return tensor.device
    return torch.device("cpu") if "cpu" in able else torch.device("cuda", torch.cuda.current_device())
