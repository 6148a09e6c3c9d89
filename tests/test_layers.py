"""The import graph of `scaling` is a one-way street."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "scaling"
GROUND = {"errors", "files", "quantities"}  # stand alone
FITTING = {"laws", "tables", "fitting"} | GROUND
PLANNING = {"planning", "shapes", "hardware"} | FITTING
PAGES = {"pages", "replication", "figures"} | PLANNING
TRAINING = {"training", "models", "data", "shapes", "tables"} | GROUND
MAY_IMPORT = {
    name: set() for name in GROUND
} | {  # package (or module at the top) -> what it may use
    # a table in, laws and figures out; no torch
    "laws": {"laws"},
    "tables": {"tables", "laws"} | GROUND,
    "fitting": FITTING,
    "shapes": {"shapes"} | GROUND,
    "hardware": {"hardware"} | GROUND,
    "planning": PLANNING,
    "replication": {"replication"} | FITTING,
    "figures": {"figures"} | FITTING,
    "pages": PAGES,
    "results": PAGES,
    "course": {"course", "commandline"} | PAGES,
    # rows out
    "models": {"models", "shapes"},
    "data": {"data", "shapes"} | GROUND,
    "training": TRAINING,
    "plugins": {"training"},  # Hydra's hands: a sweeper
    # the verbs
    "commandline": {"tables"} | GROUND,
    "fit": {"commandline", "results"} | PAGES,
    "plan": {"commandline"} | PAGES,
    "plot": {"commandline", "results"} | PAGES,
    "reproduce": {"commandline", "results"} | PAGES,
    "sweep": {"commandline", "results"} | PAGES | TRAINING,
    "__init__": PLANNING,
}
VERBS = {"course.__main__", "fit", "plan", "plot", "reproduce", "sweep"}
WITHOUT_TORCH = ["pages.fits", "pages.plans", "pages.replication", "results", "course.page"]
WITHOUT_TORCH += ["course.figures", "figures", "data.objectives", "shapes.buildable"]
WITHOUT_TORCH += ["sweep", "training.dispatch", "training.monitor"]  # mistakes are told at once


def modules():
    paths = (p for p in ROOT.rglob("*.py") if "conf" not in p.relative_to(ROOT).parts)
    return {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in paths}


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


@pytest.mark.parametrize("name", modules())
def test_imports_point_down(name):
    package = name.split(".")[0]
    assert package in MAY_IMPORT, f"give scaling.{package} a place in MAY_IMPORT"
    used = {i.split(".")[0] for i in scaling_imports(modules()[name])}
    stray = used - MAY_IMPORT[package] - {package}
    assert not stray, f"scaling.{name} may not import {sorted(stray)}"


def test_no_circle_between_packages():
    left = {name: set(used) - {name} for name, used in MAY_IMPORT.items()}
    while free := [name for name, used in left.items() if not used & set(left)]:
        left = {name: used for name, used in left.items() if name not in free}
    assert not left, f"in a circle: {sorted(left)}"


def test_nothing_imports_a_verb():
    for name, path in modules().items():
        assert not VERBS & set(scaling_imports(path)), name


def test_only_the_command_line_knows_hydra():
    users = {n for n, p in modules().items() if any(i.startswith("hydra") for i in imported_by(p))}
    assert users == {"commandline", "plugins.hydra_plugins.scaling_sweeper"}


@pytest.mark.parametrize("name", ["__init__", *WITHOUT_TORCH])
def test_analysis_needs_no_torch(name):
    module = "scaling" if name == "__init__" else f"scaling.{name}"
    code = f"import sys, {module}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent)
