import pytest

from scaling.errors import SweepError
from scaling.training import pool
from scaling.training.optim import OptimConfig
from scaling.training.strategy import (
    ALONE_ONLY,
    ParallelConfig,
    check_batches,
    check_launch,
    check_parallel,
)

REFUSED = {
    r"parallel.mode='ddq': choose one of \('none', 'ddp'": ParallelConfig("ddq", 2),
    r"parallel.param_dtype='fp16': choose one of": ParallelConfig("fsdp", 2, param_dtype="fp16"),
    "parallel.ranks=0 must be at least 1": ParallelConfig("ddp", 0),
    r"parallel.ranks=2 needs a strategy: parallel=ddp\|": ParallelConfig(ranks=2),
    "sharding_factor=3 must divide parallel.ranks=4": ParallelConfig("fsdp", 4, 3),
    "sharding_factor=8 must divide parallel.ranks=4": ParallelConfig("fsdp", 4, 8),
    "sharding_factor=-1 must divide": ParallelConfig("fsdp", 4, -1),
    "sharding_factor=2: zero1 keeps every parameter": ParallelConfig("zero1", 2, 2),
    "between 1 and parallel.ranks=2, not 2": ParallelConfig("hsdp", 2, 2),
    "between 1 and parallel.ranks=4, not None": ParallelConfig("hsdp", 4),
    r"offload=True is FSDP's; use parallel=zero2\|": ParallelConfig("ddp", 2, offload=True),
    "parallel.param_dtype=bf16 is FSDP's": ParallelConfig("zero1", 2, param_dtype="bf16"),
    "changes the numbers, .* add precision=bf16": ParallelConfig("fsdp", 2, param_dtype="bf16"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_strategy_that_is_none_is_refused(message):
    with pytest.raises(ValueError, match=message):
        check_parallel(REFUSED[message])


@pytest.mark.parametrize("precision", ["fp8", "fp16", "bf16_pure"])
def test_a_precision_of_one_process_is_refused_with_its_reason(precision):
    check_parallel(ParallelConfig(recompute=True), precision)
    told = f"parallel=ddp with precision={precision}: {ALONE_ONLY[precision]}; use precision=fp32"
    with pytest.raises(ValueError, match=told):
        check_parallel(ParallelConfig("ddp", 2), precision)
    check_parallel(ParallelConfig("ddp", 2), "int4_learned_all")


@pytest.mark.parametrize(
    ("plan", "shards", "label"),
    [
        (ParallelConfig(), 1, "none"),
        (ParallelConfig(recompute=True), 1, "none recompute"),
        (ParallelConfig("ddp", 2), 1, "ddp x2"),
        (ParallelConfig("zero1", 4, 1), 1, "zero1 x4"),
        (ParallelConfig("zero2", 4), 4, "zero2 x4"),
        (ParallelConfig("fsdp", 4, 1), 1, "fsdp 4x1"),
        (ParallelConfig("fsdp", 1, offload=True), 1, "fsdp x1 offload"),
        (ParallelConfig("hsdp", 8, 2, param_dtype="bf16"), 2, "hsdp 4x2 bf16"),
    ],
)
def test_a_strategy_says_what_it_is(plan, shards, label):
    check_parallel(plan, "bf16")
    assert (plan.shards, plan.label) == (shards, label)


def test_ranks_must_divide_every_batch(plan_noise):
    cells = plan_noise([2e8], OptimConfig(batch_tokens=256))  # windows of 16 tokens
    check_batches(ParallelConfig("ddp", 4), cells)
    with pytest.raises(ValueError, match=r"ranks=3 does not divide the 16 .* multiple of 48"):
        check_batches(ParallelConfig("ddp", 3), cells)


def test_ranks_that_torchrun_started_must_be_those_of_the_plan(monkeypatch):
    check_launch(ParallelConfig())
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_launch(ParallelConfig("ddp", 2))
    for plan in (ParallelConfig(), ParallelConfig("fsdp", 4, 2)):
        with pytest.raises(ValueError, match=r"2 ranks were started .* add parallel.ranks=2"):
            check_launch(plan)


def test_every_rank_needs_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    pool.check_devices(ParallelConfig("ddp", 4), "cuda")
    pool.check_devices(ParallelConfig("ddp", 64), "cpu")
    with pytest.raises(SweepError, match=r"ranks=8: a rank needs a GPU .* device=cuda has 4"):
        pool.check_devices(ParallelConfig("ddp", 8), "cuda")
    with pytest.raises(SweepError, match=r"device=cuda:1 has 1"):
        pool.check_devices(ParallelConfig("ddp", 2), "cuda:1")
    assert pool.place_of_workers("cuda", 2, 2) == [("cuda:0", "cuda:1"), ("cuda:2", "cuda:3")]
