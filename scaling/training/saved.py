"""A trained model as three plain files: weights, what they are weights of, and the tokenizer.

`model.safetensors` holds every parameter in its own precision, a tied head once, or of a quantised
matrix its packed integers and their scales; `config.json` the shape and the facts of the run;
`tokenizer.json` is what `tokenizers.Tokenizer.from_file` reads.
Nothing is pickled, so that a file from a stranger can do no harm.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from tokenizers import Tokenizer
from torch import Tensor

from scaling.data.tokenizer import load_tokenizer
from scaling.files import write_bytes, write_text
from scaling.models.build import Model, build_model
from scaling.models.packed import INPUT, pack_model, unpack_model
from scaling.models.quantised import round_inputs, trained_storage
from scaling.models.storage import Storage
from scaling.shapes.shape import Shape
from scaling.training.records import CONFIG

FORMAT = "scaling-laboratory model 1"
WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"


def save_model(
    folder: Path,
    model: Model,
    tokenizer: Path | None,
    facts: dict[str, Any],
    *,
    parameters: Mapping[str, Tensor] | None = None,
    storage: Storage | None = None,
    inputs: Mapping[str, Tensor] = MappingProxyType({}),
) -> None:
    """Write a model and its tokenizer into a folder, which is made where it is not there.

    Each file is written whole or not at all, the configuration last. It holds hashes of the other
    two: `load_model` refuses what an interrupted save over an older model left behind. Facts are
    what a reader should know, as plain JSON: objective, run id, loss. `parameters` are those of a
    model that lies on several ranks, whole (`scaling.training.parallel.whole_weights`).

    Its matrices are stored in the format that it was trained in or is told, with the scales of the
    `inputs` of their products where these are to be rounded too.

    Raises
    ------
    ValueError
        Facts that are no JSON.
    """
    parameters = parameters or dict(model.named_parameters())
    storage = storage or trained_storage(model)
    scales = {name + INPUT: scale for name, scale in inputs.items()}
    # which other readers of safetensors look for
    weights = save(pack_model(model, storage, parameters) | scales, {"format": "pt"})
    text = None if tokenizer is None else _read(tokenizer)
    config = {
        "format": FORMAT,
        "shape": asdict(model.shape),
        "storage": None if storage is None else asdict(storage),
        "facts": facts,
        "weights_sha256": _sha256(weights),
        "tokenizer_sha256": None if text is None else _sha256(text),
    }
    try:
        written = json.dumps(config, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"facts={facts!r} cannot be written as JSON ({error}); give text, finite numbers, "
            "lists and dicts"
        ) from error
    write_bytes(folder / WEIGHTS, weights)
    if text is not None:
        write_bytes(folder / TOKENIZER, text)
    write_text(folder / CONFIG, written)


def load_model(folder: Path, device: str = "cpu") -> tuple[Model, Tokenizer | None]:
    """Read what `save_model` wrote; the model's losses are those of the saved one, bit for bit.

    Returns
    -------
    model : Model, on `device`
    tokenizer : Tokenizer, or None if it was saved without

    Raises
    ------
    FileNotFoundError
        A file is missing.
    ValueError
        A file of another program, or files that do not belong together.
    """
    config, path = read_config(folder), folder / WEIGHTS
    problem = f"{folder / CONFIG} describes no shape that can be built"
    with _refuse(problem, KeyError, TypeError, ValueError):
        shape = Shape(**config["shape"])
    model, weights = build_model(shape), _read(path)
    tensors = read_weights(folder)
    if config.get("storage"):
        storage = Storage(**config["storage"])
        tensors, inputs = unpack_model(tensors, model, storage)
        round_inputs(model, inputs, storage.activations or 0)
    _fill(model, tensors, path)
    _check_hash(path, weights, config.get("weights_sha256"))
    expected = config.get("tokenizer_sha256")
    if expected is None:
        return model.to(device), None
    _check_hash(folder / TOKENIZER, _read(folder / TOKENIZER), expected)
    return model.to(device), load_tokenizer(folder / TOKENIZER)


def load_start(folder: Path, shape: Shape, tokenizer: Path | None) -> Model:
    """Load a model that is to be trained further: of this shape, on ids of this tokenizer.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_model`; or the shape or the tokenizer is another.
    """
    model, own = load_model(folder)
    if model.shape != shape:
        raise ValueError(f"{folder} holds a model of {model.shape}, not of {shape}; plan its shape")
    wanted = None if tokenizer is None else load_tokenizer(tokenizer)
    if (own and own.to_str()) != (wanted and wanted.to_str()):
        raise ValueError(
            f"{folder} was trained on ids of another tokenizer than {tokenizer}; encode the corpus "
            f"with data.tokenizer={folder / TOKENIZER}"
        )
    return model


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the tensors of a saved model as they lie in the file; ValueError if it is none."""
    path = folder / WEIGHTS
    with _refuse(f"{path} is no safetensors file", SafetensorError):
        return load(_read(path))


def read_config(folder: Path) -> dict[str, Any]:
    """Read `config.json`: "format", "shape", "facts" and the hashes; see Raises of `load_model`."""
    path = folder / CONFIG
    with _refuse(f"{path} is no JSON", ValueError):
        config = json.loads(_read(path))
    found = config.get("format") if isinstance(config, dict) else None
    if found != FORMAT:
        raise ValueError(
            f"{path} has format {found!r}, not {FORMAT!r}: it is another program's; give a folder "
            "that scaling.training.saved.save_model wrote"
        )
    return config


@contextlib.contextmanager
def _refuse(problem: str, *errors: type[Exception]) -> Iterator[None]:
    try:
        yield
    except errors as error:
        raise ValueError(f"{problem} ({error}); save the model again") from error


def _fill(model: Model, tensors: dict[str, Tensor], path: Path) -> None:
    """Copy tensors into the parameters of the same names."""
    wanted = dict(model.named_parameters())
    if stray := sorted(wanted.keys() ^ tensors.keys()):
        raise ValueError(
            f"{path} and the shape in {CONFIG} do not have the same tensors: {stray[0]} and "
            f"{len(stray) - 1} more are in one of them only; save the model again"
        )
    for name, parameter in wanted.items():
        if tensors[name].shape != parameter.shape:
            raise ValueError(
                f"{path}: {name} has shape {tuple(tensors[name].shape)}, but {CONFIG} asks for "
                f"{tuple(parameter.shape)}; save the model again"
            )
        with torch.no_grad():
            parameter.copy_(tensors[name])


def _check_hash(path: Path, data: bytes, expected: Any) -> None:
    if _sha256(data) != expected:
        raise ValueError(
            f"{path} is not the file that {CONFIG} beside it was written for (sha256 differs): a "
            "save was interrupted or a file exchanged; save the model again"
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} is missing; a saved model is {CONFIG}, {WEIGHTS} and, if it has one, "
            f"{TOKENIZER}"
        ) from None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
