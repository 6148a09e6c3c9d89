"""python -m scaling.quantise model=results/NAME/models/RUN bits=4: a saved model in fewer bits.

A mistake is refused before torch is imported.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import MISSING

from scaling import products
from scaling.commandline import job_folder, make_console, retell, spare, verb
from scaling.data.corpora import DataConfig
from scaling.data.tokens import prepare_tokens
from scaling.files import write_text
from scaling.models.storage import Storage
from scaling.pages.answer import name_files, print_answer
from scaling.pages.cards import read_header
from scaling.pages.shrunk import shrunk_sections, tell_shrunk
from scaling.pages.text import code, markdown
from scaling.training.records import refuse_no_model

if TYPE_CHECKING:
    from scaling.training.shrinking import Shrunk


FILES = ("config.json", "model.safetensors", "tokenizer.json", "weights.png", "README.md")


@dataclass
class QuantiseCommand:
    """Which saved model, in what format, and where the smaller one goes."""

    model: str = MISSING  # folder of a model that save_models=true left behind
    bits: int | None = None  # 8, 6, 4, 3, 2: integers of so many bits
    format: str | None = None  # instead: int8 ... int2, fp16, bf16, fp8_e4m3, fp8_e5m2
    per: str = "channel"  # what shares a scale: tensor, channel (a row), group (of a row)
    group: int = Storage.group  # weights in a group
    parts: str = "blocks"  # blocks; all: table and head too
    activations: int | None = None  # bits of what enters the products; None: as it is
    windows: int = 2048  # of the held-out split, for both losses
    calibration: int = 256  # training windows that set the scales of activations
    out: str | None = None  # folder of the smaller model; None: beside the model
    overwrite: bool = False  # files of the folder that are not ours
    data: DataConfig = field(default_factory=DataConfig)
    verbose: bool = False  # print every table, not the answer alone
    results: str = "results"  # where folders are made


@verb("quantise", QuantiseCommand)
def main(command: QuantiseCommand) -> None:
    """Read, round, write, load again, measure."""
    source, storage = Path(command.model), read_storage(command)
    refuse_no_model(source)
    if min(command.windows, command.calibration) < 2:
        raise ValueError("windows and calibration must be at least 2")
    target = (
        job_folder(command.out) if command.out else source.with_name(name_folder(source, storage))
    )
    if target.resolve() == source.resolve():
        raise ValueError(f"out={target} is the model itself; give another folder")
    products.refuse_foreign(target, FILES, overwrite=command.overwrite)
    from scaling.figures.rounding import weights_figure
    from scaling.figures.saving import save_figure
    from scaling.training.saved import load_model
    from scaling.training.shrinking import shrink, weight_grids

    console = make_console()
    data = prepare_tokens(command.data, report=spare(console.print))
    products.claim(target, FILES, overwrite=command.overwrite)
    found = shrink(
        source,
        target,
        storage,
        data,
        windows=command.windows,
        calibration=command.calibration,
    )
    facts = vars(found) | {"bits_per_param": found.bits_per_param}
    sections = [*shrunk_sections(facts)]
    name, weights, grids = weight_grids(load_model(source)[0])
    save_figure(weights_figure(weights, grids, name), target / "weights.png")
    write_text(target / "README.md", write_card(source, found, sections))
    written = [name for name in FILES if (target / name).is_file()]
    products.settle(target, FILES, written)
    answer = tell_shrunk(facts)
    step = f"python -m scaling.sample model={target} prompt='The history of'"
    steps = (step,) if "tokenizer.json" in written else ()
    answer = replace(answer, steps=steps, rest=(name_files(written, target),))
    print_answer(console, answer, sections, verbose=command.verbose)


def read_storage(command: QuantiseCommand) -> Storage:
    """What was asked for; ValueError where it says too little, too much or nonsense."""
    if (command.bits is None) == (command.format is None):
        raise ValueError("give bits=8, 6, 4, 3 or 2, or format=NAME, one of the two")
    format = command.format or f"int{command.bits}"
    return Storage(format, command.per, command.group, command.parts, command.activations)


def name_folder(source: Path, storage: Storage) -> str:
    """Name of the model's folder, its format, and what is not default."""
    shared = f"group{storage.group}" if storage.per == "group" else storage.per
    words = [source.name, storage.format]
    words += [shared] if storage.has_scales and storage.per != "channel" else []
    words += ["all"] if storage.parts == "all" else []
    return "-".join(words + ([f"a{storage.activations}"] if storage.activations else []))


def write_card(source: Path, found: "Shrunk", sections: list) -> str:
    """Return the README.md of the smaller model, under the header of the larger one's card."""
    command = retell("quantise")
    parts = [
        f"{read_header(source / 'README.md')}# {source.name} in {found.storage.label}",
        f"Made by {code(command)}. `scaling.training.saved.load_model` reads it.",
        markdown(sections),
        "![Weights and the numbers of each format](weights.png)",
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
