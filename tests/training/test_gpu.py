"""What only a GPU can show; `pytest -m gpu` runs it, and skips it by name where there is none."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from recipes import TINY

from scaling.data.resident import hold_ids
from scaling.models.gpt import GPT
from scaling.models.kernels import Kernels
from scaling.models.losses import head_loss
from scaling.shapes.shape import Shape
from scaling.training.batched import Members
from scaling.training.calibration import machine_key
from scaling.training.cells import group_trunks
from scaling.training.optim import OptimConfig
from scaling.training.origins import ask_worker
from scaling.training.service import side_by_side
from scaling.training.sharing import measure_together
from scaling.training.trunk import Branching, Outcome, Point, TrunkTraining
from scaling.training.worker import settle_process

SHAPE = Shape(vocab_size=64, seq_len=32, n_layers=2, width=64, n_heads=4)
RECIPES = [replace(TINY, steps=n, cooldown_steps=n // 5) for n in (40, 60)]
TOKENS = (np.cumsum(np.random.default_rng(0).integers(0, 3, 40_000)) % 64).astype(np.uint16)
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here"),
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(autouse=True)
def settled():
    """As in a worker; the workspace of cuBLAS is read when the first product is made."""
    settle_process("cuda:0")
    yield
    torch.use_deterministic_algorithms(False)


def trunk(**options):
    usual = {"device": "cuda:0", "valid_windows": 32}
    return TrunkTraining(SHAPE, RECIPES, TOKENS, TOKENS, **(usual | options))


def told(news):
    """Losses of all points and ends."""
    return [n.loss for n in news if isinstance(n, Point | Outcome)]


@pytest.fixture(scope="module")
def on_gpu():
    settle_process("cuda:0")
    training = trunk()
    return training, list(training.run())


def test_a_step_is_one_graph_and_its_ids_lie_on_the_gpu(on_gpu):
    training, _ = on_gpu
    assert training.static.failure == ""
    assert training.static.graph is not None
    assert training.held is not None


def test_losses_are_those_of_a_cpu(on_gpu):
    on_cpu = told(trunk(device="cpu").run())
    np.testing.assert_allclose(told(on_gpu[1]), on_cpu, rtol=0, atol=2e-3)
    np.testing.assert_allclose(told(on_gpu[1])[:10], on_cpu[:10], rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [
    replace(SHAPE, family="bert"),
    replace(SHAPE, family="t5"),
    replace(SHAPE, ffn="swiglu", n_kv_heads=2, tied=False),
], ids=["bert", "t5", "llama"])  # fmt: skip
def test_other_shapes_are_recorded_and_have_the_losses_of_a_cpu(shape):
    losses = []
    for device in ("cpu", "cuda:0"):
        training = TrunkTraining(shape, RECIPES, TOKENS, TOKENS, device=device, valid_windows=32)
        losses.append(told(training.run()))
    assert training.static.failure == ""
    for points, atol in ((15, 1e-4), (None, 0.05)):  # rounding grows from step to step
        np.testing.assert_allclose(losses[0][:points], losses[1][:points], rtol=0, atol=atol)


def test_a_graph_has_the_losses_of_plain_steps(on_gpu):
    """Up to the rate, which the graph reads in fp32."""
    plain = trunk(static=False)
    assert plain.static is None
    np.testing.assert_allclose(told(plain.run()), told(on_gpu[1]), rtol=0, atol=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_a_stopped_trunk_goes_on_bit_for_bit(precision):
    whole, seen, kept = trunk(precision=precision), [], None
    for news in whole.run():
        if kept is None and isinstance(news, Branching):
            kept = whole.state(), len(seen)
        seen.append(news)
    assert list(trunk(precision=precision, state=kept[0]).run()) == seen[kept[1] :]


def test_a_branch_is_bit_for_bit_the_run_of_that_length(on_gpu):
    alone = TrunkTraining(
        SHAPE, RECIPES[1:], TOKENS, TOKENS, device="cuda:0", valid_windows=32
    ).run()
    [end] = [news for news in alone if isinstance(news, Outcome)]
    assert end.loss == next(n.loss for n in on_gpu[1] if isinstance(n, Outcome) and n.branch == 1)


def test_compiled_steps_are_recorded_too(on_gpu):
    compiled = trunk(kernels=Kernels(compiled=True))
    np.testing.assert_allclose(told(compiled.run()), told(on_gpu[1]), rtol=0, atol=5e-3)
    assert compiled.static.failure == ""


def test_batches_from_ids_on_the_gpu_are_the_hosts():
    held, hosted = trunk(), trunk()
    hosted.held = None
    for ours, theirs in zip(held._batches(0, 9, 8), hosted._batches(0, 9, 8), strict=True):
        assert ours[0].equal(theirs[0])
    huge = np.broadcast_to(np.uint16(0), 2**40)
    assert hold_ids(huge, held.objective, 0, "cuda:0") is None


def test_tf32_rounds_and_fp32_does_not():
    a, b = torch.randn(2, 256, 256, device="cuda:0")
    exact = (a.double() @ b.double()).float()
    errors = {}
    for precision in ("tf32", "fp32"):
        trunk(precision=precision)
        errors[precision] = ((a @ b - exact).norm() / exact.norm()).item()
    assert errors["fp32"] < 2e-6 < 5e-5 < errors["tf32"] < 2e-3


def test_pieces_of_a_large_vocabulary_take_less_memory():
    model = GPT(replace(SHAPE, vocab_size=32_000), 0).cuda()
    windows, peaks, losses = torch.randint(32_000, (16, 33), device="cuda:0"), [], []
    for whole in (2**28, 0):
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()  # by other tests too
        x = model.norm(model.stream(windows[:, :-1]))
        loss = head_loss(model.head, x, windows[:, 1:], 32_000, whole=whole, piece=2**20).mean()
        loss.backward()
        peaks.append(torch.cuda.max_memory_allocated() - held)
        losses.append(loss.item())
        model.zero_grad(set_to_none=True)
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert peaks[1] < peaks[0] / 2


def test_members_are_the_cpus():
    losses = []
    for device in ("cpu", "cuda:0"):
        members = Members(SHAPE, [0, 1], RECIPES[0], device)
        windows = torch.arange(2 * 4 * 33).reshape(2, 4, 33).remainder(64).to(device)
        rates = torch.tensor([0.01, 0.003], device=device)
        losses.append([members.step(windows, rates).tolist() for _ in range(5)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=0, atol=1e-4)


def test_what_asks_a_gpu_its_name_holds_none_of_it():
    """In a process of its own, since this one has trained."""
    assert ask_worker(names_a_gpu)


def names_a_gpu():
    return bool(machine_key("cuda:0")) and not torch.cuda.is_initialized()


def test_two_workers_share_a_gpu(plan_noise):
    [trunk, *_] = group_trunks(plan_noise([2e11], OptimConfig(batch_tokens=1024)))
    with side_by_side():
        assert [n for n, _ in measure_together(trunk.cells[0], "cuda:0", (1, 2))] == [1, 2]
