"""The planner's command line, as a user types it."""

import json
import os
import re

import numpy as np
import pytest
from verbs import ROOT, SCREEN, count_lines

from scaling.hardware.devices import DEVICES
from scaling.hardware.memory import training_memory
from scaling.hardware.setup import Setup
from scaling.planning.placement import network_of, place
from scaling.shapes.shape import Shape

OFFLINE = """if True:
    import socket, sys
    def refuse(*_, **__): raise OSError("no network in this test")
    socket.socket.connect = refuse
    class NoTorch:
        def find_spec(self, name, *_):
            if name.partition(".")[0] == "torch": raise ImportError("no torch in this test")
    sys.meta_path.insert(0, NoTorch())
    """
SHAPE = Shape(vocab_size=32_000, seq_len=2048, n_layers=32, width=4096, n_heads=32)


@pytest.fixture(scope="module")
def plan(verb):
    return verb("plan", OFFLINE)


@pytest.fixture(scope="module")
def chinchilla(plan, tmp_path_factory):
    """The plan of Chinchilla's budget: what was printed, the JSON and the Markdown."""
    folder = tmp_path_factory.mktemp("plan")
    files = [folder / "plan.json", folder / "plan.md"]
    done = plan("budget=5.76e23", f"json={files[0]}", f"markdown={files[1]}", "verbose=true")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout, json.loads(files[0].read_text()), files[1].read_text()


def billions(printed, law):
    """N of a law in the printed table of all laws."""
    return float(re.search(rf"^{law}(?: \(\w+\))? +([\d.]+)B", printed, re.MULTILINE)[1])


def test_the_laws_at_the_budget_of_chinchilla(chinchilla):
    printed, *_ = chinchilla
    assert 67 <= billions(printed, "hoffmann2022_envelope") <= 73
    assert 32 <= billions(printed, "hoffmann2022_rounded") <= 33
    assert 40 <= billions(printed, "hoffmann2022") <= 41
    found = re.search(r"tokens/param +([\d.]+) +([\d.]+) to ([\d.]+)", printed)
    ratio, low, high = map(float, found.groups())
    assert 17.5 <= ratio <= 20.5
    assert low < ratio < high


def test_json_holds_what_is_printed(chinchilla):
    printed, parts, _ = chinchilla
    ratio = parts["tokens_per_param"]
    assert f"{ratio['value']:.3g}" in printed and f"{ratio['low']:.3g}" in printed
    assert parts["budget"]["flops"] == 5.76e23
    assert parts["law"] == "besiroglu2024"
    laws = {row["law"]: row for row in parts["comparison"]}
    assert 67e9 <= laws["hoffmann2022_envelope"]["N_opt"] <= 73e9
    assert laws["hoffmann2022_envelope"]["L_opt"] is None  # it has no loss
    assert parts["memory"]["device"] == "H100" and parts["memory"]["n_devices"] == 64


def test_the_printed_shape_is_near_the_optimum(chinchilla):
    _, parts, _ = chinchilla
    assert parts["shape"]["total_params"] == pytest.approx(parts["N_opt"]["value"], rel=0.05)


def test_markdown_has_the_same_numbers(chinchilla):
    printed, _, page = chinchilla
    assert page.startswith("# Plan for 5.76e+23\n")
    sections = re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert [*sections, "The answer"] == re.findall(r"^(\S.*?) ─+$", printed, re.MULTILINE)
    assert re.search(r"\| hoffmann2022 \(extrapolated\) \| 40\.\dB \|", page)
    assert "estimated for 64 H100, as nobody named one" in page  # no utilisation
    assert "## How to lay it out" in page and "## What it costs beyond rental" in page


