"""The course's tables, figures and statements, and the verb that writes them."""

import contextlib
import io
import re
from pathlib import Path

import legible
import numpy as np
import pandas as pd
import pytest
from verbs import SCREEN, count_lines, end_of

from scaling.course import __main__ as command
from scaling.course import figures
from scaling.course import tables as course
from scaling.course.claims import MEMORY_PARTS, memory_table
from scaling.course.statements import compare, rounds_to
from scaling.figures.paper import LABELS
from scaling.planning.sources import get_source

ROOT = Path(__file__).parents[2]
DIFFERING = {  # statement -> a part of the reason
    "BLOOM saw 350B tokens": "366B",
    "GPT-3: about 3,700 PF-days": "3,640",
    "1 PF-day: 2 A100 at full efficiency for a day": "sparsity",
    "1B parameters need 80 GB to train": "20 extra bytes",
    "16 bits halve what training takes too": "fp32 copy",
    "pi in FP32 is 3.1415920257568359375": "fp32 of pi is 3.14159274101;",
    "the optimum is 50B parameters": "4.8e23",
    "... and 1.4T tokens": "28 tokens per parameter",
    "at 5.76e23 approach 2 asks for 67-73B": "own table",
    "Chinchilla: four times Gopher's tokens": "four is the factor",
    "Chinchilla: Gopher's compute": "a quarter of the",
    "the smallest models of the chart have a few hundred million parameters (BERT-Base)": "60M",
    "activations and temporaries take 8 bytes per parameter": "they grow with the",
    "175B parameters need 14,000 GB to train": "80 N: the 20",
    "500B parameters need 40,000 GB to train": "80 N: the 20",
    "1B parameters need 40 GB to train at 16 bits": "80 N again; and",
    "1B parameters need 20 GB to train at 8 bits": "80 N again; and",
    "training 1B in fp32 fills one GPU of 80 GB": "from the 80 GB",
    "FP32 begins at 3e-38": "the range is symmetric",
    "FP16 keeps six decimals": "3.140625 has six digits",
    "INT8 loses much": "with a scale it",
    "stage 1 saves 4x beside the course's fp32 table (4 + 4 + 8 bytes)": "4x and 8x are",
    "stage 2 saves 8x beside it": "4x and 8x are",
    "64 GPUs take 64 times less of all that training needs": "the 8 bytes of",
    "stage 3 too": "weights are gathered twice",
    "512 V100 of 80 GB were used": "no V100 has 80",
    "finance is 54.2 % of them": "54.2 and 48.73 add",
    "the finance parts add up to 363B": "each is rounded to",
    "1.3M GPU-hours are about 230 million petaFLOPs": "half of the hours",
    "it was trained compute-optimally": "the size is near",
    "loss is a power of D with C and N fixed": "C moves with D",
    "by approach 3 too": "its exponents are 0.46",
    "by approach 3 of the same paper too": "approaches 1 and 2",
    "by Kaplan too GPT-3 is too large": "Kaplan's line asks for",
    "by Kaplan's L(N, D) too": "Kaplan's law gets the",
    "LLaMA-13B beats GPT-3: in loss, by besiroglu2024": "reported of benchmarks; the",
    "LLaMA-13B beats GPT-3: in loss, by hoffmann2022": "the same by the",
    "top-p keeps the tokens whose probabilities add up to at most p: one at 0.7": "the rule of its",
    "a decoder goes through the input token by token": "true of writing; in",
    "the target of span corruption ends after the last missing token": "the objective here, as",
}
NOT_COMPUTED = {"7 % less TFLOP/s per GPU from 8 to 512 GPUs": "network"}


def test_every_statement_is_reproduced_or_listed_as_differing(statements):
    listed = dict.fromkeys(DIFFERING, "differs") | dict.fromkeys(NOT_COMPUTED, "not computed")
    reasons = DIFFERING | NOT_COMPUTED
    for row in statements.to_dict("records"):
        name = row["statement"]
        assert row["verdict"] == listed.get(name, "reproduced"), row
        assert reasons.get(name, "") in row["why"], row


