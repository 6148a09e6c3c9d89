"""What training asks of a size: rate, batch and warm-up as this laboratory measured them.

They stand here because a plan needs them as well as a training, which knows torch.
"""


def lr_rule(n_params: float, batch_tokens: int) -> float:
    """Peak AdamW learning rate: 0.0135 * (N / 50e3)^-0.62 * (B / 512)^0.5, at most 0.03.

    Of N total parameters and B tokens per step. Measured by x2 brackets on enwik8, N 14k to 540k, B
    512 to 2176, 1.5 to 96 tokens per parameter (experiments/lr_bracket.py prints the fitted
    powers); it belongs to this parametrisation. Beyond 3M parameters it is an extrapolation: set
    optim.lr. Runs of few tokens per parameter want somewhat more, long ones less. The square root
    of the batch is the rule for Adam (Malladi et al. 2022, arXiv:2205.10287).

    Examples
    --------
    >>> lr_rule(50e3, 512), lr_rule(50e3, 2048), round(lr_rule(500e3, 2048), 5)
    (0.0135, 0.027, 0.00648)
    """
    return min(0.03, 0.0135 * (n_params / 50e3) ** -0.62 * (batch_tokens / 512) ** 0.5)


def batch_rule(n_tokens: float, window: int) -> int:
    """Tokens per step for a run of D tokens: min(D / 1000, 0.58 * D^0.571), in whole windows.

    At least 512 and one window. About a thousand steps suit the smallest runs
    (experiments/lr_bracket.py); the power of D is that of Li et al. 2025 (Step Law,
    arXiv:2503.04715) and rules from 2.5M tokens up.

    Examples
    --------
    >>> [batch_rule(D, window=128) for D in (1e6, 1e8, 1e9)]
    [1024, 21504, 79872]
    """
    wanted = max(512, min(n_tokens / 1000, 0.58 * n_tokens**0.571))
    return window * max(1, round(wanted / window))


def warmup_rule(n_params: float, batch_tokens: int, steps: int) -> int:
    """Warm-up steps: N tokens, at most 10 % of the steps, at least 1.

    N tokens: Porian et al. 2024 (arXiv:2406.19146), section 3.3.

    Examples
    --------
    >>> warmup_rule(500e3, 2048, steps=4000), warmup_rule(500e3, 2048, steps=1000)
    (244, 100)
    """
    return max(1, min(round(n_params / batch_tokens), steps // 10))


def beta2_rule(batch_tokens: int) -> float:
    """Second-moment decay: 0.99 for batches of up to 4096 tokens, else 0.95.

    Small batches need the longer memory (Porian et al. 2024, arXiv:2406.19146, section 3.5); at
    2048 tokens 0.95 still costs 0.01 nats.

    Examples
    --------
    >>> beta2_rule(2048), beta2_rule(2**19)
    (0.99, 0.95)
    """
    return 0.99 if batch_tokens <= 4096 else 0.95