def test_a_cluster_its_price_and_its_limits(plan, tmp_path):
    target = tmp_path / "plan.json"
    asked = ["budget=512 A100 for 30 days", "utilisation=0.4", "price_per_hour=2", "kept_share=1"]
    asked += ["data_limit=300B", "inference_tokens=10T", "params=70B", "tokens=1.4T"]
    done = plan(*asked, "compare=false", f"json={target}", "verbose=true")
    assert done.returncode == 0, done.stderr
    assert (
        "512 A100 take 30 days at their bf16 peak for the plan, 737,280 at 2 per A100-hour"
        in done.stdout
    )
    assert "All laws" not in done.stdout
    parts = json.loads(target.read_text())
    assert parts["budget"]["flops"] == pytest.approx(512 * 30 * 86_400 * 312e12 * 0.4)
    assert parts["budget"]["money"] == pytest.approx(512 * 30 * 24 * 2)
    assert parts["data"]["binding"] is True
    assert (
        parts["inference"]["planned"]["N"] < parts["N_opt"]["value"]
    )  # serving asks for a smaller model
    assert parts["N"] == parts["inference"]["planned"]["N"]
    assert parts["memory"]["n_devices"] == 512  # as the budget says
    assert parts["layouts"][0]["fits"] and 0.3 < parts["layouts"][0]["mfu"] < 0.6
    assert parts["upkeep"]["terms"]["region"] is None and 0 < parts["upkeep"]["lost"] < 0.1
    assert parts["verdict"]["tokens_per_param"] == pytest.approx(20)


ALL = ["512 A100 for 30 days", "data_limit=300B", "inference_tokens=10T", "params=70B"]
ALL = [f"budget={ALL[0]}", *ALL[1:], "tokens=1.4T", "ability=true"]


@pytest.mark.parametrize("asked", [["budget=5.76e23"], ["budget=1e13", "law=kaplan2020"], ALL])
def test_a_plan_is_a_screen(plan, asked):
    """What was asked stands there, however much it is."""
    done = plan(*asked)
    assert done.returncode == 0, done.stderr
    assert count_lines(done.stdout) <= SCREEN
    assert max(map(len, done.stdout.splitlines())) <= 80
    told = " ".join(done.stdout.split())
    assert re.match(r"[\d.,]+ (\[.*?\] )?tokens per parameter at ", told)
    if asked == ALL:
        for part in ("your model, 70B on 1.4T", "300B tokens at hand", "serving 10T"):
            assert part in told
    for part in ("N_opt", "D_opt", "N_opt grows as C^a with a = ", "Distrust:", "verbose=true"):
        assert part in told


def test_a_law_far_away_leaves_the_sentence_its_numbers(plan, tmp_path):
    folder = tmp_path / "a-user-whose-folders" / "have-long-names" / "reference-enwik8-cpu"
    folder.mkdir(parents=True)
    kept = ROOT / "results" / "reference-enwik8-cpu"
    for name in ("answer.json", "fit.json"):
        (folder / name).write_bytes((kept / name).read_bytes())
    done = plan("budget=1e13", f"law={folder}")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert " by .../have-long-names/reference-enwik8-cpu (ok): N_opt " in told
    assert "grows as C^a with a = 0.4" in told and count_lines(done.stdout) <= SCREEN


def test_a_device_of_the_user(plan):
    own = "devices={MyChip: {peak_flops: {bf16: 4.0e14}, memory_bytes: 96.0e9}}"
    done = plan("budget=1e6 MyChip-hours at 50 %", own, "compare=false", "verbose=true")
    assert done.returncode == 0, done.stderr
    assert f"{1e6 * 3600 * 2e14:.3g} FLOPs" in done.stdout
    assert "64 MyChip of 96 GB" in done.stdout


def test_a_law_of_the_user(plan):
    done = plan("budget=1e13", "law=results/demo-enwik8-cpu", "verbose=true")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^results/demo-enwik8-cpu ", done.stdout, re.MULTILINE)


MIXTURE = {"model_type": "mixtral", "vocab_size": 32_000, "hidden_size": 4096}
MIXTURE |= {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}
MIXTURE |= {"intermediate_size": 14336, "max_position_embeddings": 4096}
MIXTURE |= {"num_local_experts": 8, "num_experts_per_tok": 2}


