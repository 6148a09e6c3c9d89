"""python -m scaling.sample model=results/NAME/models/RUN prompt="The history of": a model writes.

A GPT writes on, a BERT fills every [?] of the prompt by a token, a T5 by a span. Without a prompt
held-out text is taken, and the truth stands beside. A mistake is refused before torch is imported.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from omegaconf import MISSING

from scaling import products
from scaling.commandline import job_folder, make_console, retell, spare, verb
from scaling.data.corpora import DataConfig
from scaling.data.objectives import count_windows, make_objective
from scaling.data.shards import Ids
from scaling.data.tokens import prepare_tokens
from scaling.files import write_text
from scaling.pages.answer import name_files, print_answer, tell_sections
from scaling.pages.text import Section, make_section, markdown, shown, shown_interval
from scaling.training.records import refuse_no_model

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PROMPT, APART = 48, 1000  # tokens of a held-out prompt, and between the starts of two of them


@dataclass
class SampleCommand:
    """Which saved model says what, and how its words are chosen."""

    model: str = MISSING  # folder of a model that save_models=true left behind
    prompt: str | None = None  # your text, with [?] where a BERT or T5 fills; None: held-out text
    max_new_tokens: int = 64  # at most; fewer where the text ends
    temperature: float = 0.0  # 0: greedy, the likeliest; 1: as the model says
    top_k: int | None = None  # draw among so many
    top_p: float | None = None  # of these among the fewest that reach this probability
    seed: int = 0  # of what is drawn
    compare: bool = False  # greedy, temperatures, top-k and top-p beside each other
    candidates: int = 5  # shown with their probabilities; 0: none
    shots: list[int] = field(default_factory=list)  # solved examples of a task: 0,1,2,5 (GPT)
    tasks: int = 200  # reviews that are labelled, for each number of shots
    texts: int = 2  # held-out texts where no prompt is given; of BERT and T5 windows
    attention: bool = False  # attention maps of the prompt as a figure, in out (GPT, BERT)
    vectors: bool = False  # tokens of the prompt, their ids and learned vectors
    measure: bool = False  # held-out loss and accuracy beside a guess by frequency
    export: str | None = None  # folder for the model as transformers reads it, instead (GPT)
    out: str | None = None  # folder for README.md and figures; None: only printed
    data: DataConfig = field(default_factory=DataConfig)
    overwrite: bool = False  # files of the folder that are not ours
    verbose: bool = False  # print every table, not the answer alone
    results: str = "results"  # where folders are made


@verb("sample", SampleCommand)
def main(command: SampleCommand) -> None:
    """Read, write on or fill, print, keep."""
    refuse_nonsense(command)
    if command.export:
        return export(command, job_folder(command.export))
    from scaling.training.saved import load_model
    from scaling.training.trained import learned

    console = make_console()
    model, tokenizer = load_model(Path(command.model))
    if tokenizer is None:
        raise ValueError(f"model={command.model} was saved without a tokenizer: it knows no text")
    data = None
    if command.prompt is None or command.measure:
        data = prepare_tokens(command.data, report=spare(console.print))
        if data.vocab_size != model.shape.vocab_size:
            raise ValueError(
                f"data has a vocabulary of {data.vocab_size:,}, the model of "
                f"{model.shape.vocab_size:,}: choose the data that it was trained on"
            )
    sections, ids = [], None if data is None else data.load_alone("valid")
    if data is not None and command.measure:
        sections.append(Section("Held-out text", (str(learned(model, data)),)))
    sections += tell_model(command, model, tokenizer, ids)
    answer = tell_sections(sections)
    if command.out:
        files = keep(command, model, tokenizer, sections)
        answer = replace(answer, rest=(name_files(files, job_folder(command.out)),))
    print_answer(console, answer, sections, verbose=command.verbose)


def export(command: SampleCommand, folder: Path) -> None:
    """Write the model for `transformers` instead of letting it write."""
    from scaling.training.exported import FILES, export_model

    products.refuse_foreign(folder, FILES, overwrite=command.overwrite)
    name = export_model(Path(command.model), folder)
    products.settle(folder, FILES, [file for file in FILES if (folder / file).is_file()])
    make_console().print(f"transformers.{name}.from_pretrained reads {folder.resolve()}")


def refuse_nonsense(command: SampleCommand) -> None:
    """Refuse what cannot be meant; ValueError names it."""
    refuse_no_model(Path(command.model))
    least = {"max_new_tokens": 0, "candidates": 0, "tasks": 1, "texts": 1}
    for name, low in least.items():
        if getattr(command, name) < low:
            raise ValueError(f"{name}={getattr(command, name)} must be {low} or more")
    if command.shots and min(command.shots) < 0:
        raise ValueError(f"shots={command.shots} must be 0 or more")
    if (command.attention or command.vectors) and command.prompt is None:
        raise ValueError("attention and vectors are of a prompt: give prompt=TEXT")
    if command.attention and not command.out:
        raise ValueError("attention=true draws a figure: give out=FOLDER")


def tell_model(
    command: SampleCommand, model: Any, tokenizer: "Tokenizer", ids: Ids | None
) -> Iterator[Section]:
    """Sections of what was asked for."""
    from scaling.training import samples

    if model.shape.family != "gpt":
        yield fill_section(command, model, tokenizer, ids)
    else:
        if command.prompt is not None:
            prompts = [(samples.encode_prompt(tokenizer, command.prompt), None)]
        else:
            starts = [i * APART for i in range(command.texts)]
            stop = PROMPT + command.max_new_tokens
            assert ids is not None
            prompts = [(ids[i : i + PROMPT].tolist(), ids[i + PROMPT : i + stop]) for i in starts]
        for tokens, truth in prompts:
            yield from write_sections(command, model, tokenizer, tokens, truth)
    if command.shots:
        if model.shape.family != "gpt":
            raise ValueError(
                f"shots are for a GPT, which writes on; this is a {model.shape.family}"
            )
        table = samples.score_shots(model, tokenizer, command.shots, command.tasks, command.seed)
        accuracy = shown_interval("accuracy", "accuracy [90 %]", ".1%")
        columns = (shown("shots"), accuracy, shown("tokens", "tokens of the longest prompt"))
        first, label = samples.write_task(1, np.random.default_rng(command.seed))
        told = f"{command.tasks} reviews, chance 50 %; an example may hold the word that is asked "
        told += f"for. With one example: {first + label!r}"
        yield make_section("Solved examples in the prompt", table, columns, told)
    if command.vectors:
        tokens = samples.encode_prompt(tokenizer, str(command.prompt))
        told = f"The first of {model.shape.width} numbers of each learned vector, and its norm."
        table = samples.list_vectors(model, tokenizer, tokens)
        yield _plain_section("Tokens, ids, vectors", table, told, norm=".3f")


def write_sections(
    command: SampleCommand, model: Any, tokenizer: "Tokenizer", tokens: list, truth: Any
) -> Iterator[Section]:
    """What a GPT writes behind one prompt, and what it thought of writing."""
    from torch import Generator

    from scaling.models.sampling import Sampler
    from scaling.training.samples import WAYS, continue_text, list_candidates

    names = ("temperature", "top_k", "top_p")
    chosen = {name: getattr(command, name) for name in names}
    name = ", ".join(f"{k} {v:g}" for k, v in chosen.items() if v) or "greedy"
    ways = WAYS if command.compare else {name: chosen}
    table = continue_text(model, tokenizer, tokens, command.max_new_tokens, ways, command.seed)
    told = [f"Prompt: {tokenizer.decode(tokens)!r}"]
    told += [] if truth is None else [f"Truth: {tokenizer.decode(truth.tolist())!r}"]
    columns = (
        *(shown("way"), shown("tokens"), shown("distinct", "distinct triples", ".0%")),
        shown("text", write=repr),
    )
    yield make_section("Written on", table, columns, *told)
    if command.candidates:
        sampler = Sampler(**chosen, generator=Generator().manual_seed(command.seed))
        found = list_candidates(model, tokenizer, tokens, command.candidates, sampler)
        told = f"Probability by the model, and of being taken by {name}."
        yield _plain_section("The next token", found, told, probability=".4f", drawn=".4f")


def fill_section(
    command: SampleCommand, model: Any, tokenizer: "Tokenizer", ids: Ids | None
) -> Section:
    """What a BERT or a T5 puts into the gaps of a prompt, or of held-out windows."""
    from torch import Generator

    from scaling.models.sampling import Sampler
    from scaling.training.samples import fill_gaps, fill_windows

    if command.prompt is not None:
        generator = Generator().manual_seed(command.seed)
        sampler = Sampler(command.temperature, command.top_k, command.top_p, generator)
        n = max(command.candidates, 1)
        table = fill_gaps(model, tokenizer, command.prompt, sampler, n)
        return _plain_section("Gaps filled", table, f"Prompt: {command.prompt!r}")
    assert ids is not None
    most = count_windows(len(ids), make_objective(model.shape))
    index = np.linspace(0, most - 1, command.texts).astype(int)
    table = fill_windows(model, tokenizer, ids, index)
    told = (
        f"{table.right.sum()} of {len(table)} gaps in {command.texts} held-out windows are right."
    )
    return _plain_section("Gaps filled", table.head(12).drop(columns="window"), told)


def _plain_section(title: str, table: pd.DataFrame, told: str, **formats: str) -> Section:
    columns = tuple(shown(name, write=formats.get(name, str)) for name in table)
    return make_section(title, table, columns, told)


def keep(command: SampleCommand, model: Any, tokenizer: "Tokenizer", sections: list) -> list[str]:
    """Write the page, and the attention maps where they are asked for; return their names."""
    from scaling.figures.attention import attention_figure
    from scaling.figures.saving import save_figure
    from scaling.training.samples import attention_maps, encode_prompt

    folder = job_folder(str(command.out))
    written = ["README.md", *["attention.png"] * command.attention]
    products.claim(folder, written, overwrite=command.overwrite)
    if command.attention:
        tokens = encode_prompt(tokenizer, str(command.prompt))
        maps = attention_maps(model, tokens)
        save_figure(
            attention_figure(maps, [tokenizer.decode([t]) for t in tokens]),
            folder / "attention.png",
        )
        sections = [*sections, Section("Attention", figures=("attention",))]
    shape, made = model.shape, retell("sample")
    told = f"{shape.n_layers} layers, width {shape.width}, context {shape.seq_len}"
    parts = [f"# What a {shape.family} says", f"Made by `{made}`: {told}.", markdown(sections)]
    write_text(folder / "README.md", "\n\n".join(parts) + "\n")
    products.settle(folder, written, written)
    return written


if __name__ == "__main__":
    main()
