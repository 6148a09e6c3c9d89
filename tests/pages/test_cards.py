"""What a card says of a model and of a sweep, read back as the hub reads it."""

import pandas as pd
import pytest
from huggingface_hub import ModelCard

from scaling import results
from scaling.pages.cards import (
    find_origins,
    find_watts,
    read_header,
    write_model_card,
    write_sweep_card,
)

RUN = {
    "run_id": "9703d44d86a2",
    "name": "enwik8-16x1-2e+11-s0",
    "family": "gpt",
    "objective": "clm",
    "data": "enwik8",
    "vocab_size": 1024,
    "seq_len": 128,
    "n_layers": 1,
    "width": 16,
    "n_heads": 1,
    "total_params": 20_000,
    "tokens": 2_000_000,
    "flops": 3.6e12,
    "loss": 4.7375,
    "loss_std": 0.0052,
    "bits_per_byte": 2.8533,
    "lr": 0.03,
    "batch_tokens": 1408,
    "steps": 1005,
    "schedule": "cooldown",
    "precision": "fp32",
    "seed": 0,
    "epochs": 0.05,
    "status": "ok",
    "flops_per_s": 1e9,
    "device": "cpu (x86_64, 1 thread)",
}
COMMAND = "python -m scaling.sweep grid=smoke save_models=true"


def test_a_models_card_is_one_that_the_hub_reads():
    card = ModelCard(write_model_card(RUN, {"name": "enwik8"}, COMMAND))
    head = card.data
    assert (head.license, head.language, head.datasets) == ("unknown", ["en"], ["LTCB/enwik8"])
    assert head.pipeline_tag == "text-generation" and head.tags == ["scaling-laws", "gpt", "enwik8"]
    assert head.metrics == ["loss", "bits_per_byte"]
    found = {result.metric_type: result.metric_value for result in head.eval_results}
    assert found == {"loss": 4.7375, "bits_per_byte": 2.8533}


def test_a_models_card_says_what_it_cost_and_that_energy_is_an_estimate():
    text = write_model_card(RUN, {"name": "enwik8"}, COMMAND)
    assert "2,000,000 tokens, 100 per parameter, 0.05 epochs" in text
    assert "3.6e+12 FLOPs, 4.17e-08 PF-days" in text
    assert "1 device-hours at the measured speed" in text  # 3.6e12 FLOPs at 1e9 FLOP/s
    assert "Energy about 11 Wh: an estimate, not measured (10 W a thread" in text
    assert "Held-out loss: 4.7375 ± 0.0052 nats/token" in text and "Bits per byte: 2.8533" in text
    assert "GFDL; since 2009 also CC BY-SA 3.0" in text
    assert f"Trained by `{COMMAND}`" in text and "## Limits" in text


def test_what_is_not_known_is_not_said():
    run = RUN | {"bits_per_byte": float("nan"), "device": "Some new chip", "data": "text"}
    text = write_model_card(run, {"name": "text", "path": "/home/me/book.txt"}, COMMAND)
    assert "Bits per byte" not in text and "/home/me" not in text
    assert "Energy: not known" in text
    head = ModelCard(text).data
    assert head.language is None and head.datasets is None
    assert [result.metric_type for result in head.eval_results] == ["loss"]


@pytest.mark.parametrize(
    ("data", "hubs"),
    [
        ({"name": "hf", "path": "owner/texts"}, ["owner/texts"]),
        ({"name": "hf", "path": "./rows.parquet"}, [""]),
        ({"name": "mixture", "parts": {"enwik8": 0.5, "pubmed": 0.5}}, ["LTCB/enwik8", ""]),
        ({"name": "synthetic"}, [""]),
    ],
)
def test_origins_of_text(data, hubs):
    origins = find_origins(data)
    assert [origin.hub for origin in origins] == hubs
    assert all(origin.licence for origin in origins)


@pytest.mark.parametrize(
    ("device", "watts"),
    [("NVIDIA H100 80GB HBM3", 700), ("NVIDIA A100-SXM4-80GB", 400), ("cpu (arm64, 1 thread)", 10)],
)
def test_the_power_of_what_a_runs_table_names(device, watts):
    assert find_watts(device) == watts


def test_a_sweeps_card_counts_all_runs():
    other = RUN | {"run_id": "b", "loss": 4.5, "total_params": 40_000, "status": "ok"}
    runs = pd.DataFrame([RUN, other, RUN | {"run_id": "c", "status": "failed", "loss": None}])
    text = write_sweep_card("Models of demo", runs, {"name": "enwik8"}, COMMAND)
    assert "# Models of demo\n\n3 models of 20k to 40k parameters (gpt)" in text
    assert "Held-out losses from 4.5000 to 4.7375" in text and "(b)" in text
    assert "2 of 3 runs came to their end" in text
    assert ModelCard(text).data.tags == ["scaling-laws", "gpt", "enwik8"]


def test_a_card_that_is_there_is_left(tmp_path):
    models = {RUN["run_id"]: tmp_path / "models" / "one", "b": tmp_path / "models" / "none"}
    one = models[RUN["run_id"]]
    one.mkdir(parents=True)
    (one / "config.json").touch()
    runs = pd.DataFrame([RUN, RUN | {"run_id": "b"}])
    results.write_cards(tmp_path, runs, models, {"name": "enwik8"}, COMMAND)
    assert (one / "README.md").read_text().startswith("---\nlicense: unknown\n")
    assert (tmp_path / "MODEL_CARD.md").is_file() and not models["b"].exists()
    (one / "README.md").write_text("mine")
    results.write_cards(tmp_path, runs, models, {"name": "enwik8"}, COMMAND)
    assert (one / "README.md").read_text() == "mine"


def test_the_header_of_a_card_is_taken_over(tmp_path):
    text = write_model_card(RUN, {"name": "enwik8"}, COMMAND)
    (tmp_path / "README.md").write_text(text)
    head = read_header(tmp_path / "README.md")
    assert text.startswith(head) and ModelCard(head).data.tags[0] == "scaling-laws"
    (tmp_path / "README.md").write_text("# Mine\n\n---\n")
    assert read_header(tmp_path / "README.md") == read_header(tmp_path / "gone") == ""
