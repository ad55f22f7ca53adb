"""Small models in the manner of published code that cannot be installed here, each with its own layout.

Every model keeps the matrices that it applied in `applied`, one (T, n, n) a site, out x in.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

N, C, VOCABULARY = 4, 16, 11
EPS = 1e-6


class Branch(nn.Module):
    """A norm and two layers: what stands for attention and feed-forward."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(C), nn.Linear(C, C), nn.Linear(C, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.up(self.norm(x))))


class Coefficients(nn.Module):
    """One fused projection for pre, post and the logits of the mixing, on the normed flat streams."""

    def __init__(self) -> None:
        super().__init__()
        self.fn = nn.Parameter(0.2 * torch.randn(N * (N + 2), N * C))
        self.base = nn.Parameter(torch.randn(N * (N + 2)))

    def forward(self, flat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[..., n C] to pre [..., n], post [..., n] and comb [..., n, n], columns normalised last."""
        flat = flat.float()
        mixes = F.linear(flat, self.fn) * torch.rsqrt(flat.square().mean(-1, keepdim=True) + EPS) + self.base
        pre, post, comb = mixes.split([N, N, N * N], dim=-1)
        return pre.sigmoid() + EPS, 2 * post.sigmoid(), _sinkhorn(comb.unflatten(-1, (N, N)))


def _sinkhorn(logits: Tensor) -> Tensor:
    comb = logits.softmax(-1) + EPS
    comb = comb / (comb.sum(-2, keepdim=True) + EPS)
    for _ in range(9):
        comb = comb / (comb.sum(-1, keepdim=True) + EPS)
        comb = comb / (comb.sum(-2, keepdim=True) + EPS)
    return comb


class Model(nn.Module):
    """Embedding and `depth` layers of two sites."""

    def __init__(self, depth: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(VOCABULARY, C), nn.Linear(C, VOCABULARY)
        self.coefficients = nn.ModuleList(Coefficients() for _ in range(2 * depth))
        self.branches = nn.ModuleList(Branch() for _ in range(2 * depth))
        self.applied: list[Tensor] = []

    def keep(self, matrices: Tensor) -> None:
        self.applied.append(matrices.detach().float().flatten(0, -3))


class Functional(Model):
    """[B, S, n, C]: pre and post are plain functions, and the sum over streams is written out (DeepSeek-V4).

    With `late`, each pre reads the streams for the next branch, the first of them for the first one (V4.1).
    """

    def __init__(self, *, late: bool = False) -> None:
        super().__init__()
        self.late = late

    def forward(self, tokens: Tensor) -> Tensor:
        self.applied = []
        x = self.embed(tokens).unsqueeze(2).repeat(1, 1, N, 1)
        pending = F.one_hot(torch.zeros(tokens.shape, dtype=torch.long), N).float()
        for coefficients, branch in zip(self.coefficients, self.branches, strict=True):
            pre, post, comb = coefficients(x.flatten(2))
            pre, pending = (pending, pre) if self.late else (pre, pending)
            self.keep(comb.mT)
            x = self.post(branch(self.read(x, pre)), x, post, comb)
        return self.head(self.read(x, pending))

    def read(self, x: Tensor, pre: Tensor) -> Tensor:
        return torch.sum(pre.unsqueeze(-1) * x.float(), dim=2).type_as(x)

    def post(self, out: Tensor, residual: Tensor, post: Tensor, comb: Tensor) -> Tensor:
        mixed = torch.sum(comb.unsqueeze(-1) * residual.unsqueeze(-2), dim=2)
        return (post.unsqueeze(-1) * out.unsqueeze(-2) + mixed).type_as(out)


class Direct(Functional):
    """The same, but for the matrix that is applied as it is and not transposed (as some ports do)."""

    def keep(self, matrices: Tensor) -> None:
        super().keep(matrices.mT)

    def post(self, out: Tensor, residual: Tensor, post: Tensor, comb: Tensor) -> Tensor:
        mixed = torch.einsum("bsij,bsjd->bsid", comb, residual.float())
        return (post.unsqueeze(-1) * out.unsqueeze(-2) + mixed).type_as(out)


class Fused(Model):
    """[T, n, C]: the update of one site and the read of the next are one function (vLLM)."""

    def forward(self, tokens: Tensor) -> Tensor:
        self.applied = []
        x = self.embed(tokens.flatten())
        residual = x.unsqueeze(1).expand(-1, N, -1)
        pre, post, comb = self.coefficients[0](residual.flatten(1))
        x = self.read(pre, residual)
        for branch, coefficients in zip(self.branches, [*self.coefficients[1:], None], strict=True):
            residual = self.updated(branch(x), residual, post, comb)
            if coefficients is not None:
                pre, post, comb = coefficients(residual.flatten(1))
                x = self.read(pre, residual)
        return self.head(residual.mean(1)).unflatten(0, tokens.shape)

    def read(self, pre: Tensor, residual: Tensor) -> Tensor:
        return torch.einsum("tn,tnc->tc", pre, residual.float()).type_as(residual)

    def updated(self, x: Tensor, residual: Tensor, post: Tensor, comb: Tensor) -> Tensor:
        self.keep(comb.mT)
        mixed = torch.einsum("...ij,...ih->...jh", comb, residual.float())
        return (post[..., None] * x[..., None, :].float() + mixed).to(x.dtype)


class SequenceFirst(Model):
    """[S, B, n C]: one batched matrix product on a flat view (Megatron), in either orientation."""

    def __init__(self, *, transposed: bool) -> None:
        super().__init__()
        self.transposed = transposed

    def forward(self, tokens: Tensor) -> Tensor:
        self.applied = []
        x = self.embed(tokens).transpose(0, 1).repeat(1, 1, N)
        for coefficients, branch in zip(self.coefficients, self.branches, strict=True):
            s, b, _ = x.shape
            pre, post, comb = coefficients(x)
            pre, post, comb = pre.type_as(x), post.type_as(x), comb.type_as(x)
            matrices = comb.mT if self.transposed else comb
            self.keep(matrices.transpose(0, 1))
            flat = x.view(s * b, N, C)
            aggregated = (pre.view(s * b, 1, N) @ flat).view(s, b, C)
            mixed = torch.bmm(matrices.reshape(s * b, N, N), flat).view(s, b, N * C)
            injected = (post.unsqueeze(-1) * branch(aggregated).unsqueeze(2)).reshape(s, b, N * C)
            x = F.dropout(injected, 0.1, self.training) + mixed
        return self.head(x.view(s, b, N, C).mean(2)).transpose(0, 1)


class Static(Model):
    """(B n), S, C: one matrix for all inputs, by Sinkhorn in the log domain with a temperature.

    Without `mixed`, the streams are given back as they came although the mixed ones have been computed.
    """

    def __init__(self, *, mixed: bool = True) -> None:
        super().__init__()
        self.mixed = mixed
        sites = len(self.branches)
        off_diagonal = torch.full((N, N), -0.2).fill_diagonal_(0.0)
        self.res = nn.Parameter(off_diagonal + 0.05 * torch.randn(sites, N, N))
        self.pre, self.post = nn.Parameter(torch.randn(sites, N)), nn.Parameter(torch.randn(sites, N))

    def forward(self, tokens: Tensor) -> Tensor:
        self.applied = []
        b, s = tokens.shape
        x = self.embed(tokens).repeat_interleave(N, dim=0)
        for res, pre, post, branch in zip(self.res, self.pre, self.post, self.branches, strict=True):
            h = self.project(res)
            streams = x.unflatten(0, (b, N)).permute(0, 2, 1, 3)
            mixed = torch.einsum("st,...sd->...td", h, streams)
            self.keep((h.T if self.mixed else torch.eye(N)).expand(b, s, N, N))
            kept = mixed if self.mixed else streams
            out = branch(torch.einsum("s,...sd->...d", pre.softmax(-1), streams))
            update = torch.einsum("...d,s->...sd", out, post.softmax(-1))
            x = (kept + update).permute(0, 2, 1, 3).flatten(0, 1)
        return self.head(x.unflatten(0, (b, N)).sum(1))

    def project(self, logits: Tensor, temperature: float = 0.05, iterations: int = 10) -> Tensor:
        z = logits / temperature
        u, v = z.new_zeros(N), z.new_zeros(N)
        for _ in range(iterations):
            u = -torch.logsumexp(z + v, dim=1)
            v = -torch.logsumexp(z + u[:, None], dim=0)
        return torch.exp(z + u[:, None] + v)
