import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scaling.hardware.activations import (
    COUNTINGS,
    Network,
    activation_bytes,
    layer_bytes_per_token,
)
from scaling.models.build import build_model
from scaling.models.gpt import GPT
from scaling.planning.placement import network_of
from scaling.shapes.shape import Shape

SHAPES = {
    "gelu": Shape(vocab_size=300, seq_len=64, n_layers=2, width=64, n_heads=4),
    "swiglu": Shape(
        vocab_size=256, seq_len=48, n_layers=3, width=96, n_heads=6, n_kv_heads=2, ffn="swiglu",
        tied=False,
    ),
    "narrow": Shape(vocab_size=1024, seq_len=128, n_layers=1, width=16, n_heads=1),
}  # fmt: skip
T5S = {
    "t5": Shape(vocab_size=300, seq_len=64, n_layers=2, width=64, n_heads=4, family="t5"),
    "t5 swiglu": Shape(
        vocab_size=256, seq_len=48, n_layers=3, width=96, n_heads=6, n_kv_heads=2, ffn="swiglu",
        tied=False, family="t5",
    ),
}  # fmt: skip
sizes = st.integers(1, 9)


def kept_by_torch(shape, n_sequences, autocast=False, pure=False):
    """Bytes of all storages that autograd keeps, weights and rotary tables left out."""
    model, kept, window = build_model(shape), {}, shape.window
    if pure:
        model = model.to(torch.bfloat16)
    lengths = (window.inputs, window.targets) if shape.family == "t5" else (window.inputs + 1,)
    batch = [torch.zeros(n_sequences, length, dtype=torch.int64) for length in lengths]
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
    ):
        loss = model.loss(*batch).mean()
    assert loss.grad_fn is not None  # alive until here: no storage was freed and used again
    return sum(kept.values())


@pytest.mark.parametrize("n_sequences", [1, 5])
@pytest.mark.parametrize("name", SHAPES)
def test_fp32_activations_are_what_torch_keeps(name, n_sequences):
    shape = SHAPES[name]
    used = activation_bytes(network_of(shape), n_sequences, counting="gpt_cpu", element_bytes=4)
    torchs = kept_by_torch(shape, n_sequences)
    assert used.kept + used.logits == pytest.approx(torchs, rel=0.05)
    tokens = 2 * 8 * n_sequences * shape.seq_len  # a single sequence shares them with its targets
    assert abs(used.kept + used.logits - torchs) < tokens + 64  # and a few scalars of the loss


@pytest.mark.parametrize("name", T5S)
@pytest.mark.parametrize("element_bytes", [4, 2])
def test_an_encoder_and_cross_attention_are_counted(name, element_bytes):
    shape, options = T5S[name], {"counting": "gpt_cpu", "element_bytes": element_bytes}
    used = activation_bytes(network_of(shape), 3, **options)
    torchs = kept_by_torch(shape, 3, pure=element_bytes == 2)
    assert used.kept + used.logits == pytest.approx(torchs, rel=1e-3)


@pytest.mark.parametrize("name", SHAPES)
def test_autocast_activations_are_what_torch_keeps(name):
    shape = SHAPES[name]
    used = activation_bytes(
        network_of(shape), 3, counting="gpt_cpu", element_bytes=2, stream_bytes=4
    )
    casts = 2 * sum(p.numel() for p in GPT(shape).parameters())
    torchs = kept_by_torch(shape, 3, autocast=True)
    assert used.kept + used.logits + casts == pytest.approx(torchs, rel=0.05)


@given(layers=sizes, heads=sizes, head_width=sizes, s=sizes, b=sizes, vocab=sizes)
def test_korthikantis_formulas(layers, heads, head_width, s, b, vocab):
    """s*b*h times 34 + 5as/h (equation 1), 34 (selective) and 2 (full recompute)."""
    h = heads * head_width
    network = Network(layers, h, heads, vocab, s)
    sbh, options = s * b * h, {"counting": "korthikanti", "element_bytes": 2}
    ends = 4 * sbh + sbh  # last norm and the head's input; the embedding's dropout mask
    for recompute, factor in {"none": 34 + 5 * heads * s / h, "selective": 34, "full": 2}.items():
        used = activation_bytes(network, b, recompute=recompute, **options)
        assert used.kept == pytest.approx(layers * sbh * factor + ends)
        assert used.logits == 4 * s * b * vocab


def test_gpt3_keeps_what_korthikanti_print():
    """Their section 5: 5as/h is 80 for GPT-3 and 64 for MT-NLG, so selective saves 70 and 65 %."""
    for width, heads, ratio, saving in ((12_288, 96, 80, 0.70), (20_480, 128, 64, 0.65)):
        network = Network(1, width, heads, 51_200, 2048)
        options = (network, "korthikanti", 2)
        full = layer_bytes_per_token(*options)
        selective = layer_bytes_per_token(*options, attention_weights=False)
        assert (full - selective) / width == pytest.approx(ratio)
        assert 1 - selective / full == pytest.approx(saving, abs=0.006)


def test_layers_without_dropout_as_measured():
    """16 elements per s*b*h, a*s/h more with stored attention weights, 18.7 with SwiGLU."""
    width = 768
    plain = layer_bytes_per_token(Network(1, width, 12, 1, 128), "plain", 1)
    assert plain / width == 16
    gated = Network(1, width, 12, 1, 128, gated=True, ffn_width=8 * width // 3)
    assert layer_bytes_per_token(gated, "plain", 1) / width == pytest.approx(18.7, abs=0.05)


@pytest.mark.parametrize("counting", COUNTINGS)
@given(
    n_sequences=sizes,
    layers=sizes,
    heads=sizes,
    gated=st.booleans(),
)
def test_activations_grow_with_tokens_and_shrink_with_recompute(
    counting, n_sequences, layers, heads, gated
):
    network = Network(layers, 8 * heads, heads, 50, 16, gated=gated)
    one = activation_bytes(network, 1, counting=counting)
    many = activation_bytes(network, n_sequences, counting=counting)
    assert sum(many) == pytest.approx(n_sequences * sum(one))
    none, selective, full = (
        activation_bytes(network, recompute=r, counting=counting)
        for r in ("none", "selective", "full")
    )
    assert full.kept < selective.kept <= none.kept
    assert (selective.kept < none.kept) == COUNTINGS[counting].materialised


@pytest.mark.parametrize("name", [*SHAPES, *T5S])
def test_a_networks_parameters_are_those_of_the_model(name):
    shape = (SHAPES | T5S)[name]
    model = build_model(shape)
    matrices = sum(p.numel() for p in model.parameters() if p.ndim == 2)
    assert network_of(shape).params == matrices


def test_mistakes_are_named():
    network = Network(1, 8, 2, 10, 4)
    with pytest.raises(ValueError, match=r"counting 'gtp' is unknown; use one of .*'korthikanti'"):
        layer_bytes_per_token(network, "gtp")
    with pytest.raises(ValueError, match=r"recompute 'some' is unknown; use one of .*'selective'"):
        activation_bytes(network, recompute="some")
    with pytest.raises(ValueError, match="n_sequences must be positive, got 0"):
        activation_bytes(network, 0)
    with pytest.raises(ValueError, match="network: seq_len must be at least 1, got 0"):
        Network(1, 8, 2, 10, 0)
    with pytest.raises(ValueError, match="network: kv_heads must be None or at least 1, got 0"):
        Network(1, 8, 2, 10, 4, kv_heads=0)
