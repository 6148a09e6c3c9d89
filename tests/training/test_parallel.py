"""Trunks on several ranks give the numbers of one process; every mode runs in one launch."""

import pickle
import shutil
import traceback
from dataclasses import replace

import numpy as np
import pytest
import torch
from recipes import TINY

from scaling.models.kernels import PLAIN
from scaling.shapes.shape import Shape
from scaling.training.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from scaling.training.optim import lr_at
from scaling.training.origins import forkserver
from scaling.training.parallel import host_ranks, joined, whole_weights
from scaling.training.strategy import ParallelConfig
from scaling.training.trunk import Branching, Point, TrunkTraining, update

SHAPE = Shape(vocab_size=64, seq_len=32, n_layers=2, width=16, n_heads=2)
pytestmark = pytest.mark.usefixtures("one_thread")
RECIPE = replace(
    TINY, steps=20, cooldown_steps=4, beta2=0.99, grad_clip=0.3
)  # clipping at work in every step
HORIZONS = [RECIPE, replace(RECIPE, steps=30, cooldown_steps=6)]
STREAM = np.tile(np.random.default_rng(0).permutation(64), 400).astype(np.uint16)
STOP = 13  # a point of the curve; where the checkpoint is
CLOSE = 1e-5  # nats/token


def training(plan=None, shape=SHAPE, recipes=HORIZONS, **options):
    options |= {} if plan is None else {"plan": plan}
    return TrunkTraining(shape, recipes, STREAM, STREAM[:3000], valid_windows=63, **options)


def plans(ranks):
    sharded = [ParallelConfig(mode, ranks) for mode in ("zero2", "fsdp")]
    found = [ParallelConfig("ddp", ranks), ParallelConfig("zero1", ranks), *sharded]
    found += [replace(sharded[1], offload=True), replace(sharded[1], sharding_factor=1)]
    found += [replace(plan, recompute=True) for plan in (found[0], sharded[1])]
    return found + ([ParallelConfig("hsdp", ranks, 2)] if ranks > 2 else [])


def train(plan, folder):
    """News of a trunk that leaves a checkpoint, and of another that goes on from there."""
    told, first = [], training(plan)
    for news in first.run():
        told.append(news)
        if isinstance(news, Point) and news.step == STOP:
            write_checkpoint(folder, plan.label, Checkpoint(first.state(), [], 0, 0.0))
    return told, go_on(training(plan), folder, plan.label)


def go_on(stopped, folder, name):
    found = read_checkpoint(folder, name, STOP, stopped.state)
    assert found is not None and found.state.step == STOP
    stopped.restore(found.state)
    return list(stopped.run())


def losses(told):
    return [news.loss for news in told if not isinstance(news, Branching)]


# ---------------------------------------------------------------- one launch


def launch(task, ranks, folder):
    """Run `task(ranks, folder)` on ranks of their own; what the first returns."""
    context, meeting = forkserver(), host_ranks()
    arguments = [(task, rank, ranks, meeting.port, folder) for rank in range(ranks)]
    processes = [context.Process(target=be_rank, args=a, daemon=True) for a in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        process.kill()
    for rank in range(ranks):
        found, error = pickle.loads((folder / f"{rank}.pickle").read_bytes())
        assert not error, error
        if rank == 0:
            told = found
    return told


def be_rank(task, rank, ranks, port, folder):
    torch.set_num_threads(1)
    try:
        with joined(ParallelConfig("ddp", ranks), rank=rank, port=port):
            result = task(ranks, folder), ""
    except BaseException:
        result = None, traceback.format_exc()
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(result))


def every_mode(ranks, folder):
    return [(plan, *train(plan, folder)) for plan in plans(ranks)]


def all_that_modes_do(ranks, folder):
    """What every mode tells, what goes on from one process' checkpoint, and what else is asked."""
    told = every_mode(ranks, folder)
    from_one = go_on(training(ParallelConfig("fsdp", ranks)), folder, "alone")
    weights = {mode: weights_of(ParallelConfig(mode, ranks)) for mode in ("ddp", "fsdp")}
    others = [(shape, told_of(shape, plan)) for shape in OTHERS for plan in plans(ranks)[:4:3]]
    low = told_of(SHAPE, ParallelConfig("fsdp", ranks, param_dtype="bf16"), precision="bf16")
    wild = told_of(SHAPE, ParallelConfig("fsdp", ranks), WILD)
    few = [told_of(SHAPE, plan, precision="int4_all") for plan in plans(ranks)[:4]]
    return told, from_one, weights, others, low, wild, few


