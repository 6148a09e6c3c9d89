"""Completion for bash: verbs, keys, and the values that a key chooses from, as one script."""

from collections.abc import Mapping
from importlib.resources import files

from scaling.keys import list_keys

Groups = Mapping[str, tuple[str, list[str]]]


def list_words(schema: type, groups: Groups) -> tuple[list[str], list[str]]:
    """Keys of a verb, and KEY=VALUE wherever the values are known: choices, true and false.

    Parameters
    ----------
    schema : dataclass of the verb's configuration
    groups : dict, name -> (default, choices)
    """
    keys = {key.name: key.default for key in list_keys(schema)}
    switches = [name for name, default in keys.items() if isinstance(default, bool)]
    choices = {name: ["true", "false"] for name in switches}
    choices |= {name: chosen for name, (_, chosen) in groups.items()}
    return [*groups, *keys], [f"{name}={value}" for name in choices for value in choices[name]]


def write_script(verbs: Mapping[str, tuple[list[str], list[str]]]) -> str:
    """Write the script that `source <(scaling completion bash)` reads.

    Parameters
    ----------
    verbs : dict, name -> (keys, KEY=VALUE words), as `list_words` gives them
    """
    cases = [
        f"    {verb}) keys='{' '.join(keys)}' values='{' '.join(values)}' ;;"
        for verb, (keys, values) in verbs.items()
    ]
    template = files("scaling").joinpath("completion.bash").read_text("utf-8")
    names = " ".join([*verbs, "completion"])
    return template.replace("@VERBS@", names).replace("@CASES@", "\n".join(cases).lstrip())
