"""Where a package index keeps a file: a look-up that never builds or installs anything."""

import html
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

TIMEOUT = (5, 30)  # seconds to connect, seconds between bytes
ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html"
ANCHOR = re.compile(r"<a\s[^>]*?href=[\"']([^\"']+)[\"'][^>]*>\s*([^<]+?)\s*</a>", re.I)


@dataclass(frozen=True)
class PipSettings:
    """What pip would use on this machine."""

    indexes: tuple[str, ...]  # http(s) addresses of simple APIs, the main one first
    verify: str | bool  # a bundle of certificates, or True for the default one


def pip_settings() -> PipSettings:
    """Read the package indexes and the certificate bundle that pip (or uv) is configured for.

    Environment variables come before pip's configuration files, and those before pip's own
    default. Indexes in a local folder are left out: they do not speak the simple API.
    """
    config = _pip_config()
    main = (
        os.environ.get("PIP_INDEX_URL")
        or os.environ.get("UV_DEFAULT_INDEX")
        or os.environ.get("UV_INDEX_URL")
        or config.get("index-url")
        or _pip_default_index()
    )
    indexes = [main, *config.get("extra-index-url", "").split()]
    return PipSettings(
        indexes=tuple(url for url in indexes if url.startswith(("http://", "https://"))),
        verify=os.environ.get("PIP_CERT") or config.get("cert") or True,
    )


def find_file(index: str, project: str, filename: str, verify: str | bool = True) -> str:
    """Address of one file of one project, asked from an index's simple API.

    The API is that of PEP 691 in JSON, or of PEP 503 in HTML; `verify` is as `requests` takes it.

    Raises
    ------
    LookupError
        The index answers, but does not list the file.
    requests.RequestException
        The index does not answer.
    """
    import requests  # takes long, and most never ask

    name = re.sub(r"[-_.]+", "-", project).lower()
    page = requests.get(
        f"{index.rstrip('/')}/{name}/", headers={"Accept": ACCEPT}, timeout=TIMEOUT, verify=verify
    )
    page.raise_for_status()
    if "json" in page.headers["content-type"]:
        files = {file["filename"]: file["url"] for file in page.json()["files"]}
    else:
        files = {name: html.unescape(url) for url, name in ANCHOR.findall(page.text)}
    if filename not in files:
        raise LookupError(f"{without_password(index)} lists no {filename} among {len(files)} files")
    url = urljoin(str(page.url), files[filename].partition("#")[0])
    netloc = urlsplit(index).netloc  # private mirrors ask for the same password again for the file
    return url.replace(f"://{netloc.rpartition('@')[2]}/", f"://{netloc}/", 1)


def without_password(text: str) -> str:
    """Return a text fit to be shown: user names and passwords in its addresses removed."""
    return re.sub(r"://[^/@\s]+@", "://", text)


def _pip_config():
    """`pip config list` as a dict without section names; empty where there is no pip."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    lines = re.findall(r"^(:env:|global|install|download)\.([a-z-]+)='(.*)'$", listed, re.M)
    lines.sort(key=lambda line: ("global", "download", "install", ":env:").index(line[0]))
    return {key: value.replace("\\n", " ") for _, key, value in lines}


def _pip_default_index():
    try:
        from pip._internal.models.index import PyPI
    except ImportError:
        return ""
    return PyPI.simple_url
