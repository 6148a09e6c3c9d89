"""Files: written whole or not at all, and the folder of what can be fetched or made again."""

import os
from pathlib import Path

import platformdirs


def write_text(path: Path, text: str) -> None:
    """Write a file so that at any moment the old or the new one is there, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Folder of everything that can be made again: $SCALING_CACHE_DIR, or the user's cache."""
    chosen = os.environ.get("SCALING_CACHE_DIR")
    return (
        Path(chosen).expanduser().resolve() if chosen else platformdirs.user_cache_path("scaling")
    )
