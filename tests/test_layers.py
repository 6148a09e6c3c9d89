"""The import graph of `scaling` is a one-way street."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "scaling"
FITTING = {"observations", "runs", "laws", "frontier", "fitting", "files"}
MAY_IMPORT = {
    # the right half: a table in, laws and figures out; no torch
    "papers": set(),
    "quantities": set(),
    "published": {"files", "papers"},
    "runs": {"published"},
    "observations": {"runs"},
    "noise": set(),
    "laws": set(),
    "frontier": {"laws"},
    "fitting": FITTING,
    "figures": {"figures"} | FITTING,
    "files": set(),
    "results": {"files", "figures", "quantities"} | FITTING,
    "replication": {"replication", "papers", "published", "quantities", "results"} | FITTING,
    "hardware": {"hardware"},  # stands alone
    "planning.course_page": {"planning", "hardware", "quantities", "results"},
    "planning": {"planning", "hardware", "papers", "quantities", "flops", "models.shape"} | FITTING,
    # the left half: rows out
    "models.shape": set(),
    "flops": {"models.shape"},
    "optim": {"flops", "models.shape"},
    "data": {"data", "files"},
    "data.objectives": {"models.shape"},
    "models": {"models", "models.shape"},
    "models.saved": {"data", "files", "models", "models.shape"},
    "train": {"data.objectives", "models", "models.shape", "optim"},
    "trained": {
        "data",
        "data.objectives",
        "models",
        "models.saved",
        "models.shape",
        "optim",
        "train",
    },
    "grid": {"data.objectives", "flops", "models.shape", "optim"},
    "records": {"data", "files", "grid", "models.saved", "runs"},
    "checkpoints": {"files", "train"},
    "execution": {
        "checkpoints",
        "data",
        "flops",
        "grid",
        "models.saved",
        "optim",
        "records",
        "train",
    },
    "calibration": {"execution", "files", "grid", "optim", "train"},
    "monitor": {"execution", "grid", "quantities"},
    "dispatch": {"data", "execution", "grid", "records"},
    "plugins": {"dispatch"},  # Hydra's hands: a sweeper
    # the verbs
    "commandline": {"data", "fitting", "observations"},
    "fit": {"commandline", "results"},
    "plot": {"commandline", "results"},
    "plan": {"commandline", "files", "hardware", "planning", "quantities", "results"},
    "course": {"commandline", "figures", "files", "planning", "planning.course_page", "quantities"},
    "reproduce": {"commandline", "files", "replication"},
    "sweep": {
        "calibration",
        "commandline",
        "data",
        "dispatch",
        "execution",
        "files",
        "grid",
        "models.shape",
        "monitor",
        "noise",
        "observations",
        "optim",
        "quantities",
        "records",
        "results",
        "runs",
    },
}
VERBS = {"course", "fit", "plan", "plot", "reproduce", "sweep"}
WITHOUT_TORCH = [
    "runs",
    "observations",
    "laws",
    "frontier",
    "fitting.report",
    "figures",
    "results",
    "flops",
    "data.objectives",
    "noise",
]
WITHOUT_TORCH += ["replication.page"]
WITHOUT_TORCH += ["planning.plan", "planning.bloomberg"]
WITHOUT_TORCH += ["planning.course_page", "planning.plan_report", "figures.course"]
WITHOUT_TORCH += ["hardware.claims", "hardware.communication"]


def modules():
    paths = (p for p in ROOT.rglob("*.py") if "conf" not in p.relative_to(ROOT).parts)
    return {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in paths}


def layer_of(name):
    """The longest entry of the dictionary that names the module or a folder above it."""
    fitting = [m for m in MAY_IMPORT if name == m or name.startswith(m + ".")]
    return max(fitting, key=len, default=None)


def imported_by(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def scaling_imports(path):
    known = modules()
    for name in imported_by(path):
        if name.startswith("scaling."):
            parts = name.removeprefix("scaling.").split(".")
            yield next(
                ".".join(parts[:n])
                for n in range(len(parts), 0, -1)
                if ".".join(parts[:n]) in known or n == 1
            )


INSIDE = [name for name in modules() if not name.endswith("__init__")]


@pytest.mark.parametrize("name", INSIDE)
def test_imports_point_down(name):
    layer = layer_of(name)
    assert layer, f"give scaling.{name} a place in MAY_IMPORT"
    stray = {i for i in scaling_imports(modules()[name]) if layer_of(i) not in MAY_IMPORT[layer]}
    assert not stray, f"scaling.{name} may not import {sorted(stray)}"


def test_nothing_imports_a_verb():
    for name, path in modules().items():
        assert not VERBS & set(scaling_imports(path)), name


def test_only_the_command_line_knows_hydra():
    users = {n for n, p in modules().items() if any(i.startswith("hydra") for i in imported_by(p))}
    assert users == VERBS | {"commandline", "plugins.hydra_plugins.scaling_sweeper"}


@pytest.mark.parametrize("name", ["__init__", *WITHOUT_TORCH])
def test_analysis_needs_no_torch(name):
    module = "scaling" if name == "__init__" else f"scaling.{name}"
    code = f"import sys, {module}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent)
