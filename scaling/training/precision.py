"""What `precision=` may say, and where each is emulated; no torch.

| name      | weights, optimizer | products                                  | hardware            |
| fp32      | fp32               | fp32                                      | any                 |
| tf32      | fp32               | inputs rounded to 10 bits of fraction     | NVIDIA, from 8.0 up |
| bf16      | fp32               | bf16 (autocast)                           | any                 |
| bf16_pure | bf16               | bf16                                      | any                 |
| fp16      | fp32               | fp16 (autocast), the loss scaled          | any                 |
| fp8       | fp32               | of the blocks: e4m3, gradients e5m2       | emulated everywhere |
| int4, ... | fp32               | fp32, of weights rounded to so many bits  | emulated everywhere |

A processor without bf16 or fp16 arithmetic computes them in fp32 and rounds. What follows the name
of an integer is what the course calls quantisation-aware training: scales `learned` or from the
largest weight (`absmax`), shared by a `tensor`, `channel` or `group`, of the `blocks` or `all`.
"""

import re
from dataclasses import dataclass

from scaling.models.storage import GROUP, INTEGERS, PARTS, SHARES, Storage

FLOATS = ("fp32", "tf32", "bf16", "bf16_pure", "fp16", "fp8")
SCALES = ("learned", "absmax")


@dataclass(frozen=True)
class Precision:
    """Number formats of a training.

    Attributes
    ----------
    name : str
        The one way to write it, so that equal trainings have equal run ids: no default in it but
        the kind of scales, as which of them is best may change.
    storage : Storage or None
        What weights are rounded to while training; None for a float format.
    learned : bool
        Whether their scales are learned.
    """

    name: str
    storage: Storage | None = None
    learned: bool = False


def parse_precision(text: str) -> Precision:
    """Read a name as in "bf16", "int4" or "int3_absmax_group16_all".

    Raises
    ------
    ValueError
        Nobody knows it, or it says one thing twice.
    """
    if text in FLOATS:
        return Precision(text)
    format, *words = text.split("_")
    if format not in INTEGERS:
        raise ValueError(
            f"precision={text!r}: choose one of {(*FLOATS, *INTEGERS)}; an integer of at least 2 "
            f"bits may be followed by _{', _'.join((*SCALES, *SHARES, *PARTS))}"
        )
    chosen = {"scales": SCALES[0], "per": "channel", "parts": PARTS[0]}
    group, given = GROUP, set()
    for word in words:
        size = re.fullmatch(r"group(\d+)", word)
        group, word = (int(size[1]), "group") if size else (group, word)
        kinds = [k for k, known in KINDS.items() if word in known and k not in given]
        if not kinds:
            raise ValueError(
                f"precision={text!r}: {word!r} is not one more of {(*SCALES, *SHARES, *PARTS)}"
            )
        chosen[kinds[0]] = word
        given.add(kinds[0])
    storage = Storage(format, chosen["per"], group, chosen["parts"])
    shared = f"group{group}" if chosen["per"] == "group" else chosen["per"]
    said = (format, chosen["scales"], shared, chosen["parts"])
    name = "_".join(word for word in said if word not in ("channel", PARTS[0]))
    return Precision(name, storage, chosen["scales"] == "learned")


KINDS = {"scales": SCALES, "per": SHARES, "parts": PARTS}


def refuse_device(name: str, device: str) -> None:
    """Refuse a precision that a device lacks and nobody emulates; ValueError says which."""
    if name == "tf32" and not device.startswith("cuda"):
        raise ValueError(
            f"precision=tf32 is arithmetic of NVIDIA GPUs and not emulated on device={device}; "
            "take device=cuda, or precision=fp32 or bf16"
        )
