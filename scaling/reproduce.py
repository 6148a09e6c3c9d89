"""python -m scaling.reproduce: refit every published table and check what the papers print."""

import sys
from dataclasses import dataclass, replace

import pandas as pd

from scaling import products
from scaling.commandline import TABLES, job_folder, make_console, verb
from scaling.files import write_table, write_text
from scaling.pages.answer import name_files, print_answer
from scaling.pages.replication import (
    core_section,
    findings_section,
    grouped_section,
    replication_page,
    tell_replication,
)
from scaling.quantities import count
from scaling.replication.entries import chosen_entries, replicate

FILES = ("checks.csv", "audit.csv", "README.md")
AUDIT_DIGITS = 6  # fits to fewer runs stop within 1e-7 of their optimum


@dataclass
class ReproduceCommand:
    """Which entries to check, how often to refit, and where to put what is found."""

    out: str = "${results}/try/published"  # folder for checks.csv, audit.csv and README.md
    bootstrap: int = 4000  # refits behind every interval
    only: list[str] | None = None  # names of entries; None: all of them
    seed: int = 0  # of the bootstrap
    overwrite: bool = False  # files of the folder that are not ours
    verbose: bool = False  # print every table, not the answer alone
    results: str = "results"  # where folders are made


@verb("reproduce", ReproduceCommand, TABLES)
def main(command: ReproduceCommand) -> None:
    """Check entry by entry, print, write; end with an error if a check is not ok."""
    console, folder = make_console(), job_folder(command.out)
    products.refuse_foreign(folder, FILES, overwrite=command.overwrite)
    done = []
    for entry in chosen_entries(command.only):
        done.append(replicate(entry, bootstrap=command.bootstrap, seed=command.seed))
        console.print(done[-1].describe())
    checks = pd.concat([r.checks for r in done], ignore_index=True)
    audits = [r.audit for r in done if len(r.audit)] or [pd.DataFrame(columns=["entry"])]
    products.claim(folder, FILES, overwrite=command.overwrite)
    write_table(folder / "checks.csv", checks)
    write_table(folder / "audit.csv", pd.concat(audits, ignore_index=True), AUDIT_DIGITS)
    page = replication_page(done, _ask_again(command), command.bootstrap, command.seed)
    write_text(folder / "README.md", page)
    products.settle(folder, FILES, FILES)
    sections = [*map(grouped_section, done), core_section(checks), findings_section(checks)]
    files, step = name_files(FILES, folder), "python -m scaling.report runs=epoch2024"
    answer = replace(tell_replication(checks), steps=(step,), rest=(files,))
    print_answer(console, answer, sections, verbose=command.verbose)
    if wrong := int((~checks.ok).sum()):
        sys.exit(f"error: {wrong} of {count(len(checks), 'check')} not ok: see NOT OK in README.md")


def _ask_again(command: ReproduceCommand) -> str:
    """The command line that asks for the same again."""
    usual, asked = vars(ReproduceCommand()), vars(command)
    chosen = {"only": f"[{','.join(command.only)}]"} if command.only else {}
    chosen |= {k: asked[k] for k in ("bootstrap", "seed") if asked[k] != usual[k]}
    return " ".join(["python -m scaling.reproduce", *(f"{k}={v}" for k, v in chosen.items())])


if __name__ == "__main__":
    main()
