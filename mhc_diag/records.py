"""The nouns: what sources make, what maths passes around, what analysis returns.

L sites, T tokens (or simulated stacks), n streams. Arrays are numpy arrays or torch tensors; a `Report` holds
numpy arrays only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Array: TypeAlias = Any  # numpy.ndarray or torch.Tensor; the array API standard has no type of its own
Scope = Literal["site", "prefix", "suffix"]
Direction = Literal["forward", "backward"]

SCOPES: tuple[Scope, ...] = ("site", "prefix", "suffix")
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")
COMPOSITE: dict[Direction, tuple[str, Scope]] = {
    "forward": ("amax_forward", "prefix"),
    "backward": ("amax_backward", "suffix"),
}
"""The paper's composite curves: row sums of what leads up to a site, column sums of what follows it."""


@dataclass(frozen=True, slots=True)
class Site:
    """One residual update x_{l+1} = M_l x_l + p_l f_l of the n streams of a token."""

    path: str
    """The module that runs it, or the prefix of its tensors."""
    kind: str
    """Which update of that module it is, such as `self_attn` or `mlp`."""
    depth: int
    """Its place in the order of execution, from 0."""

    @property
    def label(self) -> str:
        """Path and kind as one name."""
        return f"{self.path}.{self.kind}" if self.path and self.kind else self.path or self.kind


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was seen and not measured, and why."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    """An operation that the tangents of the streams passed on their way to a site."""

    module: str
    operation: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class Explanation:
    """How the operator of one site came to be measured, or why it was not."""

    site: Site
    """Where its depth is -1 it is none of the sites of the stack."""
    layout: str
    """What each axis counts of the tensor in which the streams lie after the site."""
    passed: tuple[Step, ...]
    """The operations since the site before, in order."""
    ended: tuple[str, ...]
    """Where the tangents ended that did not come so far: branches and coefficients."""
    skipped: str = ""
    """Why it was not measured; empty where it was."""


@dataclass(frozen=True, slots=True)
class Exposed:
    """A matrix that a live model shows somewhere, and how it compares with the operator of a site."""

    site: int
    """The site's place in the stack."""
    path: str
    """The module that it was seen at."""
    position: str
    """Where: `output 1`, `argument mixing`, `result of constrain`, `parameter mixing`."""
    occurrence: int
    """How often that module or function had run before."""
    relation: Literal["equal", "transposed", "either", "neither"]
    """To M. `either`: M is symmetric to within the tolerance."""
    deviation: float
    """Largest difference of an entry, in the orientation that fits better."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Something about stored parameters, or a running model, that the gains do not tell."""

    check: str
    """Which check saw it, such as `not-finite` or `moved`: the same in every version."""
    where: str
    """Which sites or tensors: the name of one, or how many and the first of them."""
    text: str
    """What is so there, and what that means; reads on from `where`, in an audit after a colon."""

    @property
    def sentence(self) -> str:
        """Both in one."""
        return f"{self.where} {self.text}".strip()


@dataclass(frozen=True, slots=True)
class Promise:
    """What the code that makes the matrices says of them, whatever they turn out to be."""

    manifold: Literal["doubly stochastic", "row stochastic", "orthogonal", "identity", ""]
    """What they are meant to be; empty where nothing constrains them."""
    exact: Literal["rows", "columns", "both", ""] = ""
    """Which sums of M its last step makes 1 to rounding."""
    iterations: int = 0
    """Of a projection that iterates."""
    eps: float = 0.0
    """Added to what it divides by."""
    origin: str = ""
    """Whose word it is, such as `layout deepseek`."""
    applied: Literal["direct", "transposed", ""] = ""
    """Whether the matrix that the code computes is M or its transpose, where that is known."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a stack came from and how it was obtained."""

    target: str
    """The file, folder, model or simulation."""
    method: Literal["observed", "static", "sampled", "activations", "simulated"]
    """`observed`: measured on a live model; `static`: read from tensors, at zero input where they depend on
    one; `sampled`: the same at random inputs; `activations`: at saved ones; `simulated`: drawn at random."""
    how: str
    """One sentence: what was measured and how."""
    orientation: Literal["observed", "direct", "transposed"]
    """How M (out x in) was obtained: as applied, or from a stored matrix that is M or its transpose."""
    token_axis: Literal["token", "sample", "stack", "none"]
    """What the T axis counts. `sample`: random inputs; `none`: one static matrix a site."""
    token_shape: tuple[int, ...] = ()
    """Shape of the T axis before flattening, such as (batch, sequence)."""
    token_numbers: tuple[int, ...] = ()
    """Which tokens of that shape the T axis holds, from 0; empty where it holds all of them."""
    certificates: tuple[float, ...] | None = None
    """Per site: largest spread of an entry of M over the channels that must agree on it."""
    fitted: tuple[int, ...] = ()
    """Sites, from 0, at which M was fitted to the values that an opaque operation took and gave.

    Their certificates bound the error of that fit, given the precision of the values.
    """
    settings: Mapping[str, str | int | float] = field(default_factory=dict)
    """What is needed to repeat the measurement: seeds, scales, iterations, versions."""
    notes: tuple[str, ...] = ()
    """What a reader must know: assumptions, defaults taken, what the numbers leave out."""
    skipped: tuple[Skipped, ...] = ()
    failure: str = ""
    """What stopped the measurement half-way; empty where nothing did."""
    exposed: tuple[Exposed, ...] = ()
    """Matrices that the model shows beside the operators that it applies."""
    audit: tuple[Observation, ...] = ()
    """What the stored parameters themselves show, the most important first; of a checkpoint only."""
    remarks: tuple[Observation, ...] = ()
    """What a live model did beside what was measured: `unapplied`, `other-applied`, `not-persistent` and
    `weak-certificate`; in words the notes tell it too."""
    promise: Promise | None = None
    """What the matrices are meant to be, where that is known."""


