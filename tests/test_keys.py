from dataclasses import dataclass, field

import pytest

from scaling.commandline import complete_lists, offered_groups, refuse_flags
from scaling.course.__main__ import CourseCommand
from scaling.errors import suggest
from scaling.fit import FitCommand
from scaling.keys import help_text, list_keys
from scaling.plan import PlanCommand
from scaling.plot import PlotCommand
from scaling.quantise import QuantiseCommand
from scaling.report import ReportCommand
from scaling.reproduce import ReproduceCommand
from scaling.sample import SampleCommand
from scaling.sweep import SweepConfig

VERBS = {
    "sweep": SweepConfig,
    "fit": FitCommand,
    "plot": PlotCommand,
    "plan": PlanCommand,
    "quantise": QuantiseCommand,
    "report": ReportCommand,
    "reproduce": ReproduceCommand,
    "sample": SampleCommand,
    "course": CourseCommand,
}


@dataclass
class Inner:
    sizes: list[int] = field(default_factory=list)  # how large
    ratios: list[float] | None = None


@dataclass
class Outer:
    name: str = "x"  # what it is called
    wide: dict = field(  # a default that
        default_factory=dict  # takes two lines
    )
    inner: Inner = field(default_factory=Inner)


def test_keys_have_the_comments_beside_them():
    keys = {key.name: key for key in list_keys(Outer)}
    assert [*keys] == ["name", "wide", "inner.sizes", "inner.ratios"]
    assert keys["name"].meaning == "what it is called"
    assert keys["wide"].meaning == "a default that takes two lines"
    assert keys["inner.ratios"].meaning == ""
    assert [key.is_list for key in keys.values()] == [False, False, True, True]
    assert keys["inner.sizes"].default == []


@pytest.mark.parametrize("name", VERBS)
def test_every_key_of_every_verb_has_a_meaning_in_its_help(name):
    keys = [*list_keys(VERBS[name])]
    assert [key.name for key in keys if not key.meaning] == []
    text = help_text(VERBS[name], name, "About.", {"grid": ("demo", ["demo", "smoke"])})
    assert all(f"  {key.name}=" in text for key in keys)
    assert "  grid=demo: demo, smoke" in text
    assert max(map(len, text.splitlines())) <= 100


def test_groups_are_those_of_the_configuration():
    default, choices = offered_groups("sweep")["grid"]
    assert default == "demo" and {"demo", "smoke", "reference"} <= {*choices}
    assert {*offered_groups("sweep")} == {"data", "family", "grid", "dispatch", "parallel"}


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("gird", "grid"), ("optim.shcedule", "optim.schedule"), ("seed", "fit.seed"), ("xyzzy", "")],
)
def test_an_unknown_key_is_like_a_known_one(wrong, right):
    found = suggest(wrong, ["grid", "optim.schedule", "fit.seed", "data.path"])
    assert found == (f"; did you mean {right!r}?" if right else "")


@pytest.mark.parametrize(
    ("word", "completed"),
    [
        ("grid.widths=8", "grid.widths=[8]"),
        ("grid.budgets=1e9,2e9", "grid.budgets=[1e9,2e9]"),
        ("grid.budgets=[1e9]", "grid.budgets=[1e9]"),
        ("grid.widths=null", "grid.widths=null"),
        ("grid.widths=${grid.ladder}", "grid.widths=${grid.ladder}"),
        ("optim.lr=1,2", "optim.lr=1,2"),
        ("grid=demo", "grid=demo"),
    ],
)
def test_one_value_stands_for_a_list_of_one(word, completed):
    assert complete_lists([word], SweepConfig) == [completed]
    assert complete_lists(["-m", word], SweepConfig) == ["-m", word]


def test_flags_of_hydra_pass_and_others_do_not():
    refuse_flags(["-m", "--cfg", "job", "a=-1", "--config-dir=x"])
    with pytest.raises(
        ValueError, match=r"unknown option '--dry-run'; keys are given as KEY=VALUE"
    ):
        refuse_flags(["--dry-run"])
