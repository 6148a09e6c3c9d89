"""The pilot ladder, its grid file and its rehearsal."""

import json
from itertools import islice

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from scaling.fitting.parametric import fit_parametric
from scaling.fitting.prepared import prepare
from scaling.fitting.settings import FitSettings
from scaling.laws.compute import ComputeModel
from scaling.pages.pilot import pilot_sections
from scaling.pages.text import markdown
from scaling.planning import rehearsal
from scaling.planning.pilot import DESIGNS, LEAST_TOKENS, plan_ladder, write_grid
from scaling.planning.rehearsal import SHIPPED, World, make_pilot, rehearse, summarise
from scaling.planning.sources import get_source
from scaling.shapes.shape import ModelConfig
from scaling.training.cells import group_trunks
from scaling.training.grid import GridConfig, plan_cells
from scaling.training.optim import OptimConfig

LAW = get_source("besiroglu2024")
TINY = {"vocab_size": 1024, "model": ModelConfig(seq_len=128)}
BIG = {"vocab_size": 32_000, "model": ModelConfig(seq_len=2048)}


def cells_of(ladder):
    """The cells that a sweep makes of the ladder's grid file."""
    file = OmegaConf.create(write_grid(ladder, "a command"))
    found = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(GridConfig), file.grid))
    optim = OptimConfig(rules=file.optim.rules)
    options = {"vocab_size": file.data.vocab_size, "data": "x", "data_fingerprint": "x"}
    return plan_cells(found, ModelConfig(seq_len=file.model.seq_len), optim, **options)


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("C, share, sizes", [(1.28e13, 0.4, TINY), (1e20, 0.01, BIG)])
def test_a_sweep_trains_what_the_ladder_says_at_its_cost(name, C, share, sizes):
    ladder = plan_ladder(LAW, C, share, design=DESIGNS[name], **sizes)
    cells = cells_of(ladder)
    assert len(cells) == len(ladder.runs)
    found = pd.DataFrame({"width": cell.shape.width, "D": cell.tokens} for cell in cells)
    key = ["width", "D"]
    both = zip(ladder.runs.sort_values(key).D, found.sort_values(key).D, strict=True)
    assert max(abs(a / b - 1) for a, b in both) < 0.01  # whole steps
    assert sum(t.flops for t in group_trunks(cells)) == pytest.approx(ladder.flops, rel=0.01)
    assert 0.7 * share < ladder.share <= share * 1.001
    assert ladder.runs.D.min() >= LEAST_TOKENS


def test_the_ladder_of_a_large_plan():
    ladder = plan_ladder(LAW, 5.76e23, 0.01, design=DESIGNS["wide"], **BIG)
    top = ladder.runs[ladder.runs.budget == ladder.runs.budget.max()]
    best = LAW.point(top.budget.iloc[0])["N_opt"]
    assert top.N.min() < best / 2 and top.N.max() > 2 * best
    assert (0.1 * LAW.point(5.76e23)["N_opt"] > ladder.runs.N).all()


def test_worlds_agree_at_the_pilots_centre_and_part_from_there():
    params, centre = LAW.fit.params, (1e9, 1e10)
    plain, *others = (World(name, "chinchilla", params, centre) for name in rehearsal.WORLDS)
    assert plain.loss(3e9, 1e11) == pytest.approx(float(LAW.loss(3e9, 1e11)))
    for world in others:
        assert world.loss(*centre) == pytest.approx(plain.loss(*centre), rel=0.005)
        assert world.loss(2e10, 2e11) < 0.96 * plain.loss(2e10, 2e11)
    best = LAW.point(1e22)
    assert plain.best(1e22, ComputeModel(), 1e9) == pytest.approx(
        (best["N_opt"], best["L_opt"]), rel=1e-4
    )


def test_a_rehearsal_without_noise_finds_a_true_law():
    ladder = plan_ladder(LAW, 1e22, 0.05, design=DESIGNS["wide"], **BIG)
    (row,) = islice(rehearse(ladder, LAW, noise=1e-4, repeats=1), 1)
    assert row["world"] == "chinchilla" and row["method"] == "parametric"
    assert pytest.approx(row["N_true"], rel=0.02) == row["N"]
    assert pytest.approx(row["L_true"], rel=1e-3) == row["L"]
    assert abs(row["excess"]) < 1e-4


def test_a_summary_counts_what_failed():
    row = {"world": "a", "N_true": 1.0, "L_true": 2.0, "N": 2.0, "L": 2.2, "excess": 0.1}
    table = summarise(pd.DataFrame([row, row | {"N": np.nan, "L": np.nan, "excess": np.nan}]))
    assert [*table.world] == ["a", "all"]
    assert (table.failed == 0.5).all() and (table.N_over == 2.0).all()
    assert table.L_off[0] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"share": 0.7}, r"pilot=0.7 must be a share of the budget in \(0, 0.5\]"),
        ({"share": 0.01}, "pilot=0.01 of 1.28e[+]13 FLOPs is too little: "),
        ({"share": 0.1, "law": get_source("kaplan2020")}, "has no loss for every N and D"),
        ({"share": 0.1, "noise": 2.0}, "pilot_noise=2.0 must be a share of the loss"),
    ],
)
def test_nonsense_is_refused(options, match):
    with pytest.raises(ValueError, match=match):
        make_pilot(**({"law": LAW, "C": 1.28e13} | TINY | options))


@pytest.mark.long
def test_the_design_that_loses_least_is_chosen():
    seen = []
    pilot = make_pilot(LAW, 1.28e13, 0.1, advance=lambda: seen.append(1), **TINY)
    weighed = pilot.weighed.set_index("design")
    name = pilot.ladder.design.name
    assert weighed.excess_high.idxmin() == name
    assert weighed.refusal["horizons"].startswith("pilot=0.1 of")
    assert len(seen) <= rehearsal.count_rehearsals() and [*pilot.expected.world][-1] == "all"
    page = markdown(pilot_sections(pilot, "Train: it."))
    assert f"| {name} * |" in page and "does not fit" in page and "Train: it." in page


@pytest.mark.long
def test_worlds_are_those_of_the_reference():
    shipped = json.loads(SHIPPED.read_text())
    data = prepare("results/reference-enwik8-cpu/runs.csv")
    fit = fit_parametric(data, FitSettings(bootstrap=0), law="kaplan_general")
    assert shipped["kaplan_general"] == pytest.approx(dict(fit.params), rel=1e-3)
