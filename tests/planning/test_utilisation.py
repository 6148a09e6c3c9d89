"""Published trainings: what they reached, and what is said of them without them."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling.planning.backwards import plan_backwards
from scaling.planning.mixtures import compare_mixtures, read_mixtures
from scaling.planning.utilisation import (
    calibrate,
    compare_runs,
    job_of,
    layout_of,
    load_calibration,
    read_runs,
    reported_mfu,
)

RECORD = Path(__file__).parents[2] / "results" / "utilisation"
RUNS = {run["run"]: run for run in read_runs().to_dict("records")}


@pytest.mark.parametrize(
    "name, mfu, within",
    [
        ("PaLM 540B", 0.462, 1e-9),  # as printed
        ("MT-NLG 530B on 2,240", 0.302, 1e-3),  # from seconds; PaLM's table 3 prints 30.2 %
        ("Megatron 530B, selective", 0.560, 1e-3),  # Korthikanti et al. print 56.0 %
        ("Megatron 22B, selective", 0.415, 3e-3),  # 41.5 %
        ("MPT 7B on 8 A100", 0.6423, 2e-3),  # from tokens/s; llm-foundry prints 64.23 %
        ("MPT 70B on 64 H100", 0.4257, 2e-3),
        ("BloombergGPT 50B", 0.245, 1e-3),  # 102 TFLOP/s of 312, a quarter of it again
    ],
)
def test_any_unit_becomes_the_utilisation_that_the_papers_print(name, mfu, within):
    run = RUNS[name]
    assert reported_mfu(run, job_of(run)) == pytest.approx(mfu, abs=within)


def test_published_sizes_are_those_of_the_models():
    sizes = {"GPT-3 175B": 175e9, "PaLM 540B": 540e9, "BLOOM 176B": 176e9, "LLaMA 65B": 65.2e9}
    sizes |= {"Nemotron-4 340B, NeMo": 340e9, "BloombergGPT 50B": 50.6e9, "Falcon 180B": 180e9}
    sizes |= {"Megatron 1008B": 1008e9, "MPT 70B on 64 H100": 64.9e9, "GLM-130B": 130e9}
    for name, params in sizes.items():
        assert job_of(RUNS[name]).network.params == pytest.approx(params, rel=0.013)
    assert layout_of(RUNS["BLOOM 176B"])["pipeline"] == 12
    assert "micro_batch" not in layout_of(RUNS["Falcon 180B"])


def test_the_record_says_what_the_planner_uses():
    runs, known = pd.read_csv(RECORD / "runs.csv"), load_calibration()
    assert len(runs) == len(RUNS) == known.n_runs and runs.training.nunique() == known.n_trainings
    logs = np.log(runs.mfu_reported / runs.mfu_ideal).groupby(runs.training).mean()
    assert np.exp(logs.mean()) == pytest.approx(known.reached, rel=1e-3)
    assert 0.55 < known.reached < 0.7 and known.spread < 0.3
    assert (np.abs(np.log(runs.mfu / runs.mfu_reported)) < np.log(1.25)).mean() > 0.85
    low, high = known.interval(0.5)
    assert low * high == pytest.approx(0.25) and high / 0.5 == pytest.approx(
        np.exp(1.6449 * known.spread)
    )
    assert known.interval(0.9)[1] == 1.0


def test_mixtures_are_told_with_their_errors():
    kept = pd.read_csv(RECORD / "mixtures.csv").set_index("run")
    assert [*kept.index] == [*read_mixtures().run]
    assert kept.params["DeepSeek-V3"] == pytest.approx(671_025_397_760, rel=1e-3)
    assert kept.mfu_reported["DeepSeek-V3"] == pytest.approx(0.219, abs=1e-3)
    assert abs(kept.hidden_error["DeepSeek-V3"]) < 0.1 and kept.error["DeepSeek-V3"] < -0.5
    assert abs(kept.error["Qwen3 235B, EP32"]) < 0.1


@pytest.mark.long
def test_calibration_and_plans_are_as_recorded():
    runs = compare_runs()
    calibration = calibrate(runs)
    assert asdict(calibration) == pytest.approx(asdict(load_calibration()))
    recorded = pd.read_csv(RECORD / "runs.csv")
    assert runs.mfu.to_numpy() == pytest.approx(recorded.mfu.to_numpy(), rel=1e-3)
    mixtures = compare_mixtures(calibration)
    recorded = pd.read_csv(RECORD / "mixtures.csv")
    for name in ("mfu", "hidden", "memory"):
        assert mixtures[name].to_numpy() == pytest.approx(recorded[name].to_numpy(), rel=1e-3)
    plans, kept = plan_backwards(runs, calibration), pd.read_csv(RECORD / "plans.csv")
    assert [*plans.training] == [*kept.training] and len(plans) == 10
    for name in ("our_N", "our_D", "our_mfu", "mfu_of_theirs", "days_of_theirs", "gigabytes"):
        assert plans[name].to_numpy(float) == pytest.approx(kept[name].to_numpy(float), rel=2e-3)