def test_a_given_architecture_its_memory_and_its_recipe(plan, tmp_path):
    model, files = tmp_path / "config.json", [tmp_path / "plan.json", tmp_path / "recipe.py"]
    model.write_text(json.dumps(MIXTURE))
    asked = [f"model={model}", "tokens=2T", f"json={files[0]}", f"recipe={files[1]}"]
    done = plan("budget=1e24", *asked, "compare=false", "verbose=true")
    assert done.returncode == 0, done.stderr
    assert "46,702,792,704 parameters, 12,879,925,248 of a token" in done.stdout
    assert "Memory of the architecture on each device" in done.stdout
    parts = json.loads(files[0].read_text())
    assert parts["given"]["D"] == 2e12 == parts["recipe"]["D"]
    state = {row["strategy"]: row["state"] for row in parts["memory"]["by_strategy"]}
    assert state["DDP"] == 16 * 46_702_792_704
    assert "n_embd = 4096" in files[1].read_text()


@pytest.mark.long
@pytest.mark.filterwarnings("default")
def test_the_sweep_takes_the_recipe_of_a_tiny_plan(plan, verb, tmp_path):
    done = plan("budget=1e11", "compare=false", f"recipe={tmp_path / 'tiny.yaml'}")
    assert done.returncode == 0, done.stderr
    environment = os.environ | {"SCALING_CACHE_DIR": str(tmp_path / "cache")}
    asked = [f"--config-dir={tmp_path}", "--config-name=tiny", "data=synthetic", "dry_run=true"]
    dry = verb("sweep")(*asked, cwd=tmp_path, environment=environment)
    assert dry.returncode == 0, dry.stderr
    assert "1 cell, 1e+11 training FLOPs" in dry.stdout


def test_training_in_8_bits_and_serving_in_4(plan):
    law = "law=results/synthetic-cpu"
    done = plan("budget=1e13", law, "train_bits=8", "serve_bits=4", "compare=false", "verbose=true")
    assert done.returncode == 0, done.stderr
    assert "With weights of few bits" in done.stdout
    assert "training in 8 bits, serving in 4 bits (" in done.stdout
    assert "GB to serve" in done.stdout and "an extrapolation that nothing here" in done.stdout
    assert re.search("Over-training makes (rounding dear|it no dearer)", done.stdout)


def test_a_goal_and_what_the_model_may_do(plan, tmp_path):
    target = tmp_path / "plan.json"
    asked = ["target_loss=2.0", "serve_params=at most 30B", "latency=40 ms", "ability=true"]
    done = plan(*asked, "compare=false", f"json={target}", "verbose=true")
    assert done.returncode == 0, done.stderr
    assert "(held by target, size)" in done.stdout
    assert re.search(r"latency: a token at batch 1 +40 ms +1\d\.?\d* ms +slack", done.stdout)
    assert "Read with care" in done.stdout
    parts = json.loads(target.read_text())
    assert parts["answer"]["binding"] == ["target", "size"]
    assert parts["N"] == pytest.approx(30e9) and parts["ability"][0]["status"] == "extrapolated"


