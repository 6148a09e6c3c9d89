"""The wheel, built by way of the sdist, installed and run where there is no clone."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = "N,D,loss\n" + "".join(
    f"{N:g},{D:g},{1.7 + 400 / N**0.34 + 400 / D**0.28:.4f}\n"
    for N in (1e6, 3e6, 1e7, 3e7)
    for D in (1e8, 3e8, 1e9)
)
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("default")]


def run(*command, cwd, **environment):
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel made of what the sdist holds, and of nothing else of the clone."""
    pytest.importorskip("hatchling", reason="pip install -e '.[dev]'")
    folder = tmp_path_factory.mktemp("package")
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    run(*build, "-t", "sdist", cwd=ROOT)
    [sdist] = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    run(*build, "-t", "wheel", cwd=folder / sdist.name.removesuffix(".tar.gz"))
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder that the wheel is installed into, and one to work in."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    run(*pip, "--target", str(folder), str(wheel), cwd=folder)
    return folder, tmp_path_factory.mktemp("work")


def test_everything_that_is_no_code_travels(wheel):
    told = subprocess.run(
        ["git", "ls-files", "scaling", "conf"], cwd=ROOT, capture_output=True, text=True
    )
    if told.returncode:
        pytest.skip("no checkout that says what belongs to the package")
    names = [
        name if name.startswith("scaling/") else f"scaling/{name}" for name in told.stdout.split()
    ]
    assert {Path(name).suffix for name in names} >= {".csv", ".js", ".css", ".yaml", ".toml"}
    assert {*names} - {*zipfile.ZipFile(wheel).namelist()} == set()


def test_the_verbs_run_outside_of_a_clone(installed):
    folder, work = installed
    (work / "table.csv").write_text(TABLE)

    def scaling(verb, *words):
        command = [sys.executable, "-m", f"scaling.{verb}", *words]
        return run(*command, cwd=work, PYTHONPATH=str(folder))

    where = [sys.executable, "-c", "import scaling; print(scaling.__file__)"]
    assert Path(run(*where, cwd=work, PYTHONPATH=str(folder)).strip()).is_relative_to(folder)
    assert "tokens" in scaling("plan", "budget=1e21")
    assert "parametric" in scaling("fit", "runs=table.csv", "fit.bootstrap=20", "fit.audit=false")
    words = ["fit.bootstrap=20", "fit.audit=false", "conventions=false", "out=page"]
    scaling("report", "runs=table.csv", *words)
    page = (work / "page" / "report.html").read_text()
    assert "<script" in page and "<style" in page and len(page) > 10_000
    assert "grid=demo" in scaling("sweep", "--help")


def test_the_console_script_runs(installed):
    folder, work = installed
    script = folder / "bin" / "scaling"
    assert "usage: scaling VERB" in run(str(script), cwd=work, PYTHONPATH=str(folder))
    said = run(str(script), "--version", cwd=work, PYTHONPATH=str(folder))
    assert said.startswith("scaling-laboratory ")
