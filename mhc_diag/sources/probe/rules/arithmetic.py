"""Element-wise arithmetic: sums are where branches are added, products are where coefficients act."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mhc_diag.sources.probe.bases import Signal
from mhc_diag.sources.probe.call import Call, Cut, Outcome, Pass, Restart, Rewrite
from mhc_diag.sources.probe.combine import add_signals, common_shape, kept_stage, relabelled, scaled
from mhc_diag.sources.probe.rules.family import Family


def add(call: Call) -> Outcome:
    """Sums and differences. A sum of the streams and of something computed from them is a site."""
    factor = call.kwargs.get("alpha", 1) * (-1 if call.name in {"sub", "rsub"} else 1)
    left, right = (call.args[1], call.args[0]) if call.name == "rsub" else (call.args[0], call.args[1])
    one, two = call.signals(left, right)
    return add_signals(call, left, one, right, scaled(two, factor), common_shape(left, right))


def scale(call: Call) -> Outcome:
    """Products and quotients with a coefficient. Scaling by a statistic of the streams is a normalisation."""
    left, right = call.args[0], call.args[1]
    one, two = call.signals(left, right)
    if call.kwargs.get("rounding_mode"):
        return Cut("division with rounding")
    if one is not None and two is not None:
        return Cut("product of streams with streams", stage=1 if call.name == "mul" else 0)
    streams, other, signal = (left, right, one) if one is not None else (right, left, two)
    if signal is None:
        return Cut("no streams among the factors", stage=kept_stage(call))
    if call.name == "div" and streams is right:
        return Cut("division by the streams")
    if isinstance(other, Tensor) and call.memory.stage(other):
        return Restart(signal, "a normalisation")
    factor = other.to(signal.tangent.dtype) if isinstance(other, Tensor) else other
    tangent = signal.tangent / factor if call.name == "div" else signal.tangent * factor
    return Pass(relabelled(signal, tangent))


def negate(call: Call) -> Outcome:
    """Change of sign."""
    signal = call.signal(call.args[0])
    if signal is None:
        return Cut("no streams")
    return Pass(Signal(-signal.tangent, signal.label, signal.code, signal.complete))


def add_scaled(call: Call) -> Outcome:
    """Base + value * left * right, base + value * left / right, or base + value * an outer product."""
    base, left, right = call.args[:3]
    factors = (left[:, None], right[None, :]) if call.name == "addr" else (left, right)
    product = scale(call.as_if("div" if call.name == "addcdiv" else "mul", *factors))
    beta, value = call.kwargs.get("beta", 1), call.kwargs.get("value", call.kwargs.get("alpha", 1))
    made = scaled(product.signal, value) if isinstance(product, Pass) else None
    branch = left if call.depends(left) else right
    onto = scaled(call.signal(base), beta)
    return add_signals(call, base, onto, branch, made, common_shape(base, *factors))


def interpolate(call: Call) -> Outcome:
    """lerp: start + weight * (end - start) = (1 - weight) * start + weight * end."""
    start, end, weight = call.args[:3]
    ends = scale(call.as_if("mul", end, weight))
    starts = scale(call.as_if("mul", start, 1 - weight))
    signals = [o.signal if isinstance(o, Pass) else None for o in (starts, ends)]
    return add_signals(call, start, signals[0], end, signals[1], common_shape(start, end, weight))


def one_by_one(call: Call) -> Outcome:
    """One operation on each tensor of a list: followed as so many single ones."""
    name = call.name.removeprefix("_foreach_")
    single = getattr(torch.ops.aten, name + "_" * call.mutates)
    count = len(call.args[0])

    def of(value: Any, i: int) -> Any:
        return value[i] if isinstance(value, list | tuple) else value

    def run() -> list[Any] | None:
        made = []
        for i in range(count):
            args, kwargs = [of(a, i) for a in call.args], dict(call.options)
            if name in {"addcmul", "addcdiv"} and len(args) == 4:
                value = args.pop()
                kwargs["value"] = float(value[i]) if isinstance(value, Tensor) else value
            made.append(single(*args, **kwargs))
        return None if call.mutates else made

    return Rewrite(run)


FAMILIES = (
    Family(
        "sums",
        ("add", "sub", "rsub"),
        add,
        "Linear in both operands. Adding a constant leaves the tangents alone; adding what was computed from "
        "the streams is the injection of a branch, and that makes a site.",
    ),
    Family(
        "products with a coefficient",
        ("mul", "div"),
        scale,
        "Linear in the streams while the other factor is frozen. Two factors of streams end the path, as do "
        "a quotient by the streams and one that is rounded; a factor that is a statistic of the streams "
        "makes it a normalisation.",
    ),
    Family("change of sign", ("neg",), negate, "Linear in the streams: a product with -1."),
    Family(
        "sum and product in one",
        ("addcmul", "addcdiv", "addr"),
        add_scaled,
        "A product with a coefficient and a sum, each by its own rule.",
    ),
    Family("interpolation", ("lerp",), interpolate, "Two products with a coefficient and a sum."),
    Family(
        "operations on lists of tensors",
        tuple(
            f"_foreach_{n}" for n in ("add", "sub", "mul", "div", "neg", "addcmul", "addcdiv", "lerp", "copy")
        ),
        one_by_one,
        "Followed as one operation for each tensor.",
    ),
)
