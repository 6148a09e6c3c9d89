"""Figures as files: PNG, SVG or PDF; a PNG that shows the same already is left alone."""

import hashlib
import io
import re
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from scaling.files import write_bytes

FORMATS = ("png", "svg", "pdf")
RESOLUTION = 160  # dots per inch of a PNG
COLOURS = 256  # of a PNG: a third of the bytes of one with all of them
KEY = "drawn"  # of the fingerprint in a PNG
UNDATED = {"svg": {"Date": None, "Creator": None}, "pdf": {"CreationDate": None}}
NAME = re.compile(r"#?\b(C\w+_|[a-z]+)[0-9a-f]{10}\b")  # that matplotlib derives from all digits
NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")


def save_figure(figure: Figure, path: Path) -> bool:
    """Write a figure in the format that the name ends with; return whether it was written.

    The last digits of the data differ between processors, and may change a pixel: a PNG is written
    only where its `fingerprint` is another one. ValueError if the name ends otherwise.
    """
    kind, file = check_format(path.suffix.removeprefix(".")), io.BytesIO()
    if kind == "png":
        drawn = fingerprint(figure)
        if _read_fingerprint(path) == drawn:
            return False
        _write_png(figure, file, drawn)
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


def fingerprint(figure: Figure) -> str:
    """Hash of all that a figure shows, to a tenth of a point."""
    drawing = io.StringIO()
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(drawing, format="svg", metadata=UNDATED["svg"])
    shown = NAME.sub("", drawing.getvalue())
    rounded = NUMBER.sub(lambda found: f"{round(float(found[0]), 1) + 0.0}", shown)
    return hashlib.sha256(rounded.encode()).hexdigest()[:16]


def _read_fingerprint(path: Path) -> str:
    try:
        with Image.open(path) as image:
            return image.info.get(KEY, "")
    except OSError:  # there is none, or it is broken
        return ""


def _write_png(figure: Figure, file: io.BytesIO, drawn: str) -> None:
    pixels, info = io.BytesIO(), PngInfo()
    figure.savefig(pixels, format="png", dpi=RESOLUTION)
    info.add_text(KEY, drawn)
    image = Image.open(pixels).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(file, "png", optimize=True, pnginfo=info, dpi=(RESOLUTION, RESOLUTION))
