import numpy as np
import pytest

from scaling.course.claims import (
    CLAIMS_DIFFER,
    COURSE_BYTES,
    T5_LAYERS,
    T5_VOCABULARY,
    ZHAO_MODELS,
    billion_table,
    course_table,
    zhao_table,
)


@pytest.fixture
def course():
    return course_table().set_index(["params", "bits"])


def test_the_shapes_have_the_sizes_that_zhao_print():
    """Matrices L*(12*d*a + 4*d*f) + V*d, norms and position biases left out."""
    t5 = ZHAO_MODELS
    layers = T5_LAYERS * (12 * t5.width * t5.attention + 4 * t5.width * t5.hidden)
    np.testing.assert_allclose(layers + T5_VOCABULARY * t5.width, t5.params, rtol=0.002)


@pytest.mark.parametrize(
    "precision, n_devices", [("fp32", 8), ("bf16_autocast", 8), ("bf16_mixed", 8), ("fp32", 512)]
)
def test_80_gb_hold_what_zhao_et_al_trained(precision, n_devices):
    """8 sequences of 512 tokens a device with full recompute: our choice of work."""
    table = zhao_table(precision=precision, n_devices=n_devices).set_index("model")
    assert (table.ddp_fits == table.ddp_measured).all()
    assert (table.fsdp_fits == table.fsdp_measured).all()
    assert table.ddp_fits.tolist() == [True, True, False]
    assert table.state_gb["T5-11.3B"] == pytest.approx(16 * 11.3)
    assert table.fsdp_devices["T5-11.3B"] == 3


def test_without_recompute_ddp_still_holds_the_two_small_ones_at_a_smaller_batch():
    table = zhao_table(recompute="none").set_index("model")
    assert table.ddp_sequences.tolist() == [14, 4, 0]
    assert not table.ddp_fits["T5-2.28B"]  # 8 sequences are too many, 4 are not


def test_course_storage(course):
    for params, gigabytes in ((1e9, 4), (175e9, 700), (500e9, 2000)):
        for bits in (32, 16, 8):
            assert course.store_gb[params, bits] == pytest.approx(gigabytes * bits / 32)


def test_course_training(course):
    assert sum(COURSE_BYTES.values()) == 4 + 20
    for params, gigabytes in ((1e9, 24), (175e9, 4200), (500e9, 12_000)):
        for bits in (32, 16, 8):
            assert course.course_train_gb[params, bits] == pytest.approx(gigabytes * bits / 32)
    assert course.other_claim_gb[1e9, 32] == 80 == 20 * course.store_gb[1e9, 32]
    assert "20 times" in CLAIMS_DIFFER


def test_sixteen_bits_do_not_halve_training(course):
    for params in (1e9, 175e9, 500e9):
        assert course.state_gb[params, 16] == course.state_gb[params, 32] == 16 * params / 1e9
    assert course.state_devices[500e9, 32] == 100


def test_what_a_billion_parameters_take():
    table = billion_table().set_index("claim")
    assert table.total["4 + 20 extra"] == 24
    assert table.total["20 times 4"] == 80
    parts = table[["weights", "moments", "gradients", "activations"]].sum(axis=1)
    assert parts.tolist() == pytest.approx(table.total.tolist())
    # the course's 8 bytes are about one sequence of 2,048 tokens, the other claim's 64 about ten
    assert table.tokens["4 + 20 extra"] / 2048 == pytest.approx(1.3, abs=0.1)
    assert table.tokens["20 times 4"] / 2048 == pytest.approx(10.3, abs=0.1)
    assert table.total["ours, one sequence"] == pytest.approx(22.2, abs=0.1)
