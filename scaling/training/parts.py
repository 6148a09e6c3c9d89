"""What a run on a mixture of corpora says of every part of it."""

import math
import re
from collections.abc import Iterable
from pathlib import Path

from scaling.data.ids import Part, TokenData
from scaling.training.cells import Cell
from scaling.training.trunk import Outcome


def part_columns(cell: Cell, data: TokenData, outcome: Outcome) -> dict[str, float]:
    """Columns of the runs table by part: held-out loss, bits per byte, unique tokens, epochs."""
    row: dict[str, float] = {}
    measured = outcome.parts or [(math.nan, math.nan)] * len(data.parts)
    for part, (loss, loss_std) in zip(data.parts, measured, strict=True):
        name = short_name(part)
        row[f"loss_{name}"], row[f"loss_std_{name}"] = loss, loss_std
        row[f"bits_per_byte_{name}"] = loss / (part.data.bytes_per_token * math.log(2))
        row[f"unique_tokens_{name}"] = part.n_train
        row[f"epochs_{name}"] = cell.tokens * part.share / part.n_train
    return row


def check_parts(cells: Iterable[Cell], parts: Iterable[Part], allow_repeats: bool) -> None:
    """Refuse a mixture of which a run would see a part twice, unless that is wanted.

    Raises
    ------
    ValueError
        Says which part has how many tokens, and which cell asks for more; or two parts share the
        name of their columns.
    """
    names = [short_name(part) for part in parts]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"data.parts: two parts are called {twice[0]!r}; rename a file or folder")
    greedy = max(cells, key=lambda cell: cell.tokens)
    for part in parts:
        asked = round(part.share * greedy.tokens)
        if asked >= part.n_train and not allow_repeats:
            raise ValueError(
                f"data.parts: {part.name} has {part.n_train:,} training tokens, but "
                f"{greedy.label} FLOPs needs {asked:,} of them; lower its share or the budgets, "
                "take a larger corpus, or repeat tokens with allow_repeats=true"
            )


def short_name(part: Part) -> str:
    """Name of a part in columns: that of the corpus, or of the file without its ending."""
    return re.sub(r"\W+", "_", Path(part.name).name.partition(".")[0])
