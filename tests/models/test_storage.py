import pytest

from scaling.models.storage import FORMATS, Storage


def test_bits_and_levels():
    assert [Storage(name).bits for name in ("int8", "int3", "fp16", "fp8_e5m2")] == [8, 3, 16, 8]
    assert Storage("int4").levels == (-8, 7, 0.0)
    assert Storage("int2").levels == (-2, 1, 0.5)


def test_only_what_has_few_bits_needs_scales():
    assert {name for name in FORMATS if not Storage(name).has_scales} == {"fp16", "bf16"}


@pytest.mark.parametrize(
    "options, told",
    [
        ({"format": "int1"}, "format 'int1' is unknown: no integer has fewer than 2 bits"),
        ({"format": "posit8"}, "only these have a quantiser here: int8, int6"),
        ({"format": "int4", "per": "layer"}, r"per='layer': choose one of \('tensor', 'channel'"),
        ({"format": "int4", "parts": "head"}, r"parts='head': choose one of \('blocks', 'all'\)"),
        ({"format": "int4", "per": "group", "group": 1}, "group=1: at least 2 weights"),
        ({"format": "int4", "activations": 1}, r"activations=1: they are rounded to \[8, 6, 4"),
    ],
)
def test_nonsense_is_refused_by_name(options, told):
    with pytest.raises(ValueError, match=told):
        Storage(**options)


def test_it_tells_itself_in_words():
    told = Storage("int4", "group", 16, "all", 8).label
    assert told == "int4, one scale per 16 weights, table and head too, activations in int8"
    assert Storage("bf16").label == "bf16, blocks only"
