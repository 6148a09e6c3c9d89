import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pooch
import pytest

from scaling.data import archives
from scaling.errors import PublishedDataError
from scaling.laws.table import LAWS
from scaling.tables import published as module
from scaling.tables.observations import observations
from scaling.tables.published import PUBLISHED, Reference, get_table, read_published
from scaling.tables.runs import COLUMNS, load_runs

FETCHED = [name for name, table in PUBLISHED.items() if table.file]
OPTIMA = [(n, r) for n, t in PUBLISHED.items() for r in t.references if len(r.params) == 5]


@pytest.fixture
def read(published):
    """A function that reads a table if its file is at hand, or skips the test."""

    def read(name):
        if PUBLISHED[name].file:
            published(PUBLISHED[name].file)
        return read_published(name)

    return read


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, an empty cache, and a data folder that holds what the test puts into it."""

    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(pooch, "HTTPDownloader", lambda **options: refuse)
    monkeypatch.setenv("SCALING_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SCALING_DATA_DIR", str(tmp_path))
    return tmp_path


def objective(reference: Reference, N, D, L):
    predicted = LAWS["chinchilla"].loss(reference.params, N=N, D=D)
    r = predicted - L if reference.residual == "linear" else np.log(predicted / L)
    if reference.loss == "l1":
        return np.sum(abs(r))
    delta = np.inf if reference.loss == "mse" else reference.huber_delta
    small = abs(r) <= delta
    return np.sum(0.5 * r[small] ** 2) + np.sum(delta * (abs(r[~small]) - 0.5 * delta))


@pytest.mark.parametrize("name", PUBLISHED)
def test_tables_speak_our_columns(read, name):
    runs = read(name)
    assert len(runs) == PUBLISHED[name].rows
    assert {"run_id", "params", "tokens", "loss"} <= set(runs.columns) <= set(COLUMNS)
    assert runs.run_id.is_unique
    assert runs.attrs["source"] == name


@pytest.mark.parametrize("name, runs", [("gemstones_hot", 22), ("gemstones_cool_end", 20)])
def test_checkpoints_of_one_training_run_share_a_trunk(read, name, runs):
    table = read(name)
    assert table.trunk_id.nunique() == runs
    assert (table.groupby("trunk_id").params.nunique() == 1).all()
    assert observations(load_runs(table))[0].cluster.nunique() == runs


def test_the_five_highest_losses_are_left_out_by_name(read):
    kept, everything = read("epoch2024"), read("epoch2024_all")
    excluded = [run_id for run_id, _ in kept.attrs["excluded"]]
    dropped = everything[everything.run_id.isin(excluded)]
    assert len(dropped) == 5
    assert dropped.loss.min() > kept.loss.max()
    # they are also the five with the fewest tokens per parameter
    assert max(dropped.tokens / dropped.params) < min(kept.tokens / kept.params)
    assert sorted([*kept.run_id, *excluded]) == everything.run_id.tolist()


@pytest.mark.parametrize("name, reference", [o for o in OPTIMA if o[1].objective])
def test_references_score_what_they_say(read, name, reference):
    runs = read(name)
    N, D, L = (runs[column].to_numpy(float) for column in ("params", "tokens", "loss"))
    score = objective(reference, N, D, L)
    assert score == pytest.approx(reference.objective, rel=1e-6)
    for parameter, value in reference.params.items():  # no step along an axis goes lower
        for factor in (0.999, 1.001):
            moved = replace(reference, params=reference.params | {parameter: value * factor})
            assert objective(moved, N, D, L) > score


def test_what_epoch_prints_minimises_L1_and_not_huber():
    printed, huber, l1 = PUBLISHED["epoch2024"].references[:3]
    assert not printed.is_optimum
    assert printed.params == pytest.approx(l1.params, rel=2e-4)
    assert printed.params != pytest.approx(huber.params, rel=2e-3)
    assert huber.std["A"] == pytest.approx(printed.std["A"], rel=1e-3)


def test_gemstones_prints_one_point_that_is_no_optimum():
    own = [r for r in PUBLISHED["gemstones_cool_end"].references if len(r.params) == 2]
    best = [r for r in PUBLISHED["gemstones_cool_end"].references if len(r.params) == 5]
    for printed, found in zip(own, best, strict=True):
        assert printed.huber_delta == found.huber_delta
        reached = printed.objective == pytest.approx(found.objective, rel=1e-6)
        assert reached == printed.is_optimum
        assert printed.objective > found.objective


@pytest.mark.parametrize("name", FETCHED)
def test_urls_are_pinned(name):
    commit = PUBLISHED[name].url.split("/")[5]
    assert len(commit) == 40 and set(commit) <= set("0123456789abcdef")
    assert len(PUBLISHED[name].sha256) == 64


def test_offline_says_where_to_put_which_file(offline):
    table = PUBLISHED["kyo2024"]
    with pytest.raises(PublishedDataError) as caught:
        read_published("kyo2024")
    message = str(caught.value)
    assert "\n" not in message
    for part in (table.url, table.file, str(offline / "cache" / "published"), "SCALING_DATA_DIR"):
        assert part in message
    assert "no route to host" in message


def test_another_file_of_the_name_is_refused(offline):
    table = PUBLISHED["kyo2024"]
    path = offline / table.file
    path.write_text("C,N,D,loss\n6,1,1,2\n")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(PublishedDataError, match=f"{table.file} is .*{found}, not {table.sha256}"):
        read_published("kyo2024")


@pytest.fixture
def tiny(offline, monkeypatch):
    """A published table of one row, its content, and where the cache would keep it."""
    content = b"C,N,D,loss\n6e18,1e9,1e9,2.5\n"
    sha256 = hashlib.sha256(content).hexdigest()
    table = replace(PUBLISHED["kyo2024"], file="tiny.csv", sha256=sha256, rows=1)
    monkeypatch.setitem(PUBLISHED, "tiny", table)
    return content, module.cache_folder() / "tiny.csv"


def test_a_cached_file_needs_no_network(tiny):
    content, cached = tiny
    cached.parent.mkdir(parents=True)
    cached.write_bytes(content)
    assert read_published("tiny").tokens.tolist() == [1e9]


def test_a_fetched_file_is_checked_and_kept(tiny, monkeypatch):
    content, cached = tiny

    def serving(body):
        def download(url, output_file, pooch):
            with open(output_file, "wb") as file:
                file.write(body)

        return lambda **options: download

    monkeypatch.setattr(pooch, "HTTPDownloader", serving(b"<html>not found</html>"))
    with pytest.raises(PublishedDataError, match="cannot be fetched"):
        read_published("tiny")
    assert not cached.exists()
    monkeypatch.setattr(pooch, "HTTPDownloader", serving(content))
    assert len(read_published("tiny")) == 1
    assert cached.read_bytes() == content


def test_corpora_and_tables_share_a_cache(monkeypatch, tmp_path):
    assert module.cache_folder().parent == archives.cache_folder().resolve()
    monkeypatch.setenv("SCALING_CACHE_DIR", str(tmp_path))
    assert module.cache_folder().parent == archives.cache_folder()


def test_the_typed_table_needs_no_file(offline):
    runs = read_published("cerebras2023")
    assert runs.run_id.tolist() == ["111M", "256M", "590M", "1.3B", "2.7B", "6.7B", "13B"]
    pd.testing.assert_series_equal(load_runs(runs).loss, runs.loss)


def test_an_unknown_table_is_refused():
    with pytest.raises(ValueError, match=r"no published table is called 'pile'; use one of \['ep"):
        get_table("pile")
