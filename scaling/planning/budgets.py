"""Budgets in any currency: FLOPs, PF-days, device-hours, clusters, money; and back."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling.hardware.devices import DEVICES, PEAK_FORMATS, Device, find_device, get_device
from scaling.laws.papers import PF_DAY
from scaling.quantities import FLOPS, parse_quantity, positive_quantity

HOUR = 3600.0  # s
HOURS = {"minute": 1 / 60, "min": 1 / 60, "hour": 1.0, "h": 1.0, "day": 24.0, "week": 168.0}
HOURS |= {"d": 24.0, "month": 365 / 12 * 24, "year": 365 * 24.0}
DEFAULT_UTILISATION = 0.4
ASSUMED_UTILISATION = (
    f"utilisation {DEFAULT_UTILISATION:g} of the dense peak: assumed, as nobody named one; "
    "published model FLOPs utilisation: GPT-3 21 %, Gopher 32 %, PaLM 46 % (Chowdhery et al. 2022, "
    "arXiv:2204.02311, table 3), Llama 3 405B 38-43 % (Llama Team 2024, arXiv:2407.21783, "
    "table 4)"
)
CLUSTERS = (8, 64, 512)  # devices, for which days are told


@dataclass(frozen=True)
class Budget:
    """A training budget, in FLOPs and in the currency it was named in."""

    flops: float
    text: str  # as it was named
    device: str | None = None  # that pays; None for a budget in FLOPs or PF-days
    device_hours: float = float("nan")  # of all devices together; NaN without a device
    count: float | None = None  # devices at once, where the text says so
    utilisation: float | None = None  # share of the device's dense peak that training achieves
    precision: str | None = None  # number format of the peak; None: the device's for training
    price_per_hour: float = float("nan")  # in the user's currency; there is no default price
    assumptions: tuple[str, ...] = ()  # what was not said and had to be assumed

    @property
    def pf_days(self) -> float:
        """In petaFLOP/s-days of 8.64e19 FLOPs."""
        return self.flops / PF_DAY

    @property
    def n_devices(self) -> int | None:
        """`count` where it is a whole number."""
        return int(self.count) if self.count and float(self.count).is_integer() else None

    @property
    def money(self) -> float:
        """device_hours * price_per_hour, in the user's currency; NaN without a price."""
        return self.device_hours * self.price_per_hour


def hours_for(
    flops: float, device: Device, utilisation: float, precision: str | None = None
) -> float:
    """Device-hours that spend `flops` at a share of the dense peak of a format."""
    return flops / (device.training_flops(precision) * utilisation) / HOUR


def conversions(
    budget: Budget, *, utilisation: float | None = None, devices: Mapping | None = None
) -> pd.DataFrame:
    """One budget in the hours of every known device, and of `devices`.

    At a share `utilisation` of the peak; None: that of the budget, else `DEFAULT_UTILISATION`. The
    peak is that of the budget's precision on every device that has it, elsewhere of the device's
    own training format.

    Returns
    -------
    DataFrame with columns device, precision, utilisation, device_hours, days_on_<count> for every
        count of `CLUSTERS` and the budget's own, and money where the budget has a price, which is
        that of its own device
    """
    share = utilisation or budget.utilisation or DEFAULT_UTILISATION
    counts = sorted({*CLUSTERS, budget.n_devices or CLUSTERS[0]})
    rows = []
    for name in {**DEVICES, **(devices or {})}:
        device = get_device(name, devices)
        known = budget.precision in device.peak_flops
        precision = budget.precision if known else device.training_format
        hours = hours_for(budget.flops, device, share, precision)
        row = {"device": name, "precision": precision, "utilisation": share, "device_hours": hours}
        row |= {f"days_on_{count}": hours / count / HOURS["day"] for count in counts}
        paid = hours * budget.price_per_hour if name == budget.device else float("nan")
        rows.append(row | {"money": paid})
    table = pd.DataFrame(rows)
    return table if table.money.notna().any() else table.drop(columns="money")


# ---------------------------------------------------------------- parsing

