"""A project's runs, as W&B's client gives them, become a table that fits take."""

import sys
import types
from typing import NamedTuple

import pytest

from scaling.fit import main
from scaling.tables.runs import load_runs


class FakeRun(NamedTuple):
    id: str
    name: str
    state: str
    config: dict
    summary_metrics: dict


def offer(monkeypatch, runs):
    """Put a client in wandb's place, and give what it was asked for."""
    asked = []

    class Api:
        def runs(self, path, **options):
            asked.append((path, options))
            if isinstance(runs, Exception):
                raise runs
            return iter(runs)

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(Api=Api))
    return asked


def ours(i, state="finished"):
    """As a sweep with track=wandb leaves it."""
    N, D = 1e6 * 2**i, 2e7 * 2**i
    config = {"run_id": f"r{i}", "total_params": N, "tokens": D, "loss": "ce", "optim": {"lr": 0.1}}
    reached = {"loss": 3.0 - 0.1 * i, "status": "ok", "_runtime": 3, "train/loss": 3.5}
    return FakeRun(f"r{i}", f"run {i}", state, config, reached | {"_wandb": {"runtime": 3}})


def test_configuration_and_summary_become_columns(monkeypatch):
    asked = offer(monkeypatch, [ours(0), ours(1)])
    runs = load_runs("wandb:me/tiny")
    assert asked == [("me/tiny", {"per_page": 500, "lazy": False})]
    assert [*runs.run_id] == ["r0", "r1"] and [*runs.loss] == [3.0, 2.9]
    assert [*runs["optim.lr"]] == [0.1, 0.1] and [*runs["train/loss"]] == [3.5, 3.5]
    assert not any(name.startswith("_") for name in runs)
    assert runs.attrs["source"] == "wandb:me/tiny"


def test_a_strangers_names_are_mapped_and_running_runs_left_out(monkeypatch):
    config = {"model": {"params": 1e6}, "tokens_seen": 2e7}
    runs = [FakeRun(f"x{i}", "x", state, config, {"eval/loss": 3.0 + i})
            for i, state in enumerate(["finished", "running"])]  # fmt: skip
    offer(monkeypatch, runs)
    columns = {"model.params": "N", "tokens_seen": "D", "eval/loss": "loss"}
    table = load_runs("wandb:me/other", columns)
    assert [*table.status] == ["ok", "failed"] and table.params[0] == 1e6


@pytest.mark.parametrize(
    ("source", "runs", "told"),
    [
        ("wandb:tiny", [], "runs=wandb:tiny must be wandb:ENTITY/PROJECT"),
        ("wandb:me/tiny", [], "runs=wandb:me/tiny has no runs"),
        ("wandb:me/tiny", RuntimeError("not logged in\nat all"), "cannot be had: not logged in"),
    ],
)
def test_what_cannot_be_had_is_one_line(source, runs, told, monkeypatch):
    offer(monkeypatch, runs)
    with pytest.raises(ValueError, match=told) as refused:
        load_runs(source)
    assert "\n" not in str(refused.value)


def test_without_wandb_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr(sys, "argv", ["fit", "runs=wandb:me/tiny"])
    with pytest.raises(SystemExit, match=r"needs pip install 'scaling-laboratory\[wandb\]'"):
        main()
