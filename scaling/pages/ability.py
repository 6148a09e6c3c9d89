"""What a model may be able to do, with the warnings that belong to it: a section of a plan."""

import pandas as pd

from scaling.pages.text import Section, make_section, shown
from scaling.quantities import format_quantity as short

WARNING = (
    "Read with care. Loss and error are those of Gadre et al. 2024 (arXiv:2403.08540): their data, "
    "tokenizer (GPT-NeoX) and the average of 17 tasks; this plan's own loss is of other text and "
    "cannot be put into their link. Their two predictions ahead missed by 0.05 and 3.6 % of the "
    "error (from memory); single tasks are missed by far more: four of eight by 6.9 points on "
    "average with the ladder of OLMo (Bhagia et al. 2024, arXiv:2412.04403), and only 39 % of 46 "
    "published tasks follow such a law closely (Lourie et al. 2025, arXiv:2507.00885)."
)


def show_ability(N: float, D: float, table: pd.DataFrame) -> Section:
    """Error by training data; never without its warning."""
    told = f"{short(N)} parameters on {short(D)} tokens of web text: {tell_ability(table)}"
    columns = (
        *(shown("training_data", "trained on"), shown("loss", "loss on C4", ".3f")),
        *(shown("error", "average top-1 error", ".1%"), shown("status"), shown("source")),
    )
    return make_section("From loss to ability", table, columns, told, WARNING)


def tell_ability(table: pd.DataFrame) -> str:
    """The error in a sentence."""
    low, high = 100 * table.error.min(), 100 * table.error.max()
    return (
        f"about {low:.0f} to {high:.0f} % of 17 tasks wrong on average, by the three corpora that "
        "were fitted."
    )
