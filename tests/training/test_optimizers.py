from dataclasses import replace

import numpy as np
import pytest
import torch
from recipes import TINY
from torch.utils.flop_counter import FlopCounterMode

from scaling.models.build import build_model
from scaling.shapes.flops import muon_flops
from scaling.shapes.shape import ModelConfig, Shape, shape_for_width
from scaling.training.optim import refuse_optimizer
from scaling.training.optimizers import Muon, orthogonalise
from scaling.training.parallel import blocks_of
from scaling.training.trunk import Branching, Outcome, Point, TrunkTraining

SHAPE = Shape(vocab_size=16, seq_len=8, n_layers=1, width=16, n_heads=1)
MUON = replace(
    TINY, lr=0.03, batch_size=16, steps=100, warmup_steps=10, cooldown_steps=20, optimizer="muon"
)
SIDES = [(24, 8), (8, 24), (16, 16)]
CYCLE = np.tile(np.arange(16, dtype=np.uint16), 2000)  # the next token is always the last plus one
pytestmark = pytest.mark.usefixtures("one_thread")


def trunk(recipes, **options):
    return TrunkTraining(SHAPE, recipes, CYCLE, CYCLE, valid_windows=32, **options)


def test_muon_learns_a_cycle_and_goes_on_bit_for_bit_where_it_was_stopped():
    """Two horizons; stopped on the trunk after each piece of news; another seed is another run."""
    horizons = [replace(MUON, steps=50, cooldown_steps=10), MUON]
    training, seen, stops = trunk(horizons), [], []
    for news in training.run():
        on_trunk = isinstance(news, Branching) or (isinstance(news, Point) and news.branch is None)
        if on_trunk and len(seen) in (9, 30):
            stops.append((training.state(), len(seen) + isinstance(news, Point)))
        seen.append(news)
    short, long = (n for n in seen if isinstance(n, Outcome))
    assert (short.status, long.status) == ("ok", "ok")
    assert long.loss < 0.05
    for state, first in stops:
        assert [*trunk(horizons, state=state).run()] == seen[first:]
    *_, alone = trunk([MUON]).run()
    assert replace(alone, branch=1) == long


@pytest.mark.parametrize("shape", SIDES)
def test_singular_values_come_near_1_and_their_vectors_stay(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    values = (left.T @ orthogonalise(matrix) @ right.T).numpy()
    assert np.abs(values - np.diag(values.diagonal())).max() < 1e-4
    assert (values.diagonal() > 0.6).all() and (values.diagonal() < 1.25).all()


def test_steps_are_those_of_torch_up_to_the_rounding_of_bf16():
    start = [torch.randn(shape, generator=torch.Generator().manual_seed(3)) for shape in SIDES]
    theirs = [torch.nn.Parameter(p.clone()) for p in start]
    ours = [torch.nn.Parameter(p.clone()) for p in start]
    rest = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    known = torch.optim.Muon(theirs, lr=0.1, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    optimizers = Muon(ours, rest, 0.1), known
    draw = torch.Generator().manual_seed(4)
    for _ in range(3):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=draw)
            other.grad = one.grad.detach().clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other, before in zip(ours, theirs, start, strict=True):
        assert (one - other).norm() < 0.03 * (other - before).norm()


@pytest.mark.parametrize("family, ffn", [("gpt", "gelu"), ("gpt", "swiglu"), ("t5", "gelu")])
def test_products_of_muon_are_counted_as_torch_counts_them(family, ffn):
    shape = shape_for_width(32, 64, ModelConfig(family=family, ffn=ffn, seq_len=16))
    blocks = blocks_of(build_model(shape, 0))
    matrices = [p.detach() for block in blocks for p in block.parameters() if p.ndim == 2]
    with FlopCounterMode(display=False) as counter:
        for matrix in matrices:
            orthogonalise(matrix)
    assert counter.get_total_flops() == muon_flops(shape)


def test_muon_is_refused_where_nobody_tried_it():
    with pytest.raises(ValueError, match="muon with precision=int4 was never tried; use"):
        refuse_optimizer("muon", "int4")
    with pytest.raises(ValueError, match="muon with parallel=fsdp: it wants whole matrices"):
        refuse_optimizer("muon", "fp32", "fsdp")
    refuse_optimizer("adamw", "int4", "fsdp")
