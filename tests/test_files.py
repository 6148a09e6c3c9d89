import pytest

from scaling.files import write_text


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "deep" / "table.csv"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["table.csv"]
    write_text(path, "new\n")
    assert path.read_bytes() == b"new\n"
