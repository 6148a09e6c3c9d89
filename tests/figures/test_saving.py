import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from scaling.figures.saving import fingerprint, save_figure


def drawn(factor=1.0, text="loss", color="C0"):
    fig = Figure(figsize=(3, 2), layout="constrained")
    ax = fig.add_subplot()
    ax.set(xlabel=text)  # linear axes: their few ticks are drawn in a fraction of the time
    x = np.geomspace(1, 1e6, 50) * factor
    ax.plot(x, x**-0.34, "o-", color=color, label="law")
    ax.fill_between(x, x**-0.35, x**-0.33, alpha=0.2)
    fig.legend(loc="outside upper left")
    return fig


def test_last_digits_do_not_count_and_all_else_does():
    same = fingerprint(drawn())
    assert fingerprint(drawn(1 + 1e-13)) == same
    others = [drawn(1.2), drawn(text="Loss"), drawn(color="C1")]
    assert same not in map(fingerprint, others)
    assert len({*map(fingerprint, others)}) == 3


def test_names_of_marks_do_not_count():
    """Matplotlib names the marks of a scatter, and the image of a colorbar, anew every time."""
    figures = [drawn(), drawn()]
    for fig in figures:
        fig.colorbar(fig.axes[0].scatter([1, 10, 100], [1, 2, 3], c=[1, 2, 3]))
    assert fingerprint(figures[0]) == fingerprint(figures[1]) != fingerprint(drawn())


def test_a_png_is_written_when_what_it_shows_has_changed(tmp_path):
    path = tmp_path / "a.png"
    assert save_figure(drawn(), path)
    before = path.read_bytes()
    assert not save_figure(drawn(1 + 1e-13), path)
    assert path.read_bytes() == before
    assert save_figure(drawn(1.5), path)
    assert path.read_bytes() != before
    with Image.open(path) as image:
        assert image.info["dpi"] == pytest.approx((300, 300), rel=1e-3)
        assert image.size == (900, 600)


def test_a_broken_png_is_replaced(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG")
    assert save_figure(drawn(), path)
    assert not save_figure(drawn(), path)


@pytest.mark.parametrize("kind, head", [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_other_formats_have_the_same_bytes_every_time(tmp_path, kind, head):
    paths = [tmp_path / name / f"a.{kind}" for name in "xy"]
    assert all(save_figure(drawn(), path) for path in paths)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].read_bytes().startswith(head)


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"format=tiff is unknown; use one of \['png'"):
        save_figure(drawn(), tmp_path / "a.tiff")


@pytest.mark.long
def test_the_plot_verb_draws_in_the_format_asked_for(grid, tmp_path):
    theirs = grid(noise=0.01).rename(columns={"total_params": "size"})
    theirs.to_csv(tmp_path / "table.csv", index=False)
    command = [sys.executable, "-m", "scaling.plot", f"runs={tmp_path / 'table.csv'}"]
    options = [f"out={tmp_path / 'figures'}", "fit.bootstrap=0", "columns={size: N}"]
    refused = subprocess.run([*command, "format=gif"], capture_output=True, text=True)
    assert refused.stderr == "error: format=gif is unknown; use one of ['png', 'svg', 'pdf']\n"
    done = subprocess.run([*command, *options, "format=svg"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = {p.name for p in (tmp_path / "figures").glob("*.svg")}
    assert names == {f"{n}.svg" for n in ("compute", "isoflop", "contour", "triptych", "ratio")}
    assert str(tmp_path / "figures") in "".join(done.stdout.splitlines())
