"""What a command may write into a folder of the user: its own files, and nobody else's.

`manifest.json` lists the files that commands have put there, and what they were made from. A file
that it does not list is the user's: it is not overwritten unasked. What it lists and a later run
does not produce is removed, so that nothing stale is taken for new.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scaling.files import write_text

MANIFEST = "manifest.json"
Manifest = dict[str, Any]  # made_from, files, claimed


def refuse_foreign(folder: Path, names: Iterable[str], *, overwrite: bool = False) -> Manifest:
    """Refuse to write over files that are not ours, unless they may be overwritten.

    Returns the folder's manifest.

    Raises
    ------
    ValueError
        One of the names is there and was not written by us, or the folder is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, no folder; choose another name")
    manifest = _read(folder)
    ours = {*manifest["files"], *manifest["claimed"]}
    for name in () if overwrite else names:
        if (folder / name).exists() and name not in ours:
            raise ValueError(
                f"{folder / name} was not written by this program; move it, choose another folder, "
                "or give overwrite=true"
            )
    return manifest


def claim(folder: Path, names: Iterable[str], *, overwrite: bool = False) -> None:
    """Take note that these files are about to be written; raises as `refuse_foreign`."""
    manifest = refuse_foreign(folder, names, overwrite=overwrite)
    _write(folder, manifest | {"claimed": sorted({*manifest["claimed"], *names})})


def settle(
    folder: Path, claimed: Iterable[str], written: Iterable[str], made_from: str | None = None
) -> None:
    """Remove those of the claimed files that were ours and are stale; list the written ones.

    `made_from` says what all files of the folder are made from; None: they are not of one making.
    """
    manifest, claimed, written = _read(folder), {*claimed}, {*written}
    ours = {*manifest["files"], *manifest["claimed"]}
    for name in (claimed & ours) - written:
        (folder / name).unlink(missing_ok=True)
    files = sorted(({*manifest["files"]} - claimed) | written)
    _write(folder, {"made_from": made_from, "files": files, "claimed": []})


def is_complete(folder: Path, made_from: str) -> bool:
    """Tell whether the folder holds everything that was made from just this."""
    manifest = _read(folder)
    if manifest["made_from"] != made_from:
        return False
    return all((folder / name).is_file() for name in manifest["files"])


def _read(folder: Path) -> Manifest:
    """The manifest; where it is none, or names what lies elsewhere, nothing is ours."""
    empty = {"made_from": None, "files": [], "claimed": []}
    try:
        found = json.loads((folder / MANIFEST).read_text("utf-8"))
        plain = all(Path(name).name == name for name in [*found["files"], *found["claimed"]])
        return {name: found[name] for name in empty} if plain else empty
    except (OSError, ValueError, KeyError, TypeError):
        return empty


def _write(folder: Path, manifest: Manifest) -> None:
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
