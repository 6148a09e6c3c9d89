"""Write the lists of results/README.md and experiments/README.md: python experiments/gallery.py."""

import ast
import json
import re
from pathlib import Path

from scaling.files import write_text

ROOT = Path(__file__).parents[1]
MARK = "<!-- below this line: python experiments/gallery.py -->\n"  # people write what is above
MADE_BY = re.compile(r"(?:Made by|command:)((?:(?:,| and)?\s+`[^`]+`)+)")
COMMAND = re.compile(r"python (?:experiments/\w+\.py|-m scaling\.\w+)")
FIGURE = re.compile(r"!\[([^]]*)\]\(([^)]+\.png)\)")
HEADER = re.compile(r"^(Question|Command|Cost|Result) +(.*\n(?: .*\n|\n)*)", re.MULTILINE)
RECORD = re.compile(r"(?:results|scaling)(?:/[\w.-]*\w)+")
CAPTIONS = {  # of figures whose page calls them by a name only
    "isoflop": "IsoFLOP bowls: loss against N at each budget, N_opt and D_opt through their minima",
    "compute": "loss against compute: every run's curve, the envelope, Kaplan's L(C)",
    "contour": "fitted loss over C and N with the efficient frontier, and IsoFLOP slices",
    "triptych": "Kaplan's three panels: loss against C, D and N",
    "ratio": "tokens per parameter against C, by every method",
    "gain": "L_opt(C) of both sweeps, and how many times the compute one needs to keep up",
}


def list_figures() -> str:
    """Every committed record: its title, the command that made it, its figures."""
    kept = re.findall(r"^!results/([\w-]+)/$", (ROOT / ".gitignore").read_text(), re.MULTILINE)
    pages = [page for name in kept for page in _find(ROOT / "results" / name, "README.md")]
    return "\n".join(_describe(page) for page in sorted(pages))


def _find(folder: Path, name: str) -> list[Path]:
    """Files of this name that are committed: no model's own card, and no page of a part."""
    return [p for p in folder.rglob(name) if not {"models", "records"} & {*p.parts}]


def _describe(page: Path) -> str:
    text, where = page.read_text(), page.parent.relative_to(ROOT / "results")
    made = MADE_BY.search(text) or COMMAND.search(text)
    command = " ".join(made[made.lastindex or 0].split()) if made else "what its page names"
    command = f"`{command}`" if made and "`" not in command else command
    lines = [f"### {text.splitlines()[0].removeprefix('# ')}"]
    lines += [f"[{where}]({where}/README.md), made by {command}."]
    for html in sorted(_find(page.parent, "report.html")):
        lines[1] += f" To look into: [{(name := html.relative_to(ROOT / 'results'))}]({name})."
    said = {Path(target).name: alt for alt, target in FIGURE.findall(text)}
    figures = sorted(page.parent.glob("*.png"))
    lines += ["", "| figure | what it shows |", "| --- | --- |"] if figures else []
    for path in figures:
        image = f'<img src="{where}/{path.name}" width="300" alt="{path.stem}">'
        caption = CAPTIONS.get(path.stem, said.get(path.name, path.stem))
        lines.append(f"| {image} | [{path.name}]({where}/{path.name}): {caption} |")
    return "\n".join([*lines, ""])


def list_questions() -> str:
    """Every experiment and benchmark by the header of its file, and the notebooks."""
    lines = ["| question | answer | command, cost |", "| --- | --- | --- |"]
    for path in sorted((ROOT / "experiments").glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        part = {name: " ".join(said.split()) for name, said in HEADER.findall(text + "\n")}
        if "Question" in part:
            answer = RECORD.sub(_link, part["Result"])
            asked = f"[{text.splitlines()[0]}]({path.name})"
            lines.append(f"| {asked} | {answer} | {part['Command']}; {part['Cost']} |")
    for path in sorted((ROOT / "experiments").glob("*.ipynb")):
        title, *about = "".join(json.loads(path.read_text())["cells"][0]["source"]).splitlines()
        told = " ".join(" ".join(about).split())
        lines.append(f"| [{title.strip('# ')}]({path.name}) | {told} | a notebook, run already |")
    return "\n".join(lines)


def _link(to: re.Match) -> str:
    return f"[{to[0]}](../{to[0]})" if (ROOT / to[0]).exists() else to[0]


def renew(name: str) -> str:
    """What a page should be: as people wrote it, and the list of today."""
    made = list_figures() if name == "results" else list_questions()
    return (ROOT / name / "README.md").read_text().split(MARK)[0] + MARK + f"\n{made.strip()}\n"


if __name__ == "__main__":
    for folder in ("results", "experiments"):
        write_text(ROOT / folder / "README.md", renew(folder))
