import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.hardware.devices import DEVICES, Device
from scaling.laws.papers import PF_DAY
from scaling.planning.budgets import (
    DEFAULT_UTILISATION,
    Budget,
    conversions,
    hours_for,
    parse_budget,
)

HOUR = 3600
A100 = 312e12  # FLOP/s, dense bf16
MINE = {"Abacus": Device("Abacus", {"bf16": 1e12}, 1e9)}


@pytest.mark.parametrize(
    ("text", "flops"),
    [
        (5.76e23, 5.76e23),
        ("5.76e23", 5.76e23),
        ("5.76e23 FLOPs", 5.76e23),
        ("576000e18 flop", 5.76e23),
        ("1 PF-day", 8.64e19),
        ("3,640 petaFLOP/s-days", 3640 * 8.64e19),
        ("3.64k PF-days", 3640 * 8.64e19),
        ("512 A100 for 30 days", 512 * 30 * 24 * HOUR * A100 * DEFAULT_UTILISATION),
        ("512 x A100s for 30 days at 50 %", 512 * 30 * 24 * HOUR * A100 * 0.5),
        ("8 a100 for 2 weeks at 0.5", 8 * 14 * 24 * HOUR * A100 * 0.5),
        ("1.3M A100-hours at 40 % MFU", 1.3e6 * HOUR * A100 * 0.4),
        ("1.3M GPU-hours on A100 at 40 %", 1.3e6 * HOUR * A100 * 0.4),
        ("512 A100-40GB for 53 days at 102 TFLOP/s", 512 * 53 * 24 * HOUR * 102e12),
        ("16k H100 for 54 days at 38 %", 16_000 * 54 * 24 * HOUR * 989e12 * 0.38),
        ("8 B200 for 1 hour at 50 %", 8 * HOUR * 2250e12 * 0.5),
        ("8 TPUv4 for 1 hour at 50 %", 8 * HOUR * 275e12 * 0.5),
        ("1 A100 for 1 h at 0.1 PFLOP/s", HOUR * 1e14),
        ("5,76e23", 5.76e23),  # no comma that groups thousands
        ("5,760,000e17", 5.76e23),
        ("8 H100 for 1,5 days at 40,5 %", 8 * 36 * HOUR * 989e12 * 0.405),
        ("1,7M H100 hours at 38 %", 1.7e6 * HOUR * 989e12 * 0.38),
    ],
)
def test_a_budget_in_any_currency(text, flops):
    assert parse_budget(text).flops == pytest.approx(flops, rel=1e-12)


@pytest.mark.parametrize("text", ["$2M on A100", "2M USD on A100", "€2,000,000 on A100"])
def test_money_buys_hours_at_the_users_price(text):
    budget = parse_budget(text, utilisation=0.5, price_per_hour=2.5)
    assert budget.device_hours == pytest.approx(800_000)
    assert budget.flops == pytest.approx(800_000 * HOUR * A100 * 0.5)
    assert budget.money == pytest.approx(2e6)


def test_the_device_may_be_named_apart():
    budget = parse_budget("1k GPU-hours", utilisation=1.0, device="H100", precision="fp8")
    assert budget.flops == pytest.approx(1000 * HOUR * DEVICES["H100"].peak_flops["fp8"])


