"""All token ids of a split on the device, from which windows are gathered there.

The host draws the order of the windows only (`scaling.data.order`): 8 bytes a window are moved in
place of 8 bytes a token, and a chunk of windows is one kernel.

Shape suffixes: P places in the order of training, N tokens of a window.
"""

import numpy as np
import torch
from torch import Tensor

from scaling.data.objectives import CausalLM, Objective, count_windows
from scaling.data.order import Mixture, window_order
from scaling.data.shards import Ids

SHARE = 0.05  # of the device's memory that the ids of one worker may take
BLOCK = 2**24  # ids moved at a time
SIGNED = {1: (torch.uint8, np.uint8), 2: (torch.int16, np.int16), 4: (torch.int32, np.int32)}


class ResidentIds:
    """Ids in the width that they have on disk; torch lacks unsigned ones, so the sign is undone."""

    def __init__(self, tokens: Ids, objective: CausalLM, seed: int, device: str):
        self.n_windows, self.seed = count_windows(len(tokens), objective), seed
        self.text, self.device = objective.window.text, device
        size = tokens.dtype.itemsize
        stored, view = SIGNED[size]
        self.mask = 2 ** (8 * size) - 1
        self.ids = torch.empty(len(tokens), dtype=stored, device=device)
        for start in range(0, len(tokens), BLOCK):
            block = np.array(tokens[start : start + BLOCK]).view(view)  # from_numpy wants to write
            self.ids[start : start + len(block)].copy_(torch.from_numpy(block))
        self.within_N = torch.arange(self.text + objective.overlap, device=device)

    def draw(self, places_P: np.ndarray) -> Tensor:
        """Windows at these places of the order of training: int64, shape (P, N)."""
        starts_P = move(window_order(places_P, self.n_windows, self.seed) * self.text, self.device)
        return self.ids[starts_P[:, None] + self.within_N].long() & self.mask


def hold_ids(
    tokens: Ids | Mixture, objective: Objective, seed: int, device: str
) -> ResidentIds | None:
    """Put the ids on a GPU; None where windows are made on the host.

    That is so on a CPU, of mixtures, of objectives that hide something of a window, and of splits
    that would take more than `SHARE` of the GPU's memory.
    """
    if not device.startswith("cuda") or isinstance(tokens, Mixture):
        return None
    size = tokens.dtype.itemsize
    if not isinstance(objective, CausalLM) or size not in SIGNED:
        return None
    memory = torch.cuda.get_device_properties(device).total_memory
    fits = len(tokens) * size <= SHARE * memory
    return ResidentIds(tokens, objective, seed, device) if fits else None


def move(array: np.ndarray, device: str) -> Tensor:
    """Copy to a device; a GPU copies while the host goes on, from memory that stays in place."""
    tensor = torch.from_numpy(array)
    if not device.startswith("cuda"):
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
