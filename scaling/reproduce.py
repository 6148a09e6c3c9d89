"""python -m scaling.reproduce: refit every published table and check what the papers print."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scaling.commandline import verb
from scaling.files import write_text
from scaling.pages.replication import (
    CORE_HEADER,
    PRINTED_HEADER,
    core_cells,
    findings,
    printed_groups,
    replication_page,
)
from scaling.replication.entries import Replication, chosen_entries, replicate


@dataclass
class ReproduceCommand:
    """Which entries to check, how often to refit, and where to put what is found."""

    out: str = "${results}/published"  # folder for checks.csv, audit.csv and README.md
    bootstrap: int = 4000  # refits behind every interval
    only: list[str] | None = None  # names of entries; None: all of them
    seed: int = 0  # of the bootstrap
    results: str = "results"


@verb("reproduce", ReproduceCommand)
def main(command: ReproduceCommand) -> None:
    """Check entry by entry, print, write; end with an error if a check is not ok."""
    console = Console(soft_wrap=True)
    done = []
    for entry in chosen_entries(command.only):
        done.append(replicate(entry, n_bootstrap=command.bootstrap, seed=command.seed))
        console.print(done[-1].describe(), markup=False)
    checks = pd.concat([r.checks for r in done], ignore_index=True)
    _print(console, done, checks)
    _write(Path(command.out), done, checks, command)
    console.print(f"checks.csv, audit.csv and README.md are in {Path(command.out).resolve()}")
    if wrong := int((~checks.ok).sum()):
        sys.exit(f"error: {wrong} of {len(checks)} checks are not ok: see NOT OK above")


def _print(console: Console, done: list[Replication], checks: pd.DataFrame) -> None:
    """Every entry, then the core and the findings, which a reader sees last."""
    for replication in done:
        console.rule(replication.entry)
        for title, rows in printed_groups(replication.checks):
            console.print(title, markup=False, style="bold")
            _table(console, PRINTED_HEADER, rows)
    console.rule("The core")
    _table(console, CORE_HEADER, core_cells(checks))
    for line in findings(checks):
        console.print(f"finding: {line}", markup=False)


def _table(console: Console, header: list[str], rows: Iterable[list[str]]) -> None:
    table = Table(*header, box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)


def _write(folder: Path, done, checks: pd.DataFrame, command: ReproduceCommand) -> None:
    audits = [r.audit for r in done if len(r.audit)]
    audit = pd.concat(audits, ignore_index=True) if audits else pd.DataFrame(columns=["entry"])
    write_text(folder / "checks.csv", checks.to_csv(index=False))
    write_text(folder / "audit.csv", audit.to_csv(index=False))
    page = replication_page(done, _said(command), command.bootstrap, command.seed)
    write_text(folder / "README.md", page)


def _said(command: ReproduceCommand) -> str:
    """The command line that asks for the same again."""
    usual, asked = vars(ReproduceCommand()), vars(command)
    chosen = {"only": f"[{','.join(command.only)}]"} if command.only else {}
    chosen |= {k: asked[k] for k in ("bootstrap", "seed") if asked[k] != usual[k]}
    return " ".join(["python -m scaling.reproduce", *(f"{k}={v}" for k, v in chosen.items())])


if __name__ == "__main__":
    main()