@pytest.mark.parametrize(
    "text, flops",
    [
        ("1000 exaFLOP", 1e21),
        ("1 EF-day", 8.64e22),
        ("1 exaflop/s-day", 8.64e22),
        ("10 petaFLOP/s for 3 days", 10 * 3 * 8.64e19),
        ("230 million petaflops", 2.3e23),
        ("5.76 x 10^23", 5.76e23),
        ("5,76·10^23 FLOPs", 5.76e23),
        ("10^23", 1e23),
        ("5.76 × 10²³", 5.76e23),
        ("8xH100 for 3d", 8 * 3 * 86_400 * 989e12 * 0.4),
        ("64 A100 for 1 year", 64 * 365 * 86_400 * 312e12 * 0.4),
        ("8 A100 for 90 minutes", 8 * 5400 * 312e12 * 0.4),
        ("30 A100-days", 30 * 86_400 * 312e12 * 0.4),
        ("USD 2M on H100", 1e6 * 3600 * 989e12 * 0.4),
        ("8 H100 SXM for 1 day", 8 * 86_400 * 989e12 * 0.4),
        ("2 x 8 H100 for 1 day", 16 * 86_400 * 989e12 * 0.4),
        ("8 H100 for 1 day with 45% MFU", 8 * 86_400 * 989e12 * 0.45),
        ("4 RTX 4090 for 1 week", 4 * 7 * 86_400 * 165.2e12 * 0.4),
        ("1k A100 40GB-hours at 50 %", 1e3 * 3600 * 312e12 * 0.5),
    ],
)
def test_other_ways_to_say_it(text, flops):
    assert parse_budget(text, price_per_hour=2.0).flops == pytest.approx(flops)


def test_a_cluster_keeps_its_count():
    assert parse_budget("512 H100 for 30 days").count == 512
    assert parse_budget("2 x 8 H100 for 1 day").count == 16
    assert parse_budget("2 x 8 H100 for 1 day").n_devices == 16
    assert parse_budget("30 A100-days").n_devices is parse_budget("1.5 A100 for 1 h").n_devices


def test_one_precision_for_all_devices_that_have_it():
    """512 x 30 days at 1,979 TFLOP/s: a B200 does it in 1979 / 4500 of the hours in fp8."""
    budget = parse_budget("512 H100 for 30 days", precision="fp8")
    table = conversions(budget).set_index("device")
    assert table.precision["B200"] == "fp8" and table.precision["A100"] == "bf16"
    assert table.device_hours["B200"] == pytest.approx(512 * 30 * 24 * 1979 / 4500)
    assert table.days_on_512["H100"] == pytest.approx(30)
    plain = conversions(parse_budget(budget.flops, precision="fp8")).set_index("device")
    assert plain.device_hours["H100"] == pytest.approx(512 * 30 * 24)


def test_a_user_may_bring_a_device():
    assert parse_budget("1 Abacus for 1 h at 50 %", devices=MINE).flops == HOUR * 1e12 * 0.5


def test_an_assumed_utilisation_is_named_with_its_source():
    (assumption,) = parse_budget("8 A100 for 3 days").assumptions
    assert "utilisation 0.4" in assumption and "arXiv:2204.02311" in assumption
    assert parse_budget("8 A100 for 3 days", utilisation=0.3).assumptions == ()
    assert parse_budget("5e20").assumptions == ()


@settings(max_examples=20)
@given(
    st.floats(1e15, 1e27), st.sampled_from([*DEVICES]), st.floats(0.01, 1), st.integers(1, 100_000)
)
def test_conversions_come_back(flops, device, utilisation, count):
    hours = hours_for(flops, DEVICES[device], utilisation)
    days = hours / count / 24
    again = parse_budget(f"{hours!r} {device}-hours", utilisation=utilisation)
    assert again.flops == pytest.approx(flops)
    cluster = parse_budget(f"{count} {device} for {days:.17f} days", utilisation=utilisation)
    assert cluster.flops == pytest.approx(flops, rel=1e-6, abs=count * 1e5)


def test_gpu_hours_of_every_device_buy_the_same_flops():
    budget = parse_budget("512 A100 for 30 days", price_per_hour=2.0)
    table = conversions(budget).set_index("device")
    assert table.device_hours["A100"] == pytest.approx(512 * 30 * 24)
    assert table.days_on_512["A100"] == pytest.approx(30)
    assert table.money["A100"] == pytest.approx(2 * 512 * 30 * 24)
    for device, hours in table.device_hours.items():
        speed = DEVICES[device].training_flops() * DEFAULT_UTILISATION
        assert hours * HOUR * speed == pytest.approx(budget.flops)


def test_no_price_no_money():
    assert "money" not in conversions(parse_budget("1 PF-day"))
    assert conversions(parse_budget("1 PF-day"), devices=MINE).device.iloc[-1] == "Abacus"


