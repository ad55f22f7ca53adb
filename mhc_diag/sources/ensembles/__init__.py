"""One file = one ensemble: how the logits of simulated stacks are drawn.

TITLE           what it is, in a few words
SCALE           default of --scale; None where there is none, or where default_scale gives it
NOISE           default of --noise; None where there is none
logits(draw)    (L, T, n, n), float64, of the stacks that `draw` stands for

Where they apply:

default_scale(streams)      default of --scale where it depends on the number of streams
exponent(streams, scale)    growth of the unconstrained stack by theory, in nats per site, or None
spectrum(streams, scale)    all its Lyapunov exponents by theory, the largest first
matrices(draw)  what unconstrained mixing applies, where that is not the logits
NOTE            what a reader of the report must know, such as an assumption
MEASURED        True where it draws from a saved report

An underscore in a file's name is a dash on the command line.
"""
