"""What the tests that run whole sweeps share."""

TINY = [
    "grid=smoke",
    "data=synthetic",
    "grid.budgets=[2e8,4e8]",
    "grid.widths=[4,8,12,16]",
    "grid.min_steps=1",
    "model.seq_len=32",
    "valid_tokens=4096",
    "data.synthetic_train_tokens=200000",
    "fit.bootstrap=20",
]
TIMING = ["wall_s", "tokens_per_s", "flops_per_s", "peak_memory_bytes"]  # what the clock decides