_WORDS = {"thousand": "k", "million": "M", "billion": "B", "trillion": "T"}
_NUMBER = (
    r"(?P<amount>[-+]?[\d.,]+(?:e[-+]?\d+)?"
    rf"(?:\s*(?:[kmbgt](?![a-z0-9])|(?:{'|'.join(_WORDS)})\b))?)"
)
_UNIT = "|".join(HOURS)
_TIME = rf"(?P<time>[\d.,]+)\s*(?P<unit>{_UNIT})s?"
_DEVICE = r"(?P<device>[A-Za-z][\w.-]*(?:[ ][\w.-]+){0,3}?)"
_ON = r"(?:\s+on\s+(?P<on>[\w.-]+(?:[ ][\w.-]+){0,3}))?"
_CURRENCY = "(?:usd|eur|gbp|chf|dollars?|euros?|[$€£])"
_SCALES = {"g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18, "z": 1e21, "y": 1e24}
_SCALE = "(?P<scale>giga|tera|peta|exa|zetta|yotta|[gtpezy])"
_FORMS = {
    kind: re.compile(pattern, re.IGNORECASE)
    for kind, pattern in {
        "rate": rf"{_NUMBER}\s*{_SCALE}(?:f|fs|flops?)(?:/s)?[- ]?(?P<unit>{_UNIT})s?",
        "speed": rf"{_NUMBER}\s*{_SCALE}[- ]?flops?(?:/s)?\s*(?:for|x|×|,)\s*{_TIME}",
        "scaled": rf"{_NUMBER}\s*{_SCALE}[- ]?flops?",
        "cluster": rf"(?:(?P<nodes>\d+)\s*[x×*]\s*)?{_NUMBER}\s*[x×*]?\s*{_DEVICE}\s*"
        rf"(?:for|x|×|,)\s*{_TIME}",
        "hours": rf"{_NUMBER}\s*{_DEVICE}[- ](?P<unit>{_UNIT})s?{_ON}",
        "money": rf"(?:{_CURRENCY}\s*{_NUMBER}|{_NUMBER.replace('amount', 'sum')}\s*{_CURRENCY})"
        rf"{_ON}",
    }.items()
}
_POWER = re.compile(r"(?:(?<=[\d.])\s*[x×*·]\s*|(?<![\w.^]))10\s*(?:\^|\*\*)\s*([-+]?\d+)")
_RAISED = re.compile(r"(?<=10)[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_LOWERED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_RATE = re.compile(
    r"\s+(?:at|with)\s+(?P<rate>[\d.,]+)\s*(?P<unit>%|[TP]FLOP/?s)?"
    r"(?:\s*(?:utili[sz]ation|MFU))?$",
    re.IGNORECASE,
)
_ANY_DEVICE = ("gpu", "gpus", "device", "accelerator", "tpu")
EXAMPLES = (
    "5.76e23, '1000 exaFLOP', '3640 PF-days', '1.3M A100-hours at 40 %', '512 A100 for 30 days', "
    "'$2M on H100' (with price_per_hour)"
)


def parse_budget(
    budget: "str | float | Budget",
    utilisation: float | None = None,
    price_per_hour: float | None = None,
    devices: Mapping | None = None,
    *,
    device: str | None = None,
    precision: str | None = None,
) -> Budget:
    """Read a budget: '5.76e23', '3640 PF-days', '512 A100 for 30 days at 40 %', '$2M on H100'.

    FLOPs = devices * seconds * peak * utilisation; money = device-hours * price_per_hour.

    Parameters
    ----------
    budget : str, float (FLOPs) or Budget
    utilisation : float, in (0, 1], optional
        Share of the dense peak; `DEFAULT_UTILISATION`, named among the assumptions, if neither this
        nor the text ("at 40 %", "at 102 TFLOP/s") says one.
    price_per_hour : float, the user's currency per device-hour, optional
        Needed for a budget in money.
    devices : mapping, name -> Device, optional
        Further devices.
    device : str, optional
        Which, where the text says "GPU-hours" or money only.
    precision : str, optional
        Number format of the peak; the device's training format if omitted.

    Raises
    ------
    ValueError
        Text that is no budget, an amount that is not positive, an unknown device or none where one
        is needed, a utilisation that is no share in (0, 1], a budget in money without a price.
    """
    if utilisation is not None:
        _check_share(utilisation)
    if isinstance(budget, Budget):
        return budget
    price = float("nan")
    if price_per_hour is not None:
        price = positive_quantity(price_per_hour, "price_per_hour")
    text = str(budget).strip()
    if isinstance(budget, int | float):
        text = f"{parse_quantity(budget, 'budget'):g} FLOPs"
    body, rate = _split_rate(text)
    body = _POWER.sub(_write_exponent, _RAISED.sub(lambda f: f"^{f[0].translate(_LOWERED)}", body))
    kind, found = _match_form(body)
    if precision is not None and precision not in PEAK_FORMATS:
        raise ValueError(f"peak {precision!r} is unknown; use one of {sorted(PEAK_FORMATS)}")
    if rate is not None and (kind == "flops" or "scale" in found):
        raise ValueError(
            f"budget {text!r} is FLOPs already, at any speed; leave out what follows 'at'"
        )
    if kind == "flops":
        flops = positive_quantity(body if isinstance(budget, str) else budget, "budget", FLOPS)
        return Budget(flops, text, precision=precision, price_per_hour=price)
    amount = _read_amount(found.get("amount") or found["sum"])
    hours = amount * HOURS[found.get("unit", "h").lower()]
    if "time" in found:
        hours *= positive_quantity(found["time"], "time")
    if "scale" in found:
        flops = _SCALES[found["scale"][0].lower()] * (amount if kind == "scaled" else hours * HOUR)
        return Budget(_refuse_infinite(flops), text, precision=precision, price_per_hour=price)
    chosen = _find_device(found, device, text, devices)
    peak = chosen.training_flops(precision)
    share, assumptions = _settle_share(rate, utilisation, peak, text)
    count = None
    if kind == "money":
        if not np.isfinite(price):
            raise ValueError(
                f"budget {text!r} is money, and prices change: say price_per_hour, what one "
                f"{chosen.name} costs an hour"
            )
        hours = amount / price
    elif kind == "cluster":
        nodes = positive_quantity(found.get("nodes", 1), "nodes")
        count, hours = amount * nodes, hours * nodes
    flops = _refuse_infinite(hours * HOUR * peak * share)
    return Budget(flops, text, chosen.name, hours, count, share, precision, price, assumptions)


def _write_exponent(found: re.Match) -> str:
    return ("" if found[0].lstrip()[:1] in "x×*·" else "1") + f"e{found[1]}"


def _read_amount(text: str) -> float:
    for word, suffix in _WORDS.items():
        text = re.sub(rf"\s*{word}$", suffix, text, flags=re.IGNORECASE)
    return positive_quantity(text, "budget")


def _refuse_infinite(flops: float) -> float:
    return positive_quantity(flops, "budget")


def _split_rate(text: str) -> tuple[str, tuple[float, str] | None]:
    found = _RATE.search(text)
    if not found:
        return text, None
    return text[: found.start()], (
        parse_quantity(found["rate"], "rate"),
        (found["unit"] or "").lower(),
    )


def _match_form(body: str) -> tuple[str, dict[str, str]]:
    for kind, form in _FORMS.items():
        if found := form.fullmatch(body.strip()):
            return kind, {name: value for name, value in found.groupdict().items() if value}
    try:
        parse_quantity(body, "budget", FLOPS)
    except ValueError:
        raise ValueError(f"budget {body!r} is not understood; write one of {EXAMPLES}") from None
    return "flops", {}


def _find_device(found: dict, device: str | None, text: str, devices: Mapping | None) -> Device:
    """The device that the text names, perhaps in the plural, or else the argument."""
    name = found.get("on") or found.get("device")
    if name is None or name.lower() in _ANY_DEVICE:
        name = device
    if name is None:
        raise ValueError(f"budget {text!r} does not say on which device; say device='A100' or so")
    singular = name[:-1] if name.lower().endswith("s") else name
    plural = find_device(name, devices) is None and find_device(singular, devices) is not None
    one = find_device(singular if plural else name, devices)
    if one is None and re.search(r" \d+$", name):  # '512 A100 30 days'
        raise ValueError(f"budget {text!r}: no device is called {name!r}; write one of {EXAMPLES}")
    return one or get_device(name, devices)


def _settle_share(
    rate: tuple[float, str] | None, given: float | None, peak: float, text: str
) -> tuple[float, tuple[str, ...]]:
    """The share of the peak, from the text, from the argument or assumed."""
    said = None
    if rate is not None:
        value, unit = rate
        of_peak = {"": 1.0, "%": 0.01, "tflops": 1e12 / peak, "pflops": 1e15 / peak}
        said = _check_share(value * of_peak[unit.replace("/", "")], text)
    if said is not None and given is not None and not np.isclose(said, given):
        raise ValueError(
            f"budget {text!r} says a utilisation of {said:.3g}, the argument {given:g}: drop one"
        )
    share = said if given is None else given
    if share is None:
        return DEFAULT_UTILISATION, (ASSUMED_UTILISATION,)
    return share, ()


def _check_share(utilisation: float, said: str = "") -> float:
    if not 0 < utilisation <= 1:
        where = f" ({said!r})" if said else ""
        raise ValueError(
            f"utilisation {utilisation:.4g}{where} is no share of the dense peak in (0, 1]; write "
            "0.4 for 40 %"
        )
    return float(utilisation)
