"""What a file holds once it is unpacked: gzip, xz, bzip2, zip or zstd, in bounded memory."""

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

MOST_BYTES = 2**27  # of a table, decompressed: a million rows of 128 characters
CHUNK = 2**10  # bytes; a block of zstd can unfold to 32,000 times its size


def unpack(path: Path) -> bytes:
    """Read a file, decompressed where it is compressed.

    Raises
    ------
    ValueError
        It is damaged, an archive of several files, or holds more than `MOST_BYTES`.
    EOFError
        It is truncated.
    ImportError
        It needs a package of the extra `tables`.
    """
    with path.open("rb") as file:
        head = file.read(8)
        file.seek(0)
        read = next((way for magic, way in PACKED.items() if head.startswith(magic)), None)
        try:
            data = file.read(MOST_BYTES + 1) if read is None else read(file)
        except (zlib.error, lzma.LZMAError, zipfile.BadZipFile, gzip.BadGzipFile) as error:
            raise ValueError(
                f"it is compressed and damaged or truncated ({shorten(error)}); fetch it again"
            ) from error
    if len(data) > MOST_BYTES:
        raise ValueError(
            f"it holds more than {MOST_BYTES >> 20} MiB; a runs table has one row per run: keep "
            "the rows and columns that are needed"
        )
    if data[257:262] == b"ustar":
        raise ValueError("it is a tar archive; unpack it and name the table in it")
    return data


def _unzip(file: Any) -> bytes:
    with zipfile.ZipFile(file) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        names = [member.filename for member in members]
        if "xl/workbook.xml" in names:  # Excel: as it is, if it does not unfold beyond bounds
            is_large = sum(member.file_size for member in members) > MOST_BYTES
            file.seek(0)
            return b"\0" * (MOST_BYTES + 1) if is_large else file.read(MOST_BYTES + 1)
        if len(members) != 1:
            raise ValueError(f"it is a zip archive of {len(members)} files; unpack the table")
        try:
            with archive.open(members[0]) as packed:
                return packed.read(MOST_BYTES + 1)
        except (RuntimeError, NotImplementedError) as error:  # encrypted, or by an unknown method
            raise ValueError(f"it cannot be unzipped ({shorten(error)})") from error


def _unpack_zstd(file: Any) -> bytes:
    zstandard = import_module("zstandard")  # of the extra `tables`
    found, unpacker = bytearray(), zstandard.ZstdDecompressor().decompressobj()
    while len(found) <= MOST_BYTES and (chunk := file.read(CHUNK)):
        if unpacker.eof:  # another frame
            chunk = unpacker.unused_data + chunk
            unpacker = zstandard.ZstdDecompressor().decompressobj()
        try:
            found += unpacker.decompress(chunk)
        except zstandard.ZstdError as error:
            raise ValueError(f"it is compressed and damaged ({shorten(error)})") from error
    if len(found) <= MOST_BYTES and not unpacker.eof:
        raise EOFError
    return bytes(found)


def _open_with(module: Any) -> Callable[[Any], bytes]:
    def read(file: Any) -> bytes:
        with module.open(file) as unpacked:
            return unpacked.read(MOST_BYTES + 1)

    return read


PACKED: dict[bytes, Callable[[Any], bytes]] = {
    b"\x1f\x8b": _open_with(gzip),
    b"\xfd7zXZ\0": _open_with(lzma),
    b"BZh": _open_with(bz2),
    b"PK\x03\x04": _unzip,
    b"\x28\xb5\x2f\xfd": _unpack_zstd,
}


def shorten(error: Exception) -> str:
    """An error of a library as part of one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