def test_gpt3_took_3640_pf_days():
    assert pytest.approx(3640, rel=0.002) == 6 * 174.6e9 * 300e9 / PF_DAY
    assert parse_budget("3640 PF-days").flops == pytest.approx(3.14e23, rel=0.002)
    assert Budget(6 * 174.6e9 * 300e9, "GPT-3").pf_days == pytest.approx(3640, rel=0.002)


@pytest.mark.parametrize(
    ("text", "options", "match"),
    [
        (-5e20, {}, "budget must be positive and finite, got -5e[+]20"),
        ("-512 PF-days", {}, "budget must be positive"),
        (0, {}, "budget must be positive"),
        (float("inf"), {}, "is not understood"),
        ("12 bananas", {}, "'12 bananas' is not understood; write one of 5.76e23"),
        ("1.4T tokens", {}, "'1.4T tokens' is not understood"),
        ("512 A101 for 30 days", {}, "device 'A101' is unknown; use one of"),
        ("512 A100 30 days", {}, "no device is called 'A100 30'; write one of .*for 30 days"),
        ("3 GPU-hours", {}, "does not say on which device; say device='A100'"),
        ("$2M on H100", {}, "prices change: say price_per_hour, what one H100 costs"),
        ("$2M", {"price_per_hour": 2.0}, "does not say on which device"),
        ("$2M on H100", {"price_per_hour": -1.0}, "price_per_hour must be positive"),
        ("8 A100 for 3 days", {"utilisation": 1.2}, "utilisation 1.2 is no share"),
        ("8 A100 for 3 days", {"utilisation": 0}, "utilisation 0 is no share"),
        ("8 A100 for 3 days at 120 %", {}, r"utilisation 1.2 \('8 A100 for 3 days at 120 %'\)"),
        ("8 A100 for 3 days at 400 TFLOP/s", {}, "utilisation 1.282"),
        ("8 A100 for 3 days at 50 %", {"utilisation": 0.4}, "says a utilisation of 0.5"),
        ("8 A100 for 1..5 days", {}, "time '1..5' is no quantity"),
        ("8 A100 for 0 days", {}, "time must be positive"),
        ("8 A100 for 3 days", {"precision": "fp8"}, "A100 has no peak for 'fp8'"),
        ("5e20 at 50 %", {}, "is FLOPs already, at any speed; leave out"),
        ("1 EF-day at 50 %", {}, "is FLOPs already"),
        ("90 minutes", {}, "'90 minutes' is not understood"),
        ("0 x 8 H100 for 1 day", {}, "nodes must be positive"),
        (5e20, {"precision": "fp7"}, "peak 'fp7' is unknown; use one of"),
        (5e20, {"utilisation": -0.4}, "utilisation -0.4 is no share"),
    ],
)
def test_nonsense_is_refused_by_name(text, options, match):
    with pytest.raises(ValueError, match=match):
        parse_budget(text, **options)


def test_a_budget_is_read_already():
    budget = parse_budget("1 PF-day")
    assert parse_budget(budget) is budget


WRITTEN = [
    "5,76e23",
    "512",
    "1.7M",
    "1,000",
    "x",
    "H100",
    "A100-hours",
    "for",
    "30 days",
    "at",
    "40 %",
]
WRITTEN += [
    "$2M",
    "on",
    "PF-days",
    "1e400",
    "nan",
    "-",
    ".",
    ",",
    "e5",
    "1.2.3",
    "TFLOP/s",
    "\n",
    "²",
    "x 10^",
    "million",
    "EF",
]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(WRITTEN) | st.text(max_size=3), min_size=1, max_size=6), st.booleans()
)
def test_any_text_is_a_budget_or_one_line(parts, spaced):
    try:
        assert parse_budget((" " if spaced else "").join(parts), price_per_hour=2).flops > 0
    except ValueError as error:
        assert "\n" not in str(error) and "float" not in str(error)


@pytest.mark.parametrize("budget", [None, True, [1], float("inf"), 10**400, "1" * 5000])
def test_what_is_no_number_is_no_budget(budget):
    with pytest.raises(ValueError, match="budget"):
        parse_budget(budget)
