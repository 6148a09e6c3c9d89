import json

import pytest

from scaling.products import MANIFEST, claim, is_complete, refuse_foreign, settle

NAMES = ("fits.csv", "README.md", "ratio.png")


def write(folder, names):
    for name in names:
        (folder / name).write_text("ours")


def produce(folder, names=NAMES, made_from="a"):
    claim(folder, NAMES)
    write(folder, names)
    settle(folder, NAMES, names, made_from)


def test_a_folder_knows_what_it_holds_and_from_what(tmp_path):
    produce(tmp_path)
    assert is_complete(tmp_path, "a") and not is_complete(tmp_path, "b")
    assert json.loads((tmp_path / MANIFEST).read_text())["files"] == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_makes_it_incomplete(name, tmp_path):
    produce(tmp_path)
    (tmp_path / name).unlink()
    assert not is_complete(tmp_path, "a")


def test_what_a_new_making_lacks_is_removed(tmp_path):
    produce(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    produce(tmp_path, NAMES[:2], "b")
    assert {p.name for p in tmp_path.iterdir()} == {MANIFEST, "notes.txt", *NAMES[:2]}
    assert is_complete(tmp_path, "b")


def test_another_commands_files_stay(tmp_path):
    produce(tmp_path)
    claim(tmp_path, ["contour.png"])
    write(tmp_path, ["contour.png"])
    settle(tmp_path, ["contour.png"], ["contour.png"])
    assert {p.name for p in tmp_path.iterdir()} == {MANIFEST, "contour.png", *NAMES}
    assert not is_complete(tmp_path, "a")  # its files are no longer of one making


def test_files_of_the_user_are_not_overwritten_unasked(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(ValueError, match=r"README.md was not written by this program; .*overwrite"):
        claim(tmp_path, NAMES)
    assert [p.name for p in tmp_path.iterdir()] == ["README.md"]
    claim(tmp_path, NAMES, overwrite=True)
    refuse_foreign(tmp_path, NAMES)  # from now on it is ours


def test_what_was_killed_in_the_middle_goes_on(tmp_path):
    claim(tmp_path, NAMES)
    write(tmp_path, NAMES[:1])
    assert not is_complete(tmp_path, "a")
    produce(tmp_path)
    assert is_complete(tmp_path, "a")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"made_from": 1, "files": 3, "claimed": []}', "\0", '{"files": ["x"]}'],
)
def test_a_manifest_that_is_none_claims_nothing(text, tmp_path):
    (tmp_path / MANIFEST).write_text(text)
    write(tmp_path, NAMES)
    assert not is_complete(tmp_path, "a")
    with pytest.raises(ValueError, match="was not written by this program"):
        claim(tmp_path, NAMES)


def test_a_manifest_cannot_name_what_lies_elsewhere(tmp_path):
    victim = tmp_path / "precious.txt"
    victim.write_text("mine")
    folder = tmp_path / "results"
    folder.mkdir()
    names = ["../precious.txt"]
    manifest = {"made_from": "a", "files": names, "claimed": names}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    settle(folder, names, [])
    assert victim.exists()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(ValueError, match="is a file, no folder"):
        claim(tmp_path / "x", NAMES)
