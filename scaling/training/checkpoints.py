"""Where a killed trunk goes on, at any number of ranks: safetensors without pickle, whole or none.

`checkpoints/<trunk_id>.safetensors` holds weights, Adam's moments and the training curve so far.
Several ranks write, by torch.distributed.checkpoint, what each of them holds, into
`checkpoints/<trunk_id>/<step>`; `facts.json`, the last file, says that all of it is there. Both are
deleted when the trunk is done. Both hold hashes: what is no longer what was written is kept aside.
"""

import contextlib
import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from scaling.files import partials, seal, set_aside, write_bytes, write_text
from scaling.training.parallel import agree, everyone, is_sharded, own_rank
from scaling.training.trunk import Point, TrunkState

FACTS = "facts.json"
HASH = "sha256"  # of facts and tensors
UNREADABLE = (OSError, SafetensorError, ValueError, KeyError, TypeError)


@dataclass(frozen=True)
class Checkpoint:
    """A stopped trunk."""

    state: TrunkState
    points: list[Point]  # the training curve up to `state.step`
    cell_steps: int  # since the last cell of the trunk ended
    cell_s: float  # seconds, likewise


def checkpoint_path(folder: Path, trunk_id: str) -> Path:
    """Return where the checkpoint of a trunk lies."""
    return folder / "checkpoints" / f"{trunk_id}.safetensors"


def write_checkpoint(folder: Path, trunk_id: str, checkpoint: Checkpoint) -> None:
    """Write the checkpoint of a trunk; the old one stays until the new one is there, whole.

    Where there are several ranks, all of them must write, each the tensors that it holds.

    Raises
    ------
    OSError
        On every rank, wherever it was.
    """
    state = checkpoint.state
    facts = {
        "trunk_id": trunk_id,
        "step": state.step,
        "looked": state.looked,
        "cell_steps": checkpoint.cell_steps,
        "cell_s": checkpoint.cell_s,
        "points": [asdict(point) for point in checkpoint.points],
    }
    path = checkpoint_path(folder, trunk_id)
    if not dist.is_initialized():
        facts[HASH] = _hash(facts, state.tensors)
        write_bytes(path, save(state.tensors, {"facts": json.dumps(facts)}))
        shutil.rmtree(path.with_suffix(""), ignore_errors=True)  # of ranks: older
        return
    place = path.with_suffix("") / str(state.step)
    if own_rank() == 0:  # what a killed trunk began to write
        shutil.rmtree(place, ignore_errors=True)
    agree(None)
    _write_shards(state.tensors, place)
    if own_rank() == 0:
        facts["seals"] = {file.name: seal(file) for file in place.iterdir()}
        facts[HASH] = _hash(facts, {})
        write_text(place / FACTS, json.dumps(facts))
        path.unlink(missing_ok=True)  # of one process: older
        for older in path.with_suffix("").iterdir():
            if older != place:
                shutil.rmtree(older, ignore_errors=True)


def _write_shards(tensors: dict[str, Tensor], place: Path) -> None:
    """Write what this rank holds; OSError on every rank, wherever it was."""
    # imported here: it takes as long as the rest of torch, and one process needs none of it
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save as save_shards

    writer = HuggingFaceStorageWriter(str(place), save_distributed=True)
    try:
        save_shards(tensors, storage_writer=writer)
    except CheckpointException as error:
        raise OSError(f"{place} cannot be written: {error.failures}") from error


