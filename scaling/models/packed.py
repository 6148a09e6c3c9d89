"""A quantised model as tensors to write: integers packed without a gap, scales beside them."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scaling.models.quantised import decode, encode, quantised_parts, trained_scale
from scaling.models.storage import Storage

CODES, SCALE, INPUT = ".codes", ".scale", ".input_scale"


def pack(codes: Tensor, bits: int) -> Tensor:
    """Codes of so many bits as bytes without a gap, lowest bit first: ceil(n bits / 8) of them."""
    unsigned = codes.flatten().to(torch.int32) + 2 ** (bits - 1)
    stream = ((unsigned[:, None] >> torch.arange(bits)) & 1).flatten()
    octets = F.pad(stream, (0, -len(stream) % 8)).view(-1, 8)
    return (octets << torch.arange(8)).sum(1).to(torch.uint8)


def unpack(packed: Tensor, bits: int, shape: torch.Size) -> Tensor:
    """Return the codes that `pack` was given, int8, of this shape."""
    stream = ((packed[:, None].to(torch.int32) >> torch.arange(8)) & 1).flatten()
    n = shape.numel()
    unsigned = (stream[: n * bits].view(n, bits) << torch.arange(bits)).sum(1)
    return (unsigned - 2 ** (bits - 1)).to(torch.int8).view(shape)


def pack_model(
    model: nn.Module, storage: Storage | None, parameters: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Parameters by name, a tied head once; of what is quantised the codes and scales instead.

    The scales are those that training has learned, where it has. `parameters` stand for those of a
    model that lies on several ranks.
    """
    parameters = parameters or dict(model.named_parameters())
    tensors = {n: p.detach() for n, p in parameters.items() if ".quantiser." not in n}
    for name, _ in () if storage is None else quantised_parts(model, storage.parts):
        assert storage is not None
        if (weight := tensors.pop(f"{name}.weight", None)) is None:
            continue  # a tied head has gone with its table
        clip = parameters.get(f"{name}.quantiser.clip")
        codes, scale = encode(weight, storage, trained_scale(weight.float(), storage, clip))
        tensors[name + CODES] = pack(codes, storage.bits) if storage.is_integer else codes
        if scale is not None:
            tensors[name + SCALE] = scale.detach()
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}


def unpack_model(
    tensors: Mapping[str, Tensor], model: nn.Module, storage: Storage
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Parameters by name that codes and scales stand for, and the scales of the inputs."""
    left, inputs = dict(tensors), {}
    for name in [n for n in left if n.endswith(INPUT)]:
        inputs[name.removesuffix(INPUT)] = left.pop(name)
    for name, part in quantised_parts(model, storage.parts):
        if (codes := left.pop(name + CODES, None)) is None:
            continue
        codes = unpack(codes, storage.bits, part.weight.shape) if storage.is_integer else codes
        left[f"{name}.weight"] = decode(codes, left.pop(name + SCALE, None), storage)
    return left, inputs
