"""What the tabulator key completes: the printed script in a real bash."""

import shlex
import subprocess
from dataclasses import dataclass, field

import pytest

from scaling.__main__ import print_completion
from scaling.completion import list_words, write_script


@dataclass
class Inner:
    sizes: list[int] = field(default_factory=list)  # how large


@dataclass
class Outer:
    runs: str = "x"  # where
    quick: bool = False  # whether
    inner: Inner = field(default_factory=Inner)


WORDS = list_words(Outer, {"grid": ("demo", ["demo", "smoke"])})


def complete(line, before="", breaks=" \t\n\"'><=;|&(:"):
    """What bash offers at the end of a line."""
    words = line.split(" ")
    asked = f"""
{before}
{write_script({"sweep": WORDS, "fit": ([], [])})}
COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)} COMP_CWORD={len(words) - 1}
COMP_WORDBREAKS={shlex.quote(breaks)}
COMP_WORDS=({" ".join(words)})
_scaling
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", asked], text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_words_are_keys_and_known_values():
    keys, values = WORDS
    assert keys == ["grid", "runs", "quick", "inner.sizes"]
    assert values == ["quick=true", "quick=false", "grid=demo", "grid=smoke"]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("scaling sw", ["sweep"]),
        ("scaling comp", ["completion"]),
        ("scaling sweep in", ["inner.sizes="]),
        ("scaling sweep grid=demo q", ["quick="]),
        ("scaling sweep grid=s", ["smoke"]),
        ("scaling sweep quick=", ["true", "false"]),
        ("scaling sweep --h", ["--help"]),
        ("scaling completion ", ["bash"]),
        ("scaling other r", []),
    ],
)
def test_bash_offers_verbs_keys_and_choices(line, offered):
    assert complete(line) == offered


def test_a_value_that_nobody_lists_is_a_file(tmp_path):
    (tmp_path / "table.csv").touch()
    assert complete("scaling sweep runs=ta", before=f"cd {tmp_path}") == ["table.csv"]


def test_the_key_is_kept_where_the_equals_sign_parts_no_words():
    assert complete("scaling sweep grid=s", breaks=" ") == ["grid=smoke"]


@pytest.mark.long
def test_the_script_of_all_verbs_is_one_that_bash_reads(capsys):
    print_completion(["bash"])
    script = capsys.readouterr().out
    done = subprocess.run(["bash", "-c", f"{script}\ncomplete -p scaling"], capture_output=True)
    assert done.stdout == b"complete -F _scaling scaling\n"
    assert "grid=demo" in script and "save_models=true" in script
    with pytest.raises(
        SystemExit, match="completion 'fish' is none we have; write completion bash"
    ):
        print_completion(["fish"])
