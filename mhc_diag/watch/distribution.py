"""Which ranks hold what of a model that runs on several: other tokens, other sites, or the same of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mhc_diag.errors import MhcDiagError

if TYPE_CHECKING:
    from torch import nn
    from torch.distributed import ProcessGroup
    from torch.distributed.device_mesh import DeviceMesh

Role = Literal["tokens", "stages", "same"]
ROLES: tuple[Role, ...] = ("tokens", "stages", "same")
TIMEOUT = 300.0


@dataclass(frozen=True, slots=True)
class Distribution:
    """The ranks that share one model, as one of them sees it.

    `Distribution.of_mesh` and `Distribution.of_groups` make one.
    """

    ranks: tuple[int, ...]
    """All that take part, by their number in the whole job."""
    replicas: tuple[int, ...]
    """Those among them that run the same sites as this one."""
    tokens: tuple[ProcessGroup, ...] = ()
    """Ranks that run the same sites on other tokens: data, sequence and context parallel, FSDP."""
    stages: ProcessGroup | None = None
    """Ranks that run other sites on the same tokens, in the order of depth: pipeline parallel."""
    timeout: float = TIMEOUT
    """Seconds to wait for the others."""

    @staticmethod
    def of_mesh(mesh: DeviceMesh, roles: Mapping[str, Role], *, timeout: float = TIMEOUT) -> Distribution:
        """From a device mesh with names.

        Args:
            mesh: of all ranks that run the model.
            roles: for each axis of the mesh, what differs along it: `tokens` (data, FSDP, sequence and
                context parallel), `stages` (pipeline parallel, in the order of depth), or nothing: `same`
                (tensor parallel).
            timeout: seconds to wait for the others.

        Raises:
            MhcDiagError: the roles do not fit the mesh.
        """
        names = mesh.mesh_dim_names or ()
        if set(roles) != set(names) or not set(roles.values()) <= set(ROLES):
            raise MhcDiagError(
                f"the mesh has the axes {_listed(names)}, and the roles are {dict(roles)}",
                hint=f"give each axis one of {_listed(ROLES)}",
            )
        stages = [name for name in names if roles[name] == "stages"]
        if len(stages) > 1:
            raise MhcDiagError(f"several axes hold stages: {_listed(stages)}", hint="flatten them into one")
        here = mesh.get_coordinate()
        if here is None:
            raise MhcDiagError("this rank is no part of the mesh", hint="watch on the ranks of the mesh only")
        own = tuple(here[i] if roles[name] == "stages" else slice(None) for i, name in enumerate(names))
        return Distribution(
            tuple(mesh.mesh.flatten().tolist()),
            tuple(mesh.mesh[own].flatten().tolist()),
            tuple(mesh.get_group(name) for name in names if roles[name] == "tokens"),
            mesh.get_group(stages[0]) if stages else None,
            timeout,
        )

    @staticmethod
    def of_groups(
        *,
        tokens: ProcessGroup | None = None,
        stages: ProcessGroup | None = None,
        timeout: float = TIMEOUT,
    ) -> Distribution:
        """From process groups; with tensor parallel beside them, take a mesh.

        Args:
            tokens: ranks that run the same sites on other tokens.
            stages: ranks that run other sites on the same tokens, in the order of depth.
            timeout: seconds to wait for the others.

        Raises:
            MhcDiagError: two groups do not span the whole job.
        """
        import torch.distributed as dist

        of_tokens, of_stages = (
            () if group is None else tuple(dist.get_process_group_ranks(group)) for group in (tokens, stages)
        )
        ranks = of_tokens or of_stages
        if of_tokens and of_stages:
            ranks = tuple(range(dist.get_world_size()))
            if len(ranks) != len(of_tokens) * len(of_stages):
                raise MhcDiagError(
                    f"{len(of_tokens)} ranks with other tokens times {len(of_stages)} stages are not the "
                    f"{len(ranks)} ranks of the job",
                    hint="describe them by a device mesh: Distribution.of_mesh",
                )
        replicas = of_tokens or (dist.get_rank(),)
        return Distribution(ranks, replicas, (tokens,) if tokens is not None else (), stages, timeout)

    @staticmethod
    def of_job(*, timeout: float = TIMEOUT) -> Distribution | None:
        """All ranks of the job, with the same sites and other tokens; None for one process."""
        import torch.distributed as dist

        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return None
        return Distribution.of_groups(tokens=dist.group.WORLD, timeout=timeout)

    @staticmethod
    def of_model(model: nn.Module) -> Distribution | None:
        """What a model itself says: DDP, and FSDP2 over a mesh that holds nothing else; None otherwise."""
        import torch.distributed as dist

        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return None
        from torch.distributed.fsdp import FSDPModule
        from torch.distributed.tensor import DTensor
        from torch.nn.parallel import DistributedDataParallel

        if isinstance(model, DistributedDataParallel):
            return Distribution.of_groups(tokens=model.process_group)
        if not isinstance(model, FSDPModule):
            return None
        meshes = {p.device_mesh for p in model.parameters() if isinstance(p, DTensor)}
        spanned = [mesh for mesh in meshes if mesh.size() == dist.get_world_size()]
        if len(meshes) != 1 or not spanned:
            return None
        groups = tuple(spanned[0].get_all_groups())
        ranks = tuple(spanned[0].mesh.flatten().tolist())
        return Distribution(ranks, ranks, groups)


def _listed(names: object) -> str:
    return ", ".join(map(str, names)) if isinstance(names, (list, tuple)) else str(names)
