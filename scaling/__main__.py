"""python -m scaling VERB [KEY=VALUE ...], or scaling VERB: one command line for all verbs."""

import importlib
import sys

from scaling.keys import suggest

VERBS = {
    "sweep": "train a grid of models, fit the laws, draw the figures",
    "fit": "fit any table with N, D (or C) and loss, by every method",
    "compare": "say how much compute one sweep's recipe saves over another's",
    "plot": "draw every figure of a runs table",
    "report": "one HTML page of a runs table, to look into and send on",
    "plan": "say what to train with a budget, and judge a model",
    "sample": "let a trained model write, fill gaps, answer; see inside",
    "quantise": "write a trained model in fewer bits, and measure what that costs",
    "reproduce": "refit every published table and check what the papers print",
    "course": "tables, figures and statements of the course",
}


def main() -> None:
    """Hand over to the verb, or list all of them."""
    name, *words = sys.argv[1:] or ["--help"]
    if name == "--version":
        name, words = "fit", ["--version"]
    if name in ("--help", "-h"):
        print("usage: scaling VERB [KEY=VALUE ...]\n")
        print("\n".join(f"  {verb:10} {what}" for verb, what in VERBS.items()))
        print("\nscaling VERB --help lists the keys of a verb with their meanings.")
        return
    if name not in VERBS:
        sys.exit(f"error: {name!r} is no verb{suggest(name, VERBS)}; choose one of {[*VERBS]}")
    sys.argv = [f"scaling {name}", *words]
    module = f"scaling.{name}.__main__" if name == "course" else f"scaling.{name}"
    importlib.import_module(module).main()


if __name__ == "__main__":
    main()