OTHERS = [replace(SHAPE, family=family) for family in ("bert", "t5")]
SHORT = replace(RECIPE, steps=5, cooldown_steps=1)
WILD = replace(RECIPE, lr=1e9, warmup_steps=0, grad_clip=1e9)


def told_of(shape, plan=None, recipe=SHORT, **options):
    return list(training(plan, shape, [recipe], **options).run())


def weights_of(plan):
    """Whole weights after training without a branch."""
    trunk = training(plan, recipes=[RECIPE])
    assert not list(trunk.advance(RECIPE, 0))
    for _ in trunk.advance(RECIPE, RECIPE.steps):
        pass
    return whole_weights(trunk.model)


def weights_by_slices(ranks):
    """Those of one process that accumulates the gradients of the ranks' slices."""
    trunk = training(recipes=[RECIPE], kernels=PLAIN)  # as theirs
    for step, (batch,) in enumerate(trunk._batches(0, RECIPE.steps, RECIPE.batch_size)):
        *others, last = (trunk.model.loss(part).mean() / ranks for part in batch.chunk(ranks))
        for loss in others:
            loss.backward()
        update(trunk.model, trunk.optimizer, last, lr_at(step, RECIPE), RECIPE.grad_clip)
    return {name: p.detach() for name, p in trunk.model.named_parameters()}


# ---------------------------------------------------------------- what it shows


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """News of the trunk in one process, and the folder of its checkpoint."""
    torch.set_num_threads(1)
    folder, told, trunk = tmp_path_factory.mktemp("alone"), [], training()
    for news in trunk.run():
        told.append(news)
        if isinstance(news, Point) and news.step == STOP:
            write_checkpoint(folder, "alone", Checkpoint(trunk.state(), [], 0, 0.0))
    assert losses(told)[-1] < 3.7 < losses(told)[0]  # it learns
    return told, folder


def check_news(told, expected):
    assert [type(news) for news in told] == [type(news) for news in expected]
    np.testing.assert_allclose(losses(told), losses(expected), rtol=0, atol=CLOSE)


def check_modes(found, expected, folder):
    for plan, told, gone_on in found:
        check_news(told, expected)
        check_news(gone_on, told[-len(gone_on) :])
        if plan.ranks == 2:  # sums of more terms depend on DDP's buckets, which change once
            assert gone_on == told[-len(gone_on) :], plan.label
        check_news(go_on(training(), folder, plan.label), expected[-len(gone_on) :])


@pytest.mark.long
def test_two_ranks_give_the_numbers_of_one_process(one_process, tmp_path):
    expected, folder = one_process
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    found, from_one, weights, others, low, wild, few = launch(all_that_modes_do, 2, tmp_path)
    check_modes(found, expected, tmp_path)
    check_news(from_one, expected[-len(from_one) :])
    for shape, told in others:
        check_news(told, told_of(shape))
    autocast = losses(told_of(SHAPE, precision="bf16"))
    np.testing.assert_allclose(losses(low), autocast, rtol=0, atol=0.02)  # all of it in bf16
    for told in few:  # a weight between two levels may go the other way
        expected = losses(told_of(SHAPE, precision="int4_all"))
        np.testing.assert_allclose(losses(told), expected, rtol=0, atol=100 * CLOSE)
    assert wild[-1].status == told_of(SHAPE, recipe=WILD)[-1].status == "diverged"
    for name, w in weights_by_slices(2).items():
        assert torch.equal(weights["ddp"][name], w)  # sums of two terms have one order
        torch.testing.assert_close(weights["fsdp"][name], w, rtol=0, atol=CLOSE)
    shard = max(tmp_path.glob(f"checkpoints/fsdp x2/{STOP}/*.safetensors"))
    whole = shard.read_bytes()
    for damage in (b"\xff" * len(whole), whole[:-20], None):  # garbled, cut short, lost
        shard.unlink() if damage is None else shard.write_bytes(damage)
        assert read_checkpoint(tmp_path, "fsdp x2", STOP, training().state) is None


@pytest.mark.long
def test_four_ranks_give_the_numbers_of_one_process(one_process, tmp_path):
    check_modes(launch(every_mode, 4, tmp_path), one_process[0], tmp_path)


def test_recomputing_blocks_changes_no_bit(one_process):
    plan = ParallelConfig(recompute=True)
    trunk = training(plan)
    assert list(trunk.run()) == one_process[0]
    batch = next(trunk._batches(0, 1, 8))
    kept = [kept_by(t.model.loss, batch) for t in (trunk, training())]
    assert kept[0] < 0.7 * kept[1]


def kept_by(loss_of, batch):
    """Bytes that a forward keeps for its backward."""
    storages = {}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss_of(*batch).sum()
    return sum(storages.values())
