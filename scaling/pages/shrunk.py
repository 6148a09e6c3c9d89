"""What a model lost by being stored in fewer bits: bytes and losses before and after."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from scaling.hardware.devices import GB
from scaling.pages.answer import Answer
from scaling.pages.text import Section, Table, make_section, shown

BILLION = 1e9


def shrunk_sections(found: Mapping[str, Any]) -> Iterator[Section]:
    """Sections of what `scaling.training.shrinking.Shrunk` holds, `bits_per_param` beside it."""
    params, bits = found["params"], found["bits_per_param"]
    rows = pd.DataFrame(
        {
            "what": ["before", "after"],
            "bytes": [found["bytes_before"], found["bytes_after"]],
            "loss": [found["loss_before"], found["loss_after"]],
        }
    )
    columns = (shown("what", "model"), shown("bytes", "bytes of the file", ","))
    yield make_section(
        found["storage"].label,
        rows,
        (*columns, shown("loss", "held-out loss (nats/token)", ".4f")),
        f"Difference over the same {found['windows']:,} windows: {found['difference']:+.4f} nats, "
        f"standard error {found['difference_std']:.4f}.",
    )
    parts = (shown("what", "part"), shown("numbers", "numbers in the file", ","))
    size = bits / 8 * BILLION / GB
    text = (
        f"{bits:.2f} bits for each of {params:,} parameters, scales included: {size:.2f} GB for "
        f"1B parameters stored like these, where fp32 takes {4 * BILLION / GB:.0f} GB. The share "
        "of the scales falls with the width of a row."
    )
    table = Table(found["parts"], (*parts, shown("bytes", "bytes", ",")))
    yield Section("Bytes", (text,), tables=(table,))


def tell_shrunk(found: Mapping[str, Any]) -> Answer:
    """What the fewer bits cost and save; `found` as in `shrunk_sections`."""
    before, after = found["bytes_before"], found["bytes_after"]
    difference, std = found["difference"], found["difference_std"]
    told = (
        f"{found['storage'].label}: {found['bits_per_param']:.2f} bits a parameter, scales "
        f"included; {before:,} to {after:,} bytes, {before / after:.3g} times less.",
        f"Held-out loss {found['loss_before']:.4f} to {found['loss_after']:.4f} nats/token: "
        f"{difference:+.4f}, standard error {std:.4f}, over the same {found['windows']:,} windows.",
    )
    within = "The difference is within two standard errors: noise would give as much."
    return Answer(told, (within,) if abs(difference) < 2 * std else ())
