"""Which modules run as compiled code, in which hooks that come later are never called."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def compiled_modules(model: nn.Module) -> tuple[str, ...]:
    """Paths of modules that `torch.compile` or `Module.compile` was applied to.

    Example:
        >>> import torch
        >>> compiled_modules(torch.nn.Linear(2, 2))
        ()
    """
    if "torch._dynamo" not in sys.modules:
        return ()
    from torch._dynamo.eval_frame import OptimizedModule

    found = []
    for path, module in model.named_modules():
        implementation = vars(module).get("_compiled_call_impl")
        inner = getattr(implementation, "inner", implementation)  # behind the door of a watch
        if isinstance(module, OptimizedModule) or inner is not None:
            found.append(path)
    return tuple(found)
