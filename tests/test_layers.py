"""The import graph of `scaling` is a one-way street; its files and functions stay short."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1] / "scaling"
GROUND = {"errors", "files", "quantities"}  # stand alone
FITTING = {"laws", "tables", "fitting"} | GROUND
PLANNING = {"planning", "shapes", "hardware"} | FITTING
PAGES = {"pages", "replication", "figures"} | PLANNING
TRAINING = {"training", "models", "data", "shapes", "tables"} | GROUND
MAY_IMPORT = {
    name: set() for name in GROUND
} | {  # package (or module at the top) -> what it may use
    "keys": set(),
    "completion": {"keys"},
    "products": {"files"},
    # a table in, laws and figures out; no torch
    "laws": {"laws"} | GROUND,
    "tables": {"tables", "laws"} | GROUND,
    "fitting": FITTING,
    "shapes": {"shapes"} | GROUND,
    "hardware": {"hardware"} | GROUND,
    "planning": PLANNING,
    "replication": {"replication"} | FITTING,
    "figures": {"figures"} | FITTING,
    "pages": PAGES,
    "results": PAGES,
    "course": {"course", "commandline", "products"} | PAGES,
    # rows out
    "models": {"models", "shapes", "files"},
    "data": {"data", "shapes"} | GROUND,
    "training": TRAINING,
    "plugins": {"training"},  # Hydra's hands: a sweeper
    # the verbs
    "commandline": {"completion", "keys", "tables"} | GROUND,
    "compare": {"commandline", "products", "results"} | PAGES,
    "fit": {"commandline", "products", "results"} | PAGES,
    "plan": {"commandline"} | PAGES,
    "plot": {"commandline", "products", "results"} | PAGES,
    "quantise": {"commandline", "products"} | PAGES | TRAINING,
    "report": {"commandline", "products", "results"} | PAGES,
    "reproduce": {"commandline", "products", "results"} | PAGES,
    "sample": {"commandline", "products"} | PAGES | TRAINING,
    "sweep": {"commandline", "products", "results"} | PAGES | TRAINING,
    "__main__": {"commandline", "completion", "errors"},  # all of them by their names
    "__init__": PLANNING | {"pages", "figures"},  # the notebook's, when they are shown
}
VERBS = {"compare", "course.__main__", "fit", "plan", "plot", "quantise", "reproduce", "sample"}
VERBS |= {"report", "sweep"}
HEAVY = ("matplotlib", "requests", "rich", "scipy.stats", "torch")
LIGHT = ["scaling", "scaling.planning.plan"]  # imported without what only some of it needs
WITHOUT_TORCH = [
    "data.tokens",
    "report",
    "pages.fits",
    "pages.plans",
    "pages.replication",
    "results",
]
WITHOUT_TORCH += ["course.page", "course.figures", "figures", "data.objectives", "shapes.buildable"]
WITHOUT_TORCH += [
    "quantise",
    "report",
    "sample",
    "sweep",
    "training.dispatch",
    "training.monitor",
]  # mistakes are told at once


@functools.cache
def modules():
    paths = (p for p in ROOT.rglob("*.py") if "conf" not in p.relative_to(ROOT).parts)
    return {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in paths}


@functools.cache
def nodes(path):
    return [*ast.walk(ast.parse(path.read_text()))]


def imported_by(path):
    for node in nodes(path):
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


def test_imports_point_down():
    stray = {}
    for name, path in modules().items():
        package = name.split(".")[0]
        assert package in MAY_IMPORT, f"give scaling.{package} a place in MAY_IMPORT"
        used = {i.split(".")[0] for i in scaling_imports(path)}
        if wrong := used - MAY_IMPORT[package] - {package}:
            stray[name] = sorted(wrong)
    assert not stray, f"modules that may not import what they do: {stray}"


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


def test_analysis_needs_no_torch_and_a_plan_no_figures():
    """One process for all: what has loaded torch once, the modules after it cannot hide."""
    told = dict.fromkeys(LIGHT, HEAVY)
    told |= {f"scaling.{name}": ("torch", "matplotlib.pyplot") for name in WITHOUT_TORCH}
    code = f"""
import importlib, sys
for name, heavy in {told}.items():
    importlib.import_module(name)
    if found := {{*heavy}} & {{*sys.modules}}:
        sys.exit(f"{{name}} imports {{found}}")
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT.parent, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- sizes


def functions():
    """Name -> lines of code, docstring left out."""
    for module, path in modules().items():
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                told = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) else 0
                yield f"{module}.{node.name}", node.end_lineno - node.lineno + 1 - told


def test_no_file_is_longer_than_350_lines():
    lines = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert {name: n for name, n in lines.items() if n > 350} == {}


def test_at_most_one_function_of_fifty_is_longer_than_50_lines():
    found = list(functions())
    long = {name: n for name, n in found if n > 50}
    assert len(long) <= len(found) / 50, long
