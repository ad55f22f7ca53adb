"""Small ports of DeepSeek-V4's residual path, right or with a bug that somebody reported.

Parameters have the names and shapes of DeepSeek's own files, so that a scan knows what the code ought to do.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

LAYERS, N, C = 6, 4, 16
TOKENS = torch.randint(0, 11, (2, 5), generator=torch.Generator().manual_seed(1))
CONFIG = {"hc_sinkhorn_iters": 20, "hc_eps": 1e-6, "hc_mult": N}


@dataclass(frozen=True)
class Port:
    """What a port does; by default what it should."""

    transpose: bool = True
    iterations: int = 20
    eps: float = 1e-6
    order: tuple[str, ...] = ("pre", "post", "comb")
    """Of the rows of the fused projection, as the code splits its output."""
    applied: bool = True
    dtype: torch.dtype = torch.float32
    """In which the matrix is made and applied."""
    temperature: float = 1.0
    persistent: bool = True
    """Whether the streams go on from block to block."""
    spread: float = 1.5
    """Of the logits, which the parameters hold."""
    diagonal: float = 0.0
    """Added to the logits of each stream's own part."""
    reads: float = 0.2
    """Size of what makes the logits depend on the streams."""


class Block(nn.Module):
    """An attention site and an FFN site, of which each branch is one linear layer."""

    def __init__(self, port: Port) -> None:
        super().__init__()
        self.port = port
        rows = N * (N + 2)
        for kind in ("attn", "ffn"):
            base = port.spread * torch.randn(rows)
            base[2 * N :] += port.diagonal * torch.eye(N).flatten()
            setattr(self, f"hc_{kind}_fn", nn.Parameter(port.reads * torch.randn(rows, N * C)))
            setattr(self, f"hc_{kind}_base", nn.Parameter(base))
            setattr(self, f"hc_{kind}_scale", nn.Parameter(torch.ones(3)))
        self.attn, self.ffn = (nn.Sequential(nn.LayerNorm(C), nn.Linear(C, C), nn.Tanh()) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for kind, branch in (("attn", self.attn), ("ffn", self.ffn)):
            x = self.site(x, kind, branch)
        return x

    def site(self, x: Tensor, kind: str, branch: nn.Module) -> Tensor:
        pre, post, comb = self.coefficients(x, kind)
        out = branch((pre[..., None] * x).sum(-2))
        mixed = (comb.mT if self.port.transpose else comb) @ x.to(comb.dtype)
        x = mixed if self.port.applied else x
        return x.float() + post[..., None] * out[..., None, :]

    def coefficients(self, x: Tensor, kind: str) -> tuple[Tensor, Tensor, Tensor]:
        fn, base, scale = (getattr(self, f"hc_{kind}_{part}") for part in ("fn", "base", "scale"))
        flat = x.flatten(-2)
        z = (flat * torch.rsqrt(flat.pow(2).mean(-1, keepdim=True) + 1e-6)) @ fn.T
        z = z * scale.repeat_interleave(torch.tensor([N, N, N * N])) + base
        parts = self.split(z)
        pre, post = parts["pre"].sigmoid() + 1e-6, 2 * parts["post"].sigmoid()
        return pre, post, parts["comb"].unflatten(-1, (N, N))

    def split(self, z: Tensor) -> dict[str, Tensor]:
        """Sinkhorn is done by a kernel that knows where its rows are; who takes its output may not."""
        pre, post, comb = z.split([N, N, N * N], dim=-1)
        square = self.sinkhorn(comb.unflatten(-1, (N, N)) / self.port.temperature).flatten(-2)
        if self.port.order == ("pre", "post", "comb"):
            return {"pre": pre, "post": post, "comb": square}
        fused = torch.cat([pre.sigmoid(), 2 * post.sigmoid(), square], dim=-1)
        sizes = [N * N if part == "comb" else N for part in self.port.order]
        return dict(zip(self.port.order, fused.split(sizes, dim=-1), strict=True))

    def sinkhorn(self, logits: Tensor) -> Tensor:
        eps = self.port.eps
        h = logits.to(self.port.dtype).softmax(-1) + eps
        h = h / (h.sum(-2, keepdim=True) + eps)
        for _ in range(self.port.iterations - 1):
            h = h / (h.sum(-1, keepdim=True) + eps)
            h = h / (h.sum(-2, keepdim=True) + eps)
        return h


class Model(nn.Module):
    """Embedding, streams, blocks, sum, head."""

    def __init__(self, port: Port, layers: int = LAYERS) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.persistent, self.config = port.persistent, CONFIG
        self.embed = nn.Embedding(11, C)
        self.layers = nn.ModuleList(Block(port) for _ in range(layers))
        self.hc_head_fn = nn.Parameter(torch.zeros(N, N * C))
        self.hc_head_base = nn.Parameter(torch.zeros(N))
        self.hc_head_scale = nn.Parameter(torch.ones(1))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)[..., None, :].expand(*tokens.shape, N, C)
        for layer in self.layers:
            x = layer(x)
            if not self.persistent:
                x = x.mean(-2, keepdim=True).expand_as(x)
        return torch.tanh(x.sum(-2)) @ self.embed.weight.T
