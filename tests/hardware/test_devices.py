import pytest

from scaling.hardware.devices import DEVICES, Device, device_from, get_device

DATASHEETS = {  # dense TFLOP/s and GB, as the makers print them
    "V100": ({"fp16": 125, "fp32": 15.7}, 32),
    "A100": ({"bf16": 312, "tf32": 156, "fp32": 19.5}, 80),
    "A100-40GB": ({"bf16": 312, "tf32": 156, "fp32": 19.5}, 40),
    "H100": ({"bf16": 989, "fp8": 1979, "fp32": 67}, 80),
    "H200": ({"bf16": 989, "fp8": 1979, "fp32": 67}, 141),
    "B200": ({"bf16": 2250, "fp8": 4500}, 192),
    "TPUv3": ({"bf16": 123}, 32),
    "TPUv4": ({"bf16": 275}, 32),
    "TPUv5e": ({"bf16": 197}, 16),
    "TPUv5p": ({"bf16": 459}, 95),
    "MI300X": ({"bf16": 1307}, 192),
    "H800": ({"bf16": 989, "fp8": 1979}, 80),
    "H20": ({"bf16": 148, "fp8": 296}, 96),
    "GB200": ({"bf16": 2500, "fp8": 5000}, 186),  # 360 and 720 PFLOP/s sparse over 2 x 72
    "L40S": ({"bf16": 362, "fp8": 733}, 48),
    "RTX3090": ({"bf16": 71}, 24),
    "RTX4090": ({"bf16": 165.2, "fp8": 330.3}, 24),
    "RTX5090": ({"bf16": 209.5, "fp8": 419}, 32),
    "TPUv6e": ({"bf16": 918}, 32),
    "Trainium": ({"bf16": 190}, 34.4),
    "Trainium2": ({"bf16": 667, "fp8": 1299}, 103.1),
    "Gaudi2": ({"bf16": 432}, 96),
    "Gaudi3": ({"bf16": 1835, "fp8": 1835}, 128),
}
MINE = {"peak_flops": {"bf16": 4.0e14}, "memory_bytes": 48.0e9}


@pytest.mark.parametrize("name", DATASHEETS)
def test_devices_have_their_datasheets_numbers(name):
    peaks, gigabytes = DATASHEETS[name]
    device = get_device(name)
    assert device.memory_bytes == gigabytes * 1e9
    for format, tera in peaks.items():
        assert device.training_flops(format) == pytest.approx(tera * 1e12)
    assert device.source


@pytest.mark.parametrize("name, gigabytes", [("V100", 900), ("H100", 3350), ("MI300X", 5300)])
def test_devices_have_their_memorys_bandwidth(name, gigabytes):
    assert get_device(name).memory_bandwidth == gigabytes * 1e9
    assert all(device.memory_bandwidth for device in DEVICES.values())


def test_the_table_has_no_other_device():
    assert set(DEVICES) == set(DATASHEETS)


@pytest.mark.parametrize("name", DEVICES)
def test_names_are_found_in_any_case(name):
    assert get_device(name.lower()) is get_device(name.upper()) is DEVICES[name]


@pytest.mark.parametrize(
    "name, found",
    [
        ("NVIDIA H100 SXM5 80GB", "H100"),
        ("a100 40gb", "A100-40GB"),
        ("A100-SXM4-80GB", "A100"),
        ("RTX 4090", "RTX4090"),
        ("GeForce RTX 5090", "RTX5090"),
        ("TPU v6e", "TPUv6e"),
        ("Gaudi 3", "Gaudi3"),
    ],
)
def test_names_are_found_as_people_write_them(name, found):
    assert get_device(name) is DEVICES[found]


@pytest.mark.parametrize("name", ["H100 PCIe", "H100 94GB", "V100 16GB", "80GB", ""])
def test_another_variant_is_another_device(name):
    with pytest.raises(ValueError, match="is unknown"):
        get_device(name)


def test_training_takes_bf16_else_fp16_else_the_best():
    assert get_device("A100").training_flops() == 312e12
    assert get_device("V100").training_flops() == 125e12
    old = Device("old", {"fp32": 1e12, "tf32": 2e12}, 8e9)
    assert old.training_flops() == 2e12


def test_a_petaflop_day_is_eight_v100_or_three_a100():
    """The course says 2 A100; at the datasheet's 312 TFLOP/s two reach 62 % of it."""
    assert 1e15 / get_device("V100").training_flops() == 8
    assert 1e15 / get_device("A100").training_flops() == pytest.approx(3.2, abs=0.01)
    assert 1e15 / (2 * 624e12) < 1  # with the sparsity figure, 1.6: so the course's 2


def test_a_users_devices_extend_and_hide_the_table():
    assert get_device("mine", {"Mine": MINE}) == Device("Mine", {"bf16": 4.0e14}, 48.0e9)
    assert get_device("a100", {"A100": MINE}).memory_bytes == 48.0e9
    device = Device("x", {"fp8": 1e15}, 1e9)
    assert get_device("X", {"x": device}) is device
    assert DEVICES["A100"].memory_bytes == 80e9


def test_a_device_of_another_case_hides_the_built_in():
    assert get_device("A100", {"a100": MINE}).memory_bytes == 48.0e9


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"memory_bytes": 1e9}, r"device 'x': \['peak_flops'\] missing"),
        (MINE | {"price": 2}, r"device 'x': unknown fields \['price'\]"),
        (MINE | {"peak_flops": {}}, "device 'x': peak_flops must map formats"),
        (MINE | {"peak_flops": 3e14}, "device 'x': peak_flops must map formats"),
        (MINE | {"peak_flops": {"bf15": 1e12}}, r"unknown formats \['bf15'\]"),
        (MINE | {"peak_flops": {"bf16": "4e14"}}, "must be a positive number of FLOP/s.*'4e14'"),
        (MINE | {"peak_flops": {"bf16": -1.0}}, "must be a positive number of FLOP/s.*-1.0"),
        (MINE | {"memory_bytes": 0}, "memory_bytes must be a positive number of bytes.*got 0"),
        (MINE | {"memory_bytes": True}, "memory_bytes must be a positive number.*got True"),
        (MINE | {"memory_bytes": float("nan")}, "memory_bytes must be a positive number.*got nan"),
        (80, "device 'x': give a mapping with peak_flops and memory_bytes, got 80"),
    ],
)
def test_a_users_mistake_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        device_from("x", fields)


def test_an_unknown_device_lists_the_known():
    with pytest.raises(ValueError, match=r"device 'A1000' is unknown; use one of .*'MI300X'"):
        get_device("A1000")


def test_an_unknown_precision_lists_what_the_device_has():
    with pytest.raises(ValueError, match=r"V100 has no peak for 'bf16'; it has \['fp16', 'fp32'\]"):
        get_device("V100").training_flops("bf16")
