"""What every committed record under results/ holds, and how much of it."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RECORDS = [
    folder.name
    for folder in sorted((ROOT / "results").iterdir())
    if (folder / "README.md").is_file()
    and f"!results/{folder.name}/" in (ROOT / ".gitignore").read_text().splitlines()
]
LARGEST = 2_000_000  # bytes: figures for print, and a page that holds its data
KINDS = {".csv", ".html", ".json", ".md", ".png", ".yaml"}
LEFT_OUT = {"checkpoints", "models", "records", "tensorboard", "wandb", "mlflow"}  # by .gitignore


def files_of(record):
    paths = (ROOT / "results" / record).rglob("*")
    return [p for p in paths if p.is_file() and not LEFT_OUT & {*p.parts} and p.name != ".lock"]


def test_there_are_records():
    assert len(RECORDS) >= 13


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_small_and_can_be_read_anywhere(record):
    files = files_of(record)
    assert {p.suffix for p in files} <= KINDS
    assert sum(p.stat().st_size for p in files) < LARGEST


@pytest.mark.parametrize("record", RECORDS)
def test_a_page_shows_the_figures_that_are_there(record):
    page = ROOT / "results" / record / "README.md"
    for path in files_of(record):
        own = path.parent / "README.md"  # of a record in parts
        if path.suffix == ".png":
            assert path.name in (own if own.is_file() else page).read_text()
    assert ".svg" not in page.read_text()


def test_what_is_tried_stays_out_of_git():
    for tried in ("try/published/checks.csv", "try/course/README.md", "demo/runs.csv"):
        command = ["git", "check-ignore", "-q", f"results/{tried}"]
        done = subprocess.run(command, cwd=ROOT)
        assert done.returncode in (0, 128), tried  # 128: no checkout
