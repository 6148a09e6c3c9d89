"""Where a killed trunk goes on: one file per trunk, safetensors without pickle, written atomically.

`checkpoints/<trunk_id>.safetensors` holds weights, Adam's moments and the training curve so far; it
is deleted when the trunk is done.
"""

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from scaling.files import partials, write_bytes
from scaling.training.trunk import Point, TrunkState


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
    """Write the checkpoint of a trunk; the old one stays until the new one is there, whole."""
    state = checkpoint.state
    facts = {
        "trunk_id": trunk_id,
        "step": state.step,
        "looked": state.looked,
        "cell_steps": checkpoint.cell_steps,
        "cell_s": checkpoint.cell_s,
        "points": [asdict(point) for point in checkpoint.points],
    }
    data = save(state.tensors, {"facts": json.dumps(facts)})
    write_bytes(checkpoint_path(folder, trunk_id), data)


def read_checkpoint(folder: Path, trunk_id: str, until: int) -> Checkpoint | None:
    """Read the checkpoint of a trunk, on the CPU; None where the trunk has to start anew.

    That is where there is no readable one, or one beyond step `until`, where the first branch
    that is still to come leaves the trunk.
    """
    path = checkpoint_path(folder, trunk_id)
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            points = [Point(**point) for point in facts["points"]]
            state = TrunkState(facts["step"], facts["looked"], tensors)
            checkpoint = Checkpoint(state, points, facts["cell_steps"], facts["cell_s"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None
    ours = facts.get("trunk_id") == trunk_id and state.step <= until
    return checkpoint if ours else None


def delete_checkpoint(folder: Path, trunk_id: str) -> None:
    """Remove the checkpoint of a finished trunk, begun ones too; the folder if it was the last."""
    path = checkpoint_path(folder, trunk_id)
    for file in [path, *partials(path)]:
        file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()