def test_every_listed_statement_is_there(statements):
    assert {*DIFFERING, *NOT_COMPUTED} <= {*statements.statement}
    assert statements.statement.is_unique
    assert {*statements.origin} == {"course", "paper", "ours"}


@pytest.mark.parametrize(
    "printed, digits, ends",
    [(3640, 3, (3635, 3645)), (1.4e12, 2, (1.35e12, 1.45e12)), (0.5, 1, (0.45, 0.55))],
)
def test_what_rounds_to_a_printed_number(printed, digits, ends):
    assert rounds_to(printed, digits) == pytest.approx(ends)


def test_a_statement_that_is_off_differs():
    assert compare(3.5, 4.5, 4.4) == "reproduced"
    assert compare(3.5, 4.5, 4.6) == "differs"
    assert compare(3.5, 4.5, float("nan")) == "not computed"


# ---------------------------------------------------------------- tables


def test_tokens_of_the_rule_are_those_of_the_course():
    table = course.tokens_table().query("yardstick == '20 per parameter'")
    np.testing.assert_allclose(table.D_for_N, 20 * table.N)
    np.testing.assert_allclose(table.D_for_N, table.course_optimum, rtol=0.015)
    np.testing.assert_allclose(6 * table.N_opt * table.D_opt, table.C)
    verdicts = dict(zip(table.model, table.verdict, strict=True))
    assert verdicts.pop("Chinchilla") == verdicts.pop("LLaMA-65B") == "about optimal"
    assert {*verdicts.values()} == {"under-trained"}


@pytest.mark.parametrize("name", ["besiroglu2024", "hoffmann2022"])
def test_an_optimal_model_leaves_nothing_on_the_table(name):
    law = get_source(name)
    best = law.point(1e23)
    mine = course.Model("mine", best["N_opt"], best["D_opt"])
    row = course.tokens_table([mine], [name]).set_index("yardstick").loc[name]
    assert row.trained == pytest.approx(1, rel=1e-6)
    assert row.loss_gap == pytest.approx(0, abs=1e-9)
    assert row.C_over == pytest.approx(1, rel=1e-6)
    assert course.tokens_for(law.fit.params, mine.N) == pytest.approx(mine.D, rel=1e-9)


def test_any_other_model_does():
    best = get_source("besiroglu2024").point(1e23)
    models = [
        course.Model("large", 4 * best["N_opt"], best["D_opt"] / 4),
        course.Model("small", best["N_opt"] / 4, 4 * best["D_opt"]),
    ]
    table = course.tokens_table(models, ["besiroglu2024"]).query("yardstick == 'besiroglu2024'")
    assert [*table.verdict] == ["under-trained", "over-trained"]
    assert (table.loss_gap > 0.005).all() and (table.C_over > 1.2).all()
    assert ((table.loss_gap_low < table.loss_gap) & (table.loss_gap < table.loss_gap_high)).all()
    assert ((table.D_for_N_low < table.D_for_N) & (table.D_for_N < table.D_for_N_high)).all()


def test_a_model_without_tokens_is_refused():
    with pytest.raises(ValueError, match=r"mine: N=7e.09 parameters and D=0 tokens must be"):
        course.tokens_table([course.Model("mine", 7e9, 0)])


def test_pf_days_are_those_of_brown():
    table = course.pf_days_table()
    for ours, printed in zip(table.pf_days, table.printed_pf_days, strict=True):
        assert printed == float(f"{ours + 1e-9:.3g}")
    np.testing.assert_allclose(table.flops, table.printed_flops, rtol=0.004)
    assert {*table.model[table.flops_per_param_token == 3]} == {
        f"T5-{size}" for size in ("Small", "Base", "Large", "3B", "11B")
    }


