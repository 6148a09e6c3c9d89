import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.data.plaintext import _blocks, documents, text_files
from scaling.errors import DataError


@given(st.text("ab \n", max_size=400), st.integers(1, 20))
def test_blocks_lose_nothing_and_stay_small(text, size):
    blocks = list(_blocks(text, size))
    assert "".join(blocks) == text
    assert all(0 < len(block) <= 5 * size for block in blocks)


def test_one_file_becomes_many_documents(tmp_path):
    book = tmp_path / "book"
    book.write_text("\n\n".join(f"Paragraph {i} of a book." for i in range(2000)))
    found = documents(str(book))
    assert 300 <= len(found) <= 501
    assert "".join(found) == book.read_text()


def test_a_folder_of_many_files_keeps_them_whole(tmp_path):
    (tmp_path / "deep").mkdir()
    for i in range(500):
        (tmp_path / "deep" / f"{i:03}.md").write_text(f"File {i}.\n\nSecond paragraph.\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    assert len(text_files(str(tmp_path))) == 500
    assert documents(str(tmp_path))[7] == "File 7.\n\nSecond paragraph.\n"


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"give data.path=FILE"):
        documents(None)
    with pytest.raises(ValueError, match=r"data.path='.*nowhere' does not exist"):
        documents(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"holds no file named .txt"):
        documents(str(tmp_path))
    (tmp_path / "old.txt").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(DataError, match=r"old.txt is not UTF-8: 0xe9 at byte 3"):
        documents(str(tmp_path))