def read_checkpoint(
    folder: Path, trunk_id: str, until: int, now: Callable[[], TrunkState]
) -> Checkpoint | None:
    """Read the checkpoint of a trunk; None where the trunk has to start anew.

    That is where there is no readable one, or one beyond step `until`, where the first branch
    that is still to come leaves the trunk. It need not be of as many ranks as read it: `now` is the
    state of the trunk that is to go on, and its tensors, as they lie on the ranks, are filled.
    """
    path, facts = agree(_newest(folder, trunk_id))
    if facts is None or facts["step"] > until:
        return None
    state = now()
    try:
        _fill(state.tensors, path)
        points = [Point(**point) for point in facts["points"]]
        state = TrunkState(facts["step"], facts["looked"], state.tensors)
        checkpoint = Checkpoint(state, points, facts["cell_steps"], facts["cell_s"])
    except UNREADABLE:
        checkpoint = None
    return checkpoint if everyone(checkpoint is not None) else None


def set_damaged_aside(folder: Path, trunk_id: str) -> list[str]:
    """Rename the checkpoints of a trunk that are not what was written; a line on each."""
    lines = []
    for place in _places(folder, trunk_id):
        try:
            found = _believe(place)
            why = "" if found["trunk_id"] == trunk_id else "is of another trunk"
        except UNREADABLE as error:
            why = str(error) or type(error).__name__
        if why:
            lines.append(f"{place}: {why}; kept as {set_aside(place).name}, and not gone on from")
    return lines


def _places(folder: Path, trunk_id: str) -> list[Path]:
    """Where checkpoints of the trunk lie; what ranks were writing when they were killed is none."""
    path = checkpoint_path(folder, trunk_id)
    whole = [file.parent for file in path.with_suffix("").glob(f"*/{FACTS}")]
    return [*([path] if path.is_file() else []), *whole]


def _newest(folder: Path, trunk_id: str) -> tuple[Path, dict | None]:
    """Path and facts of the checkpoint that went furthest; no facts where there is none."""
    found = []
    for place in _places(folder, trunk_id):
        with contextlib.suppress(*UNREADABLE):
            found.append((place, _believe(place)))
    ours = (pair for pair in found if pair[1]["trunk_id"] == trunk_id)
    return max(ours, key=lambda pair: pair[1]["step"], default=(Path(), None))


def _believe(path: Path) -> dict:
    """Facts of a checkpoint that is what was written; one of `UNREADABLE` if it is not."""
    tensors = {}
    if path.is_file():
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    else:
        facts = json.loads((path / FACTS).read_text("utf-8"))
        for name, kept in facts["seals"].items():
            if seal(path / name) != kept:
                raise ValueError(f"{name} is not what was written")
    if facts[HASH] != _hash(facts, tensors):
        raise ValueError("is not what was written")
    return facts


def _hash(facts: dict, tensors: dict[str, Tensor]) -> str:
    told = {name: value for name, value in facts.items() if name != HASH}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _fill(tensors: dict[str, Tensor], path: Path) -> None:
    """Read into tensors, each rank what it holds of them."""
    if path.is_dir():
        return _read_shards(tensors, path)
    with safe_open(path, framework="pt") as file:
        for name, tensor in tensors.items():
            found = file.get_tensor(name)
            if is_sharded(tensor):
                from torch.distributed.tensor import DTensor, distribute_tensor

                assert isinstance(tensor, DTensor)
                placed = (tensor.device_mesh, tensor.placements)
                found = distribute_tensor(found, *placed, src_data_rank=None)
            tensor.copy_(found)


def _read_shards(tensors: dict[str, Tensor], path: Path) -> None:
    """Read what ranks wrote; ValueError if it cannot be."""
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load as load_shards

    try:
        with warnings.catch_warnings(action="ignore"):  # that one process reads alone
            load_shards(tensors, storage_reader=HuggingFaceStorageReader(str(path)))
    except CheckpointException as error:
        raise ValueError(f"{path} cannot be read: {error.failures}") from error


def delete_checkpoint(folder: Path, trunk_id: str) -> None:
    """Remove the checkpoint of a finished trunk, begun ones too; the folder if it was the last."""
    path = checkpoint_path(folder, trunk_id)
    for file in [path, *partials(path)]:
        file.unlink(missing_ok=True)
    shutil.rmtree(path.with_suffix(""), ignore_errors=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()