def test_memory_is_that_of_the_zero_paper():
    table = memory_table().set_index("stage")
    gb = table.total / 1e9  # Rajbhandari et al. 2020, figure 1: 120, 31.4, 16.6, 1.9
    assert gb["DDP"] == pytest.approx(120)
    assert gb["ZeRO-1"] == pytest.approx(31.4, abs=0.05)
    assert gb["ZeRO-2"] == pytest.approx(16.6, abs=0.05)
    assert gb["ZeRO-3"] == pytest.approx(1.9, abs=0.05)
    assert gb["FSDP, factor 1"] == gb["DDP"] and gb["FSDP, factor 64"] == gb["ZeRO-3"]
    np.testing.assert_allclose(table[[*MEMORY_PARTS]].sum(axis=1), table.total)
    assert {*table.index[~table.fits]} == {"DDP", "FSDP, factor 1"}


def test_lines_spend_their_compute_and_grow_by_their_exponents():
    table = course.allocation_table(np.geomspace(1e17, 1e27, 11))
    np.testing.assert_allclose(6 * table.N_opt * table.D_opt, table.C)
    exponents = {"kaplan2020": 0.73, "hoffmann2022_envelope": 0.50, "hoffmann2022_isoflop": 0.49}
    exponents["hoffmann2022"] = 0.46
    for law, rows in table.groupby("law"):
        slope = np.diff(np.log(rows.N_opt)) / np.diff(np.log(rows.C))
        np.testing.assert_allclose(slope, exponents[str(law)], atol=0.006)


def test_lines_cross_where_they_ask_for_the_same():
    crossings = course.crossings_table()
    assert [*crossings.other[crossings.law == "kaplan2020"]] == [*course.LINES[1:]]
    for row in crossings.to_dict("records"):
        both = course.allocation_table([row["C"]], [row["law"], row["other"]])
        np.testing.assert_allclose(both.N_opt, row["N"])
        np.testing.assert_allclose(both.D_opt, row["D"])


def test_known_models_are_between_kaplan_and_chinchilla_until_2022():
    table = course.known_models_table().set_index("model")
    early = ["LaMDA", "GPT-3", "Jurassic-1", "Gopher", "MT-NLG", "PaLM", "OPT", "BLOOM"]
    assert (table.N_over_kaplan2020[early] < 0.5).all()
    assert (table.N_over_hoffmann2022_envelope[early] > 3).all()
    assert table.N_over_hoffmann2022_envelope["Chinchilla"] == pytest.approx(1, abs=0.03)