@dataclass(frozen=True, slots=True, eq=False)
class Caps:
    """Upper bounds of the absolute row and column sums of M at L sites, whatever the input.

    Formula: max_i sum_j abs(M_ij) <= rows, max_j sum_i abs(M_ij) <= columns.
    """

    rows: np.ndarray[Any, Any]
    """(L,) float64; infinite where nothing is known."""
    columns: np.ndarray[Any, Any]
    """(L,) float64."""

    def transposed(self) -> Caps:
        """The bounds of the transposes."""
        return Caps(self.columns, self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class MixingStack:
    """The applied operators of all sites, for every token: what a source produces and analysis consumes.

    Example:
        >>> import numpy as np
        >>> eye = np.broadcast_to(np.eye(4), (2, 1, 4, 4))
        >>> stack = MixingStack(
        ...     name="identity", matrices=eye,
        ...     sites=(Site("layers.0", "attn", 0), Site("layers.0", "mlp", 1)),
        ...     provenance=Provenance("example", "simulated", "made by hand", "direct", "none"))
        >>> stack.streams
        4
    """

    name: str
    matrices: Array
    """(L, T, n, n), float32 or float64, out x in: row i says how output stream i reads the input streams."""
    sites: tuple[Site, ...]
    provenance: Provenance
    pre: Array | None = None
    """(L, T, n): how a site's branch reads the streams; NaN where that is not known."""
    post: Array | None = None
    """(L, T, n): how a site's branch output is written to the streams; NaN where that is not known."""
    reads_from: tuple[int, ...] = ()
    """(L): the site whose incoming streams a branch reads: its own, or an earlier one where branches run side
    by side. Empty where each reads those of its own."""
    logits: Array | None = None
    """(L, T, n, n): what was projected to give the matrices."""
    caps: Caps | None = None
    """What no input can exceed, where the matrices depend on one and that is known."""
    theory: Mapping[str, float] = field(default_factory=dict)
    """What closed forms say of this stack, such as `growth`, in nats per site."""
    explanations: tuple[Explanation, ...] = ()
    """How each site came to be measured, if that was asked for."""

    @property
    def streams(self) -> int:
        """Number of streams n."""
        return int(self.matrices.shape[-1])


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """Matrices as mantissa * 2**exponent, so that no product of any depth over- or underflows.

    The exponent is a whole number: taking it out of a matrix changes no bit of the mantissa's digits.
    """

    mantissa: Array
    """(*B, n, n), largest absolute entry within [1, 2) right after a rescaling."""
    exponent: Array
    """(*B), whole numbers held as floats."""


@dataclass(frozen=True, slots=True)
class MetricCard:
    """The definition of a metric, carried beside its numbers."""

    name: str
    title: str
    formula: str
    ideal: float
    """The value of an identity: no amplification, no attenuation, no mixing."""
    degree: int | None
    reference: str


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One metric in one scope under one statistic, over all sites."""

    metric: str
    scope: Scope
    statistic: str
    value: np.ndarray[Any, Any]
    """(L,) float64; infinite where the number leaves float64 although its log10 is finite."""
    log10: np.ndarray[Any, Any]
    """(L,) float64; -inf for 0, nan for nan, +inf only where the number itself is infinite."""
    token: np.ndarray[Any, Any] | None = None
    """(L,) int64: which token the largest value belongs to (statistic `max` only)."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number about a whole stack, with its definition and, where it is estimated, its standard error."""

    name: str
    title: str
    formula: str
    value: float
    standard_error: float | None = None
    expected: float | None = None
    """What theory says, where a closed form is known."""


@dataclass(frozen=True, slots=True, eq=False)
class Triangle:
    """The gain of every composite of sites l to k, both included, under one statistic.

    Of the metric `depth_kernel` it is the weight with which branch l reaches branch k instead.
    """

    metric: str
    statistic: str
    log10: np.ndarray[Any, Any]
    """(L, L) float64: entry [l, k]; nan where k < l, of `depth_kernel` also where k = l or not known."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many tokens have their worst composite gain over all depths in bins equally wide in log10."""

    metric: str
    scope: Scope
    low: float
    """log10 where the first bin begins."""
    width: float
    """Decades."""
    counts: tuple[int, ...]
    """Tokens in each bin."""
    zero: int = 0
    """Tokens whose gain is 0."""
    nonfinite: int = 0
    """Tokens with a gain that is infinite or NaN."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The worst point of a curve."""

    value: float
    log10: float
    site: int
    token: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Everything that was computed about one stack; what is rendered, saved and judged."""

    name: str
    streams: int
    tokens: int
    sites: tuple[Site, ...]
    curves: tuple[Curve, ...]
    cards: tuple[MetricCard, ...]
    provenance: Provenance
    scalars: tuple[Scalar, ...] = ()
    summary: str = ""
    """One plain sentence: what the worst composite gains are and what that means."""
    nonfinite: tuple[int, ...] = ()
    """Per site: how many tokens have a matrix with a NaN or infinite entry."""
    triangles: tuple[Triangle, ...] = ()
    """The whole triangle (l, k), where it was asked for."""
    histograms: tuple[Histogram, ...] = ()
    """Of the worst composite gains of the tokens, forward and backward, where there are several."""
    sample: np.ndarray[Any, Any] | None = None
    """(L, K, n, n): the matrices of a few tokens, for simulations that resample a measured model."""
    sample_logits: np.ndarray[Any, Any] | None = None
    """(L, K, n, n): their logits, where they are known."""

    def curve(self, metric: str, scope: Scope, statistic: str) -> Curve:
        """The curve of one metric, scope and statistic.

        Raises:
            KeyError: the report holds no such curve.
        """
        for curve in self.curves:
            if (curve.metric, curve.scope, curve.statistic) == (metric, scope, statistic):
                return curve
        raise KeyError((metric, scope, statistic))

    def composite(self, direction: Direction, statistic: str = "max") -> Curve:
        """The paper's composite curve: Amax of the prefixes (forward) or of the suffixes (backward)."""
        metric, scope = COMPOSITE[direction]
        return self.curve(metric, scope, statistic)

    def worst(self, direction: Direction, statistic: str = "max") -> Peak:
        """The largest composite gain over all depths; a NaN counts as worse than any number.

        Gains that differ by rounding only count as equal, and the first of them is taken.
        """
        curve = self.composite(direction, statistic)
        ranks = [math.inf if math.isnan(x) else round(x, 12) for x in curve.log10.tolist()]
        site = max(range(len(ranks)), key=ranks.__getitem__)
        token = None if curve.token is None else int(curve.token[site])
        return Peak(float(curve.value[site]), float(curve.log10[site]), site, token)

    def scalar(self, name: str) -> Scalar | None:
        """The scalar of that name, if the report has it."""
        return next((s for s in self.scalars if s.name == name), None)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Tidy rows, one for each number, with the keys shown below.

        name, site, path, kind, scope, metric, statistic, value, log10, token
        """
        for curve in self.curves:
            for site, (value, log10) in enumerate(
                zip(curve.value.tolist(), curve.log10.tolist(), strict=True)
            ):
                yield {
                    "name": self.name,
                    "site": site,
                    "path": self.sites[site].path,
                    "kind": self.sites[site].kind,
                    "scope": curve.scope,
                    "metric": curve.metric,
                    "statistic": curve.statistic,
                    "value": value,
                    "log10": log10,
                    "token": None if curve.token is None else int(curve.token[site]),
                }

    def frame(self) -> pd.DataFrame:
        """The tidy rows as a pandas table."""
        import pandas as pd

        return pd.DataFrame(list(self.rows()))
