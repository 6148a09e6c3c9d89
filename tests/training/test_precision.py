import pytest

from scaling.models.storage import Storage
from scaling.training.precision import FLOATS, parse_precision, refuse_device


def test_floats_are_their_names():
    assert [parse_precision(name).name for name in FLOATS] == [*FLOATS]
    assert parse_precision("bf16").storage is None


@pytest.mark.parametrize(
    "text, name, storage, learned",
    [
        ("int4", "int4_learned", Storage("int4"), True),
        ("int4_learned_channel_blocks", "int4_learned", Storage("int4"), True),
        ("int3_tensor_absmax", "int3_absmax_tensor", Storage("int3", "tensor"), False),
        ("int2_all_group16", "int2_learned_group16_all", Storage("int2", "group", 16, "all"), True),
        ("int8_group", "int8_learned_group32", Storage("int8", "group", 32), True),
    ],
)
def test_one_training_has_one_name(text, name, storage, learned):
    found = parse_precision(text)
    assert (found.name, found.storage, found.learned) == (name, storage, learned)
    assert parse_precision(name) == found


@pytest.mark.parametrize(
    "text, told",
    [
        ("int1", r"precision='int1': choose one of \('fp32', 'tf32', .*'int2'\); an integer of at"),
        ("fp64", "precision='fp64': choose one of"),
        ("fp8_tensor", "precision='fp8_tensor': choose one of"),
        ("int4_row", "precision='int4_row': 'row' is not one more of"),
        ("int4_learned_absmax", "'absmax' is not one more of"),
        ("int4_lsq", "'lsq' is not one more of \\('learned', 'absmax', "),
        ("int4_group1", "group=1: at least 2 weights"),
    ],
)
def test_nonsense_is_refused_by_name(text, told):
    with pytest.raises(ValueError, match=told):
        parse_precision(text)


def test_a_format_without_hardware_and_without_emulation_is_refused():
    with pytest.raises(ValueError, match="precision=tf32 is arithmetic of NVIDIA GPUs and not emu"):
        refuse_device("tf32", "cpu")
    refuse_device("tf32", "cuda:0")
    refuse_device("fp8", "cpu")
