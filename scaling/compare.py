"""python -m scaling.compare a=results/A b=results/B: how much compute recipe b saves over a.

Without b, a=results/A gain=1.1: how many FLOPs a test needs to see a gain of that size.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import MISSING

from scaling import products
from scaling.commandline import TABLES, job_folder, make_console, retell, verb
from scaling.errors import check_range
from scaling.files import write_table, write_text
from scaling.fitting.detection import Detection, size_test
from scaling.fitting.gain import Comparison, compare_tables
from scaling.fitting.paired import Sweep
from scaling.fitting.prepared import prepare
from scaling.fitting.settings import FitConfig
from scaling.pages.answer import name_files, print_answer
from scaling.pages.gain import detection_section, gain_sections, tell_gain
from scaling.pages.text import Section, code, markdown
from scaling.quantities import FLOPS, positive_quantity
from scaling.results import name_table, read_config, read_tables
from scaling.tables import comparable
from scaling.tables.comparable import refuse_conventions
from scaling.tables.runs import check_where

FILES = ("README.md", "gain.csv", "laws.csv", "test.csv", "gain.png")
HELD_OUT = ("data", "valid_tokens")  # of config.yaml, which a held-out loss belongs to


@dataclass
class CompareCommand:
    """Which two sweeps to compare, and where to put what is found."""

    a: str = MISSING  # the sweep to compare with: a results folder, or a runs table
    b: str | None = None  # the sweep that may be better; None: say what a test would take
    gain: float | None = None  # of which size a test should see it; None: the one that is found
    at: Any = None  # FLOPs to extrapolate to, one or a list
    columns: Any = None  # {their name: ours}, of both; columns N, D (or C) and loss need none
    where: Any = None  # {column: value}; keeps the rows of this value, of both
    out: str | None = None  # folder for page, tables and figure; None: print only
    overwrite: bool = False  # files of the folder that are not ours
    verbose: bool = False  # print every table, not the answer alone
    results: str = "results"  # where folders are made
    fit: FitConfig = field(default_factory=FitConfig)


@verb("compare", CompareCommand, TABLES)
def main(command: CompareCommand) -> None:
    """Read, compare, print, write."""
    console = make_console()
    check_range("gain", command.gain, 0)
    if command.b is None and command.gain is None:
        raise ValueError("give b=SWEEP to compare with, or gain=1.1 for what a test would take")
    folder = None if command.out is None else job_folder(command.out)
    if folder is not None:
        products.refuse_foreign(folder, FILES, overwrite=command.overwrite)
    wanted = read_budgets(command.at)
    a, found = _read(command, command.a), None
    if command.b is None:
        sweep = Sweep.of(prepare(a, convention=command.fit.convention(a)))
        test = size_test(sweep, command.gain or 1.0, seed=command.fit.seed)
        sections = [detection_section(test)]
    else:
        refuse_other_text(Path(command.a), Path(command.b))
        found, test, sections = compare(command, a, _read(command, command.b), wanted)
    answer = tell_gain(found, name_sweeps(command), test)
    if folder is not None:
        files = write(command, folder, sections, found, test, max(wanted, default=0.0))
        answer = replace(answer, rest=(name_files(files, folder),))
    print_answer(console, answer, sections, verbose=command.verbose)


def compare(command: CompareCommand, a: pd.DataFrame, b: pd.DataFrame, wanted: tuple[float, ...]):
    """Compare, and size the test of what was found."""
    convention = command.fit.convention(a)
    refuse_conventions(convention, command.fit.convention(b))
    found = compare_tables(a, b, convention, command.fit.settings(), wanted)
    gain = command.gain or round(float(found.gain), 3)
    sections, test = [*gain_sections(found, name_sweeps(command), wanted)], None
    if gain != 1:
        test = size_test(
            found.a, gain, b=found.b, correlation=found.correlation, seed=command.fit.seed
        )
        sections.append(detection_section(test))
    return found, test, sections


def _read(command: CompareCommand, path: str) -> pd.DataFrame:
    where = check_where(command.where)
    return read_tables(Path(path), command.columns, where=where)[0]


def read_budgets(at: Any) -> tuple[float, ...]:
    """Read FLOPs, one or several."""
    listed = at if isinstance(at, list) else [] if at is None else [at]
    return tuple(positive_quantity(text, "at", FLOPS) for text in listed)


def refuse_other_text(a: Path, b: Path) -> None:
    """Refuse sweeps whose own config.yaml tells of another held-out text; silent without one.

    What a row of their tables says is left to these: in a configuration null is a default.
    """
    one, other = read_config(a), read_config(b)
    for name in HELD_OUT if one and other else ():
        left, right = one.get(name), other.get(name)
        if isinstance(left, dict) and isinstance(right, dict):
            shared = {*left} & {*right} - {*comparable.HELD_OUT}
            apart = {key for key in shared if left[key] != right[key]}
            left, right = ({key: side[key] for key in sorted(apart)} for side in (left, right))
        if left != right:
            raise ValueError(
                f"a was swept with {name}={left}, b with {name}={right}: their held-out losses do "
                "not compare; sweep one of them again"
            )


def name_sweeps(command: CompareCommand) -> tuple[str, str]:
    """Names of both sweeps: those of their folders or files, a and b where these are alike."""
    a, b = (name_table(Path(path)) for path in (command.a, str(command.b)))
    return (a, b) if a != b else ("a", "b")


def write(
    command: CompareCommand,
    folder: Path,
    sections: list[Section],
    found: Comparison | None,
    test: Detection | None,
    reach: float,
) -> list[str]:
    """Write the page, its tables and its figure, and return their names; remove stale ones."""
    products.claim(folder, FILES, overwrite=command.overwrite)
    tables = {} if found is None else {"gain.csv": found.points, "laws.csv": found.laws}
    tables |= {} if test is None else {"test.csv": test.designs}
    for name, table in tables.items():
        write_table(folder / name, table)
    files, names = [*tables, "README.md"], name_sweeps(command)
    title = f"What a test against {name_table(Path(command.a))} takes"
    if found is not None:
        from scaling.figures.gain import gain_figure  # here: a wrong option is told at once
        from scaling.figures.saving import save_figure

        save_figure(gain_figure(found, names, reach), folder / "gain.png")
        files.append("gain.png")
        title = f"{names[1]} against {names[0]}"
    made = f"Made by {code(retell('compare'))}."
    write_text(folder / "README.md", f"# {title}\n\n{made}\n\n{markdown(sections)}\n")
    products.settle(folder, FILES, files)
    return files


if __name__ == "__main__":
    main()
