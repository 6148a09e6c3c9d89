"""Numbers and verdicts in words, as more than one page says them."""

import numpy as np

from scaling.hardware.devices import GB
from scaling.pages.text import tell
from scaling.planning.verdicts import Verdict
from scaling.quantities import count
from scaling.quantities import format_quantity as short
from scaling.shapes.architecture import Architecture
from scaling.shapes.shape import Shape


def write_digits(value: float) -> str:
    """Three digits, no suffix: a ratio, days."""
    return f"{value:,.3g}" if abs(value) < 1e3 else f"{value:,.0f}"


def write_gigabytes(value: float) -> str:
    """Bytes as GB."""
    return write_digits(value / GB)


def name_sizes(s: Shape | Architecture, of_heads: str = "") -> str:
    """Layers, width, heads with what is said of them, vocabulary and context."""
    return (
        f"{count(s.n_layers, 'layer')} x {s.width:,}, {count(s.n_heads, 'head')} of {s.head_width}"
        f"{of_heads}, vocabulary {s.vocab_size:,}, context {s.seq_len:,}"
    )


def describe_verdict(verdict: Verdict) -> str:
    """Where a model stands against a law, and what that cost."""
    line = (
        f"{verdict.name}, {short(verdict.N)} on {short(verdict.D)} tokens: "
        f"{verdict.tokens_per_param:.3g} tokens/param, {verdict.over_rule:.2g} times the 20x rule; "
        f"{verdict.verdict} by {verdict.law}, x{verdict.trained:.2g} of its "
        f"{short(verdict.D_for_N)} for this size"
    )
    if not np.isfinite(verdict.C_over):
        return line
    gap = verdict.loss_gap
    status = "" if gap.status == "ok" else f" ({gap.status})"
    return (
        f"{line}; {tell(gap, '.4g')}{status} nats/token left on "
        f"the table, {verdict.C_over:.4g} times the compute that the optimum needs for this loss"
    )
