"""python -m scaling VERB [KEY=VALUE ...], or scaling VERB: one command line for all verbs."""

import importlib
import sys
from types import ModuleType

from scaling.errors import suggest

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
COMPLETION = "completion"  # no verb: it prints what a shell sources


def main() -> None:
    """Hand over to the verb, or list all of them."""
    name, *words = sys.argv[1:] or ["--help"]
    if name == "--version":
        name, words = "fit", ["--version"]
    if name in ("--help", "-h"):
        print("usage: scaling VERB [KEY=VALUE ...]\n")
        print("\n".join(f"  {verb:10} {what}" for verb, what in VERBS.items()))
        print("\nscaling VERB --help lists the keys of a verb with their meanings.")
        print("source <(scaling completion bash) completes verbs, keys and choices in bash.")
        return
    if name == COMPLETION:
        return print_completion(words)
    if name not in VERBS:
        sys.exit(f"error: {name!r} is no verb{suggest(name, VERBS)}; choose one of {[*VERBS]}")
    sys.argv = [f"scaling {name}", *words]
    find_verb(name).main()


def find_verb(name: str) -> ModuleType:
    """Import the module of a verb."""
    return importlib.import_module(f"scaling.{name}" + ".__main__" * (name == "course"))


def print_completion(words: list[str]) -> None:
    """Print the script that completes command lines in a shell; bash is the one there is."""
    if words != ["bash"]:
        sys.exit(f"error: completion {' '.join(words)!r} is none we have; write completion bash")
    from scaling.commandline import find_words
    from scaling.completion import write_script

    for name in VERBS:
        find_verb(name)
    print(write_script({name: find_words(name) for name in VERBS}), end="")


if __name__ == "__main__":
    main()
