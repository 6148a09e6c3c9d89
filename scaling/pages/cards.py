"""Model cards in Hugging Face's form: a YAML header, then what a stranger has to know of a model.

Of one saved model, or of all runs of a sweep. What is estimated says so, and how.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from omegaconf import OmegaConf

from scaling.files import read_table
from scaling.hardware.devices import find_device
from scaling.laws.papers import PF_DAY
from scaling.pages.text import Section, code, markdown
from scaling.planning.upkeep import HOUR, PUE, energy_of
from scaling.quantities import count
from scaling.quantities import format_quantity as short

CPU_WATTS = 10.0  # a thread: 280 W of 64 cores (EPYC 7763), and as much again beside it; assumed
JOULES_PER_WH = 3600.0
LIBRARY = "scaling-laboratory"
TASKS = {"gpt": "text-generation", "bert": "fill-mask", "t5": "text2text-generation"}
OBJECTIVES = {
    "clm": "causal language modelling: every token from those before it",
    "mlm": "masked language modelling, 15 % of the tokens, as BERT does it",
    "mlm_mask": "masked language modelling, 15 % of the tokens, always by the mask",
    "span": "span corruption, as T5 does it",
}
LIMITS = (
    "Trained to measure a scaling law, and not to be used: small, short, never aligned, never "
    "tested for what it might say.",
    "Its loss compares with others of the same tokenizer and held-out text only; bits per byte "
    "compare across tokenizers.",
    "No licence of the weights is chosen: whoever publishes them does that, and looks at that of "
    "the text first.",
)


class Origin(NamedTuple):
    """Where text comes from, and on what terms."""

    text: str
    licence: str
    language: str = ""
    hub: str = ""  # its name there


_origins = read_table(Path(__file__).with_name("origins.csv")).set_index("name")
ORIGINS = {name: Origin(**row) for name, row in _origins.to_dict("index").items()}


def find_origins(data: Mapping[str, Any]) -> list[Origin]:
    """Origins of the text that a data configuration names, one per part."""
    names = data.get("parts") if data["name"] == "mixture" else [data["name"]]
    found = []
    for name in names or []:
        path = data.get("path") if name == "hf" else name if "/" in str(name) else None
        hub = path if path and not str(path).startswith((".", "/", "~")) else None
        asked = "as its owner says; not known here"
        own = Origin(f"the user's own: data.name={name}", asked)
        found.append(ORIGINS.get(name, Origin(hub, asked, hub=hub) if hub else own))
    return found


# ---------------------------------------------------------------- cards


def write_model_card(run: Mapping[str, Any], data: Mapping[str, Any], command: str) -> str:
    """Write the README.md of one saved model.

    Parameters
    ----------
    run : mapping, a row of the runs table
    data : mapping, the data configuration
    command : str
        What trained it.
    """
    origins, N, D = find_origins(data), run["total_params"], run["tokens"]
    head = make_header(origins, run["family"], [run["data"]])
    head["model-index"] = [_index(run)]
    shape = f"layers: {run['n_layers']:.0f}, width: {run['width']:.0f}, heads: {run['n_heads']:.0f}"
    about = (
        f"A {run['family']} of {N:,.0f} parameters ({shape}), trained on {D:,.0f} tokens: one run "
        f"of a grid that measures a scaling law. Windows of {run['seq_len']:.0f} tokens, "
        f"vocabulary {run['vocab_size']:,.0f}."
    )
    load = (
        '`scaling.training.saved.load_model("FOLDER")` reads it, '
        "`python -m scaling.sample model=FOLDER` lets it write; with `export=OUT` that command "
        "writes it for `transformers`, where that has an equal architecture."
    )
    loss = f"{run['loss']:.4f} ± {run['loss_std']:.4f} nats/token (standard error over windows)"
    bits = run.get("bits_per_byte", math.nan)
    training = (
        f"Objective: {OBJECTIVES.get(run['objective'], run['objective'])}",
        f"{D:,.0f} tokens, {D / N:.3g} per parameter, {_tell_epochs(run)}",
        f"{run['steps']:,.0f} steps of {run['batch_tokens']:,.0f} tokens, peak learning rate "
        f"{run['lr']:.3g}, schedule {run['schedule']}, {run['precision']}, seed {run['seed']:.0f}",
        *_tell_cost(pd.DataFrame([dict(run)])),
    )
    evaluation = (
        f"Held-out loss: {loss}",
        *([f"Bits per byte: {bits:.4f}"] if bits == bits else []),
        f"On {run['data']}'s validation split, held out of training",
    )
    sections = [
        Section("Use", (load,)),
        *_shared(origins),
        Section("Training", (f"Trained by {code(command)}",), training),
        Section("Evaluation", (), evaluation),
        Section("Limits", (), LIMITS),
    ]
    return _join(head, f"{run['name']} ({run['run_id']})", about, sections)


def write_sweep_card(title: str, runs: pd.DataFrame, data: Mapping[str, Any], command: str) -> str:
    """Write MODEL_CARD.md of a sweep: of all its runs together."""
    origins, ok = find_origins(data), runs[runs.status == "ok"]
    families = sorted({*runs.family})
    head = make_header(origins, families[0], sorted({*runs.data}))
    sizes = runs.total_params.min(), runs.total_params.max()
    about = (
        f"{count(len(runs), 'model')} of {short(sizes[0])} to {short(sizes[1])} parameters "
        f"({', '.join(families)}), trained on {short(runs.tokens.min())} to "
        f"{short(runs.tokens.max())} tokens each to measure a scaling law: runs.csv has a row for "
        "each, README.md what was found. With save_models=true each lies under models/, with a "
        "card of its own."
    )
    objectives = [f"Objective: {OBJECTIVES.get(name, name)}" for name in sorted({*runs.objective})]
    tokens = f"{runs.tokens.sum():,.0f} tokens in all, where every run counts by itself"
    best = ok.loc[[ok.loss.idxmin()]].to_dict("records") if len(ok) else []
    evaluation = [
        f"Held-out losses from {ok.loss.min():.4f} to {ok.loss.max():.4f} nats/token; the lowest "
        f"that of {run['name']} ({run['run_id']})"
        for run in best
    ]
    ended = f"{len(ok)} of {count(len(runs), 'run')} came to their end with a finite loss"
    sections = [
        *_shared(origins),
        Section("Training", (f"Trained by {code(command)}",),
                (*objectives, tokens, *_tell_cost(runs))),
        Section("Evaluation", (), (ended, *evaluation)),
        Section("Limits", (), LIMITS),
    ]  # fmt: skip
    return _join(head, title, about, sections)


def make_header(origins: list[Origin], family: str, names: list[str]) -> dict[str, Any]:
    """The header that every card shares: license, language, datasets, tags, metrics."""
    languages = sorted({origin.language for origin in origins if origin.language})
    hubs = [origin.hub for origin in origins if origin.hub]
    return {
        "license": "unknown",
        "library_name": LIBRARY,
        "pipeline_tag": TASKS[family],
        **({"language": languages} if languages else {}),
        **({"datasets": hubs} if hubs else {}),
        "tags": ["scaling-laws", family, *names],
        "metrics": ["loss", "bits_per_byte"],
    }


def read_header(card: Path) -> str:
    """The header of a card as it stands there; empty without."""
    text = card.read_text("utf-8") if card.is_file() else ""
    head, closed, _ = text.removeprefix("---\n").partition("\n---\n")
    return f"---\n{head}{closed}" if text.startswith("---\n") and closed else ""


def _join(head: dict[str, Any], title: str, about: str, sections: list[Section]) -> str:
    header = OmegaConf.to_yaml(OmegaConf.create(head))
    return f"---\n{header}---\n# {title}\n\n{about}\n\n{markdown(sections)}\n"


def _index(run: Mapping[str, Any]) -> dict[str, Any]:
    """The result in the form that the hub reads."""
    found = {"loss": run["loss"], "bits_per_byte": run.get("bits_per_byte", math.nan)}
    metrics = [{"type": name, "value": float(v)} for name, v in found.items() if v == v]
    data = {"type": str(run["data"]), "name": str(run["data"]), "split": "validation"}
    task = {"type": TASKS[run["family"]]}
    result = {"task": task, "dataset": data, "metrics": metrics}
    return {"name": str(run["name"]), "results": [result]}


def _shared(origins: list[Origin]) -> list[Section]:
    items = [f"{origin.text}. Licence: {origin.licence}" for origin in origins]
    return [Section("Data", (), tuple(items))] if items else []


def _tell_epochs(run: Mapping[str, Any]) -> str:
    epochs = run.get("epochs", math.nan)
    return f"{epochs:.3g} epochs" if epochs == epochs else "epochs unknown"


def _tell_cost(runs: pd.DataFrame) -> list[str]:
    """FLOPs, device time and energy: of whole runs, at the speed that each was measured at."""
    flops = runs.flops.sum()
    lines = [f"{flops:.3g} FLOPs, {flops / PF_DAY:.3g} PF-days, counted forward and backward"]
    timed = runs[runs.flops_per_s > 0] if "flops_per_s" in runs else runs.iloc[:0]
    if not len(timed):
        return lines
    ranks = timed.ranks.fillna(1) if "ranks" in timed else 1
    hours = timed.flops / timed.flops_per_s * ranks / HOUR
    watts = timed.device.map(find_watts)
    joules = float(sum(energy_of(h, w, PUE) for h, w in zip(hours, watts, strict=True)))
    devices = ", ".join(sorted({*timed.device}))
    lines.append(f"{hours.sum():.3g} device-hours at the measured speed, on {devices}")
    if joules == joules:
        assumed = f"{CPU_WATTS:g} W a thread of a processor, assumed"
        rated = "the makers' rating of the device"
        how = {assumed if str(name).startswith("cpu") else rated for name in timed.device}
        lines.append(
            f"Energy about {joules / JOULES_PER_WH:.3g} Wh: an estimate, not measured "
            f"({' and '.join(sorted(how))}, times a PUE of {PUE:g})"
        )
    else:
        lines.append("Energy: not known, as the power of the device is not")
    return lines


def find_watts(device: str) -> float:
    """Power of the device that a runs table names; NaN where nobody knows it."""
    if device.startswith("cpu"):
        return CPU_WATTS
    words = device.split()
    for n in range(len(words), 0, -1):  # "NVIDIA H100 80GB HBM3"
        if (found := find_device(" ".join(words[:n]))) is not None:
            return found.power or math.nan
    return math.nan