# ---------------------------------------------------------------- figures


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The verb in this process: its folder, the figures that it drew there, and what it told."""
    out, drawn, printed = tmp_path_factory.mktemp("course"), {}, io.StringIO()

    def draw(tables):
        drawn.update(figures.course_figures(tables))
        return drawn

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(command, "course_figures", draw)
        patch.setattr(command, "save_figure", lambda figure, path: figure.savefig(path, dpi=60))
        assert end_of(command.main, [f"out={out}"], patch) is None
    assert "differs: BLOOM saw 350B tokens" in printed.getvalue()
    assert "statements of the course" in printed.getvalue()
    assert "Next:\n  python -m scaling.course params=" in printed.getvalue()
    assert count_lines(printed.getvalue()) <= SCREEN
    return out, drawn


@pytest.fixture(scope="module")
def drawn(made):
    return made[1]


@pytest.fixture(scope="module")
def folder(made):
    return made[0]


NAMES = ["tokens", "pf_days", "memory", "known_models", "crossing", "models_by_date"]


@pytest.mark.parametrize("name", NAMES)
def test_axes_have_labels_units_and_a_legend(drawn, name):
    fig = drawn[name]
    known = {
        *LABELS.values(),
        "Compute of pretraining (PF-days)",
        "Memory on each device (GB)",
        "Year",
    }
    assert all(ax.get_xlabel() in known for ax in fig.axes)
    assert fig.legends
    footer = fig.get_supxlabel()
    about = " ".join(ax.get_xlabel() + ax.get_ylabel() for ax in fig.axes)
    assert ("C: 6*N*D" in footer) == ("compute C" in about)  # and nothing of what is not there
    scale = "linear" if name in ("memory", "models_by_date") else "log"
    assert all(ax.get_xscale() == scale for ax in fig.axes)


@pytest.mark.parametrize("name", NAMES)
def test_no_text_covers_another(drawn, name):
    fig = legible.drawn(drawn[name])
    [legend] = fig.legends
    assert all(legend.get_window_extent().y0 >= ax.bbox.y1 - 1 for ax in fig.axes)


def test_figures_show_the_numbers_of_their_tables(drawn):
    bars = [p.get_width() for p in drawn["pf_days"].axes[0].patches]
    assert sorted(bars) == pytest.approx(sorted(course.pf_days_table().pf_days))
    widths = [p.get_width() for p in drawn["memory"].axes[0].patches]
    assert sum(widths) * 1e9 == pytest.approx(memory_table().total.sum())
    names = {str(a.get_gid()) for a in drawn["known_models"].axes[0].get_children()}
    assert {f"model:{m.name}" for m in course.KNOWN_MODELS} <= names


def test_a_model_of_the_user_is_drawn():
    table = course.tokens_table([*course.COURSE_MODELS, course.Model("mine", 7e9, 2e12)])
    ticks = [t.get_text() for t in figures.tokens_figure(table).axes[0].get_yticklabels()]
    assert "mine\n7B" in ticks


# ---------------------------------------------------------------- the verb


def test_it_writes_tables_figures_and_a_page(folder, statements):
    names = {p.name for p in folder.iterdir()}
    assert {f"{name}.png" for name in NAMES} <= names
    assert {
        f"{n}.csv" for n in ("tokens", "pf_days", "memory", "known_models", "crossings")
    } <= names
    page = (folder / "README.md").read_text()
    assert all(
        f"![{title}]" in page
        for title in re.findall(r"^## (?!Every|Number f|Questions|Choosing)(.*)$", page, re.M)
    )
    assert "| bf16 | 1+8+7 | 3.3895e+38 |" in page
    assert re.search(r"\| zero3 \|.* 1\.5 \|", page)
    for statement in statements.statement:
        assert f"| {statement} |" in page


def test_the_committed_page_is_what_the_code_writes(folder):
    committed = ROOT / "results" / "course"
    assert (committed / "README.md").read_text() == (folder / "README.md").read_text()
    assert {p.name for p in committed.iterdir()} == {p.name for p in folder.iterdir()}
    for path in folder.glob("*.csv"):
        ours, theirs = pd.read_csv(path), pd.read_csv(committed / path.name)
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-9)


@pytest.mark.long
def test_a_model_of_the_user_stands_on_the_page(verb, tmp_path):
    done = verb("course.__main__")(f"out={tmp_path}", "params=7B", "tokens=2T", "name=mine")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "README.md").read_text()
    assert "`python -m scaling.course params=7B tokens=2T name=mine`" in page
    assert re.search(r"\| mine \| 7B \| 2T \| 286 \| 20 per parameter \| 140B \| 14 x, over", page)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["params=7B"], "a model of your own needs both params=N and tokens=D"),
        (["params=-7", "tokens=2T"], "params must be positive and finite"),
        (["params=7Q", "tokens=2T"], "params '7Q' is no quantity"),
        (["number=nan"], "number=nan must be finite"),
    ],
)
def test_nonsense_is_one_line(arguments, message, monkeypatch, tmp_path):
    refused = end_of(command.main, [f"out={tmp_path}", *arguments], monkeypatch)
    assert refused.startswith("error: ") and message in refused and "\n" not in refused
    assert not [*tmp_path.iterdir()]
