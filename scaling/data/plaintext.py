"""The user's own text: a file or a folder of UTF-8 files to documents."""

import re
from collections.abc import Iterator
from pathlib import Path

from scaling.errors import DataError

SUFFIXES = (".txt", ".text", ".md", ".rst", ".tex", ".org", ".html", ".xml", ".py")
MIN_DOCUMENTS = 500  # fewer files than this are cut into blocks, so that 2 % can be held out
BLANK_LINES = re.compile(r"(?<=\n)[ \t]*\n+")


def documents(path: str | None) -> list[str]:
    """Read the user's documents.

    A file of a folder is one document. With fewer than 500 files (a single book, say) each is
    cut after blank lines into blocks of about 1/500 of all the text, and a block is a document;
    a paragraph longer than four such blocks is cut after a line, or if need be after a character.
    A folder is searched through all its subfolders for files named as in `SUFFIXES`.

    Returns
    -------
    list of str, non-empty documents without repeats, in the order of their paths

    Raises
    ------
    ValueError
        There is no path, or nothing to read at it.
    DataError
        A file is not UTF-8.
    """
    texts = [_read(file) for file in text_files(path)]
    if len(texts) < MIN_DOCUMENTS:
        size = max(1, sum(map(len, texts)) // MIN_DOCUMENTS)
        texts = [block for text in texts for block in _blocks(text, size)]
    return [text for text in dict.fromkeys(texts) if text.strip()]


def text_files(path: str | None) -> list[Path]:
    """Return the files that `documents` reads, sorted by path."""
    if not path:
        raise ValueError("data=text needs the text: give data.path=FILE or data.path=FOLDER")
    root = Path(path).expanduser().resolve()
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise ValueError(f"data.path={path!r} does not exist (looked for {root})")
    files = sorted(f for f in root.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    if not files:
        raise ValueError(f"data.path={path!r} holds no file named {', '.join(SUFFIXES)}")
    return files


def _read(file):
    content = file.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = f"0x{content[error.start]:02x} at byte {error.start:,}"
        raise DataError(
            f"{file} is not UTF-8: {byte}. Convert it (iconv -f latin1 -t utf-8), or leave it out"
        ) from None


def _blocks(text, size) -> Iterator[str]:
    """Cut after blank lines, into pieces of at least `size` characters that join to the text."""
    block = ""
    for paragraph in _paragraphs(text, size):
        block += paragraph
        if len(block) >= size:
            yield block
            block = ""
    if block:
        yield block


def _paragraphs(text, size) -> Iterator[str]:
    start = 0
    for end in [*(match.end() for match in BLANK_LINES.finditer(text)), len(text)]:
        while end - start > 4 * size:
            line_end = text.rfind("\n", start, start + 2 * size) + 1
            cut = line_end if line_end > start else start + 2 * size
            yield text[start:cut]
            start = cut
        yield text[start:end]
        start = end