@pytest.mark.long
def test_a_pilot_is_a_grid_file_that_a_sweep_reads(plan, verb, tmp_path):
    file = tmp_path / "grid" / "first.yaml"
    asked = ["budget=4e13", "pilot=0.1", "vocab_size=256", "seq_len=64", f"pilot_file={file}"]
    done = plan(*asked, "compare=false", "verbose=true")
    assert done.returncode == 0, done.stderr
    assert "Designs weighed by the same rehearsal" in done.stdout
    assert f"--config-dir {tmp_path} grid=first name=first" in done.stdout
    keys = ["grid=first", "data=synthetic", "data.synthetic_train_tokens=200000000"]
    tried = verb("sweep")("--config-dir", str(tmp_path), *keys, "--cfg", "job")
    assert tried.returncode == 0 and "name: pilot" in tried.stdout
    assert "vocab_size: 256" in tried.stdout and "rules: " in tried.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["budget=-5"], "budget must be positive"),
        (["budget=bananas"], "budget 'bananas' is not understood"),
        ([], "budget must be given"),
        (["budget=1e23", "law=nobody"], "law 'nobody' is neither one of"),
        (["budget=1e23", "device=H1000"], "device 'H1000' is unknown"),
        (["budget=8 H1000 for 3 days"], "device 'H1000' is unknown"),
        (["budget=$2M on H100"], "say price_per_hour"),
        (["budget=1e23", "price_per_hour=-1"], "price_per_hour must be positive"),
        (["budget=1e23", "utilisation=1.5"], "utilisation 1.5 is no share"),
        (["budget=1e23", "seq_len=10000000000000"], "is longer than the data"),
        (["budget=1e23", "data_limit=-3"], "data_limit must be positive"),
        (["budget=1e23", "params=7B"], "give both params=N and tokens=D"),
        (["budget=1e23", "params=7B", "tokens=0"], "must be positive"),
        (["budget=1e23", "n_devices=0"], "n_devices must be at least 1"),
        (["budget=1e23", "precision=int4"], "precision 'int4' is unknown"),
        (["budget=1e23", "law=kaplan2020", "inference_tokens=1T"], "has no loss for every N and D"),
        (["budget=1e23", "devices={X: {memory_bytes: 1e9}}"], "device 'X': ['peak_flops'] missing"),
        (["budget=1e23", "serve_bits=1"], "serve_bits=1: the laws of bits were measured from 2 to"),
        (["budget=1e21", "serve_bits=4"], "no law says what bits cost there"),
        (["budget=1e23", "model=nobody.json"], "model=nobody.json: cannot be read"),
        (["budget=1e23", "model=README.md"], "model=README.md: is no JSON"),
        (["budget=1e23", "model=x", "params=7B"], "params=N is known where model=FILE is given"),
        (["budget=1e23", "recipe=x.txt"], "recipe=FILE.txt: name it FILE.yaml for scaling.sweep"),
        (["budget=1e60", "data_limit=1T"], "is 1e+60 FLOPs, beyond 1e+50"),
        (["budget=1e23", "devices=X"], "devices='X' must map names"),
        (["target_loss=1.9", "budget=1e23"], "conflicts with budget: together they allow a loss"),
        (["budget=1e13", "pilot=0.2", "pilot_file=x.yaml"], "must be DIR/grid/NAME.yaml"),
        (["budget=1e23", "+colour=red"], "unknown configuration keys ['colour']"),
    ],
)
def test_nonsense_is_refused_by_name_in_one_line(arguments, message, plan):
    refused = plan(*arguments)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: ") and message in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert refused.stdout == ""


# ---------------------------------------------------------------- memory of the shape


def test_placement_is_the_memory_of_its_setups():
    params, device = 6.9e9, DEVICES["H100"]
    placement = place(SHAPE, params, device, 64)
    table = placement.table.set_index("strategy")
    whole = training_memory(params, Setup(n_devices=64), network_of(SHAPE))
    assert table.total["DDP"] == whole.total
    assert table.state["ZeRO-3, FSDP"] == pytest.approx(16 * params / 64)
    assert (table.total_recomputed < table.total).all()
    assert not table.fits["DDP"] and table.fits["ZeRO-3, FSDP"]
    assert np.isnan(table.devices_needed["DDP"])  # copies never make it smaller


def test_an_offload_names_the_hosts_memory_and_the_way_there():
    params, device = 6.9e9, DEVICES["H100"]
    table = place(SHAPE, params, device, 64).table.set_index("strategy")
    assert table.host["FSDP, offload"] == pytest.approx(16 * params)  # of all hosts
    row = table.loc["FSDP, offload"]
    assert row.host_each == pytest.approx(16 * params / 64)
    assert row.host_seconds == row.host_sent / 64e9
    assert (table.drop("FSDP, offload")[["host", "host_each", "host_sent"]] == 0).all(axis=None)


def test_the_fewest_devices_are_just_enough():
    params, device = 6.9e9, DEVICES["H100"]
    few = int(place(SHAPE, params, device, 64).table.set_index("strategy").devices_needed["ZeRO-1"])
    for count, enough in ((few, True), (few - 1, False)):
        table = place(SHAPE, params, device, count).table.set_index("strategy")
        assert table.fits_recomputed["ZeRO-1"] == enough


@pytest.mark.parametrize("count, has_groups", [(64, True), (8, False), (12, False)])
def test_hybrid_sharding_needs_several_groups(count, has_groups):
    strategies = {*place(SHAPE, 6.9e9, DEVICES["H100"], count).table.strategy}
    assert ("FSDP, hybrid" in strategies) == has_groups
