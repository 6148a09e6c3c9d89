"""The notebooks under experiments/: kept executed and small, and run again."""

import base64
import json
from pathlib import Path

import pandas as pd
import pytest

from scaling.fitting.result import load_fit

FOLDER = Path(__file__).parents[1] / "experiments"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
LARGEST_PNG, LARGEST = 60_000, 200_000  # bytes, of a figure and of a notebook


def test_there_are_two():
    assert NOTEBOOKS == ["from_law_to_plan.ipynb", "your_table.ipynb"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_kept_executed_and_small(name):
    text = (FOLDER / name).read_text()
    assert len(text) < LARGEST and "/work/" not in text and "/home/" not in text
    cells = json.loads(text)["cells"]
    run = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in run] == [*range(1, len(run) + 1)]
    outputs = [output for cell in run for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    pngs = [
        output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})
    ]
    assert pngs and max(len(base64.b64decode(png)) for png in pngs) < LARGEST_PNG


def read_outputs(name):
    """All that a notebook printed and returned, as plain text."""
    cells = json.loads((FOLDER / name).read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "".join(
        "".join(output.get("text", output.get("data", {}).get("text/plain", ())))
        for output in outputs
    )


def test_what_the_notebooks_show_is_what_the_records_say():
    """To the digits that do not change with the number of refits."""
    results = FOLDER.parent / "results"
    demo = pd.read_csv(results / "demo-enwik8-cpu" / "optima.csv")
    best = demo[demo.method == "isoflop_power"].sort_values("C").iloc[-1]
    told = read_outputs("your_table.ipynb")
    for name, value in (("N_opt", best.N_opt), ("tokens/param", best.tokens_per_param)):
        assert f"{name} {value:.4g} [" in told
    fit = load_fit(results / "reference-enwik8-cpu" / "answer.json")
    assert str(fit) in read_outputs("from_law_to_plan.ipynb")


@pytest.mark.long
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name):
    nbclient = pytest.importorskip("nbclient", reason="pip install -e '.[notebook]'")
    pytest.importorskip("ipykernel", reason="pip install -e '.[notebook]'")
    import nbformat

    notebook = nbformat.read(FOLDER / name, as_version=4)
    where = {"metadata": {"path": str(FOLDER)}}
    nbclient.NotebookClient(notebook, timeout=900, resources=where).execute()
