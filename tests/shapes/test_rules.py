import numpy as np
import pytest

from scaling.shapes.rules import batch_rule, beta2_rule, lr_rule, warmup_rule


@pytest.mark.parametrize("n_tokens", [1e3, 2e5, 1e6, 1e7, 1e12])
@pytest.mark.parametrize("seq_len", [32, 128, 1024])
def test_batches_are_whole_windows(n_tokens, seq_len):
    assert batch_rule(n_tokens, seq_len) % seq_len == 0
    assert batch_rule(n_tokens, seq_len) >= 512
    assert batch_rule(n_tokens, seq_len) <= max(512, seq_len, 1.5 * n_tokens / 1000)


def test_rules_are_monotone():
    sizes = np.geomspace(1e4, 1e9, 30)
    assert (np.diff([lr_rule(n, 512) for n in sizes]) <= 0).all()
    assert (np.diff([batch_rule(d, 128) for d in sizes]) >= 0).all()
    assert beta2_rule(512) > beta2_rule(8192)
    assert warmup_rule(1e5, 1000, 10_000) == 100
    assert warmup_rule(1e5, 1000, 500) == 50
    assert warmup_rule(10, 1000, 5) == 1
