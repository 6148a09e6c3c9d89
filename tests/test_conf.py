"""Every file in conf/ composes into a complete, typed configuration."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException

from scaling.commandline import CONF, TABLES, resolve
from scaling.data.config import read_vocab_size
from scaling.fit import FitCommand
from scaling.sweep import SweepConfig, plan_cells

GROUPS = [
    f"{group}={file.stem}"
    for group in ("data", "dispatch", "family", "grid", "parallel")
    for file in sorted((Path(CONF) / group).glob("*.yaml"))
]

LAUNCHERS = {  # what a choice of dispatch needs, and the extra that brings it
    "dispatch=ray": ("hydra_plugins.hydra_ray_launcher", "ray"),
    "dispatch=slurm": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
    "dispatch=submitit_local": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
}


def composed(*overrides, name="sweep", conf=CONF):
    with initialize_config_dir(conf, version_base=None):
        return compose(name, overrides=list(overrides))


@pytest.mark.parametrize("choice", GROUPS)
def test_every_choice_composes_and_plans(choice):
    if choice in LAUNCHERS:
        module, extra_name = LAUNCHERS[choice]
        pytest.importorskip(module, reason=f"pip install -e '.[{extra_name}]'")
    extra = {"data=text": ["data.path=x"], "data=tokens": ["data.vocab_size=512"]}.get(choice, [])
    if choice in ("data=synthetic", "grid=smoke", "grid=entropy"):
        extra += ["data=synthetic", choice if "grid" in choice else "grid=smoke"]
    config = resolve(composed(choice, *extra), SweepConfig)
    assert isinstance(config, SweepConfig)
    assert plan_cells(config, read_vocab_size(config.data), "fingerprint")


@pytest.mark.parametrize("family", ["gpt", "bert", "t5"])
@pytest.mark.parametrize("grid", ["demo", "families"])
def test_every_grid_serves_every_family(grid, family):
    config = resolve(composed(f"grid={grid}", f"family={family}"), SweepConfig)
    cells = plan_cells(config, read_vocab_size(config.data), "fingerprint")
    assert {cell.shape.family for cell in cells} == {family}


def test_the_reference_grid_serves_a_bert():
    config = resolve(composed("grid=reference", "family=bert"), SweepConfig)
    assert len(plan_cells(config, read_vocab_size(config.data), "fingerprint")) == 68


def test_an_added_key_is_refused():
    with pytest.raises(ValueError, match=r"unknown configuration keys \['optim.momentum'\]"):
        resolve(composed("+optim.momentum=0.9"), SweepConfig)


def test_an_unknown_key_is_refused():
    with pytest.raises(ConfigCompositionException, match="momentum"):
        composed("optim.momentum=0.9")


def test_a_missing_value_is_named():
    with pytest.raises(ValueError, match="runs must be given: add runs=VALUE"):
        resolve(composed(name="fit", conf=TABLES), FitCommand)
