"""Figures as files: PNG, SVG or PDF; a PNG that shows the same already is left alone."""

import contextlib
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from scaling.files import write_bytes

FORMATS = ("png", "svg", "pdf")
RESOLUTION = 300  # dots per inch of a PNG, as journals ask for
COLOURS = 64  # of a PNG: fewer bytes than with 256, and shades that the eye takes for the same
LAYOUTS, SETTLED = 5, 2e-4  # at most, and the share of the figure that does not matter
KEY = "drawn"  # of the fingerprint in a PNG
UNDATED = {"svg": {"Date": None, "Creator": None}, "pdf": {"CreationDate": None}}


def save_figure(figure: Figure, path: Path) -> bool:
    """Write a figure in the format that the name ends with; return whether it was written.

    The last digits of the data differ between processors, and may change a pixel: a PNG is written
    only where its `fingerprint` is another one. ValueError if the name ends otherwise.
    """
    kind, file = check_format(path.suffix.removeprefix(".")), io.BytesIO()
    with laid_out(figure):
        if kind == "png":
            drawn = fingerprint(figure)
            if _read_fingerprint(path) == drawn:
                return False
            file.write(draw_png(figure, RESOLUTION, drawn))
        else:
            with rc_context({"svg.hashsalt": path.stem}):
                figure.savefig(file, format=kind, metadata=UNDATED[kind])
    write_bytes(path, file.getvalue())
    return True


def check_format(kind: str) -> str:
    """Return a format that figures are written in; ValueError for another one."""
    if kind not in FORMATS:
        raise ValueError(f"format={kind} is unknown; use one of {[*FORMATS]}")
    return kind


@contextlib.contextmanager
def laid_out(figure: Figure) -> Iterator[None]:
    """Lay a figure out for all that is drawn within; a layout takes as long as a drawing.

    Until it settles, as every one changes how many ticks there is room for.
    """
    engine, places = figure.get_layout_engine(), np.zeros(1)
    for _ in range(LAYOUTS):
        if engine is None:
            break
        engine.execute(figure)
        before, places = places, np.array([ax.get_position().bounds for ax in figure.axes])
        if np.all(np.abs(places - before) < SETTLED):
            break
    figure.set_layout_engine("none")
    try:
        yield
    finally:
        figure.set_layout_engine(engine)


def fingerprint(figure: Figure) -> str:
    """Hash of all that a figure shows, to a tenth of a point, and of how it becomes a PNG."""
    recorder, dpi = _Recorder(*figure.get_size_inches()), figure.dpi
    figure.dpi = 72  # pixels are points
    try:
        figure.draw(recorder)
    finally:
        figure.dpi = dpi
    return recorder.hash.hexdigest()[:16]


class _Recorder(RendererBase):
    """Draws nothing: what it is asked to draw goes into a hash."""

    def __init__(self, width: float, height: float):
        super().__init__()
        self.size = width * 72, height * 72
        self.hash = hashlib.sha256(f"{RESOLUTION} {COLOURS}".encode())

    def get_canvas_width_height(self) -> tuple[float, float]:
        return self.size

    def draw_path(self, gc, path, transform, rgbFace=None) -> None:
        self._note(gc, transform.transform(path.vertices), path.codes, rgbFace)

    def draw_markers(self, gc, marker_path, marker_trans, path, trans, rgbFace=None) -> None:
        self._note(gc, marker_trans.transform(marker_path.vertices), rgbFace)
        self._note(gc, trans.transform(path.vertices))

    def draw_image(self, gc, x, y, im, transform=None) -> None:
        self._note(gc, [x, y], np.asarray(im) // 8)

    def draw_text(self, gc, x, y, s, prop, angle, ismath=False, mtext=None) -> None:
        self._note(gc, [x, y, angle, prop.get_size_in_points()], s, prop.get_weight())

    def _note(self, gc, *told) -> None:
        clip = gc.get_clip_rectangle()
        pen = [*np.multiply(gc.get_rgb(), 100), gc.get_linewidth(), *(clip.extents if clip else ())]
        dashes = gc.get_dashes()[1]
        for value in (pen, [] if dashes is None else dashes, gc.get_hatch(), *told):
            if isinstance(value, str) or value is None:
                self.hash.update(str(value).encode())
            else:
                numbers = np.nan_to_num(np.asarray(value, float), nan=-1.0)
                self.hash.update((np.round(numbers, 1) + 0.0).tobytes())


def _read_fingerprint(path: Path) -> str:
    try:
        with Image.open(path) as image:
            return image.info.get(KEY, "")
    except OSError:  # there is none, or it is broken
        return ""


def draw_png(figure: Figure, dpi: int, drawn: str = "") -> bytes:
    """A figure as a PNG of few colours, with its fingerprint if there is one."""
    pixels, file, info = io.BytesIO(), io.BytesIO(), PngInfo()
    figure.savefig(pixels, format="png", dpi=dpi)
    if drawn:
        info.add_text(KEY, drawn)
    image = Image.open(pixels).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(file, "png", optimize=True, pnginfo=info, dpi=(dpi, dpi))
    return file.getvalue()
