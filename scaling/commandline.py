"""What the verbs share: a typed configuration from conf/, help, and errors as one line."""

import contextlib
import functools
import os
import re
import shlex
import shutil
import signal
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from scaling.completion import list_words
from scaling.errors import INTERRUPTED, DataError, FitError, suggest
from scaling.keys import help_text, list_keys
from scaling.quantities import parse_quantity, pass_tenth
from scaling.tables.observations import RunsWarning

Config = TypeVar("Config")
FLAGS = (  # of Hydra
    *("--hydra-help", "--cfg", "-c", "--resolve", "--package", "-p", "--run", "-r", "--multirun"),
    *("-m", "--shell-completion", "-sc", "--config-path", "-cp", "--config-name", "-cn"),
    *("--config-dir", "-cd", "--experimental-rerun", "--info", "-i"),
)
A_LIST, NAMES = "a list is written as KEY=[A,B]", "names are written as KEY={{A: B}}"
WRONG = {  # what OmegaConf says of a value -> what is wrong with it
    r"Value (.*) of type '.*' could not be converted to Integer": "{} is no whole number",
    r"Value (.*) of type '.*' could not be converted to Float": "{} is no number",
    r"Value (.*) is not a valid bool": "{} is neither true nor false",
    r"Invalid value assigned: (\w+) is not a ListConfig": A_LIST,
    r"Cannot merge (Dict)Config with ListConfig": A_LIST,
    r"Cannot merge (List)Config with DictConfig": NAMES,
    r"Invalid type assigned: (\w+) is not a subclass of": "that is a group: give KEY.NAME=VALUE",
    r"field '(.*)' is not Optional": "a value is needed",
}
ONE_TABLE = ("runs", "a", "b", "law")  # keys that name a table
MERGED = "pandas.concat(map(pandas.read_csv, [A, B])).to_csv('all.csv', index=False)"
LAUNCHERS = {  # choice of dispatch -> Hydra's name of its launcher, and the extra that brings it
    "slurm": ("submitit_slurm", "slurm"),
    "submitit_local": ("submitit_local", "slurm"),
    "ray": ("ray", "ray"),
}
PACKAGE = Path(__file__).parent
PLUGINS = str(PACKAGE / "plugins")
CONF = str(next(f for f in (PACKAGE / "conf", PACKAGE.parent / "conf") if f.is_dir()))
# Verbs that read tables: a group of Hydra's, such as family, cannot be a key of theirs as well.
TABLES = f"{CONF}/tables"
READING = ("columns", "where", "best_of")  # keys that say how a table is read
NUMBER = r"\d(?:[\d,.]*\d)?[kMBT]?"  # a word of its own, as "7,000", or "7 of 12":
COUNT = re.compile(rf"(?<!\S)({NUMBER})(?: of ({NUMBER}))?(?=[,;)]?(?:\s|$))")
KNOWN: dict[str, tuple[type, str]] = {}  # imported verbs: schema, and where its YAML is
SETTINGS = {  # run where you are called, leave no folder behind, number and name jobs
    "run": {"dir": "."},
    "sweep": {"dir": "${results}/multirun", "subdir": "."},
    "output_subdir": None,
    "sweeper": {"_target_": "hydra_plugins.scaling_sweeper.ScalingSweeper"},
}


def verb(
    name: str, schema: type[Config], conf: str = CONF
) -> Callable[[Callable[[Config], None]], Callable[[], None]]:
    """Make a function of a configuration a command line, which `conf`/`name`.yaml composes.

    The YAML calls the configuration's dataclass `name`_schema.
    """
    KNOWN[name] = schema, conf
    ConfigStore.instance().store(name=f"{name}_schema", node=schema)
    ConfigStore.instance().store(name="settings", package="hydra", node=SETTINGS)
    sys.path += [] if PLUGINS in sys.path else [PLUGINS]  # where Hydra finds our sweeper

    def known() -> list[str]:
        return [key.name for key in list_keys(schema)] + [*offered_groups(name, conf)]

    def decorate(act: Callable[[Config], None]) -> Callable[[], None]:
        @hydra.main(version_base=None, config_path=conf, config_name=name)
        @functools.wraps(act)
        def composed(config: DictConfig) -> None:
            with one_line_errors(known):  # the jobs of a multirun fail one by one
                act(resolve(config, schema))

        @functools.wraps(act)
        def main() -> None:
            with one_line_errors(known):
                if {"--help", "-h"} & {*sys.argv[1:]}:
                    about = sys.modules[act.__module__].__doc__ or ""
                    return print(help_text(schema, name, about, offered_groups(name, conf)))
                if "--version" in sys.argv[1:]:
                    return print(f"scaling-laboratory {version('scaling-laboratory')}")
                refuse_flags(sys.argv[1:])
                words = sys.argv[1:] = complete_lists(sys.argv[1:], schema)
                if conf != TABLES or any(word.startswith(("-", "hydra.")) for word in words):
                    return composed()
                with initialize_config_dir(conf, version_base=None):  # Hydra's main does it twice
                    config = compose(name, words)
                act(resolve(config, schema))

        return main

    return decorate


def find_words(name: str) -> tuple[list[str], list[str]]:
    """Words that complete the command line of an imported verb, as `list_words` gives them."""
    schema, conf = KNOWN[name]
    return list_words(schema, offered_groups(name, conf))


def offered_groups(name: str, conf: str = CONF) -> dict[str, tuple[str, list[str]]]:
    """Groups of conf/ that a verb composes: name -> (default, choices)."""
    found = {}
    for entry in OmegaConf.load(f"{conf}/{name}.yaml").defaults:
        for group, default in entry.items() if isinstance(entry, DictConfig) else ():
            if not str(group).startswith("override"):
                files = sorted((Path(conf) / str(group)).glob("*.yaml"))
                found[str(group)] = str(default), [file.stem for file in files]
    return found


def refuse_flags(words: Sequence[str]) -> None:
    """Refuse a word with a dash that is none of Hydra's; ValueError says what there is."""
    if unknown := [w for w in words if w[:1] == "-" and w.partition("=")[0] not in FLAGS]:
        like = suggest(unknown[0], ["--help", "--version", "--cfg", "--multirun"])
        raise ValueError(f"unknown option {unknown[0]!r}{like}; keys are given as KEY=VALUE")


def complete_lists(words: list[str], schema: type) -> list[str]:
    """Put brackets around one value, or several, where a key takes a list; not in a multirun."""
    if {"-m", "--multirun"} & {*words}:
        return words
    lists = {key.name for key in list_keys(schema) if key.is_list}

    def complete(word: str) -> str:
        key, equals, value = word.partition("=")
        bare = equals and key in lists and value not in ("", "null") and value[0] not in "[{$"
        return f"{key}=[{value}]" if bare else word

    return [complete(word) for word in words]


def resolve(composed: DictConfig, schema: type[Config]) -> Config:
    """Turn a composed configuration into its dataclass; refuse what the schema does not know.

    Raises
    ------
    ValueError
        A key added with `+key=value`, or a mandatory value left out.
    """
    if missing := sorted(OmegaConf.missing_keys(composed)):
        raise ValueError(f"{missing[0]} must be given: add {missing[0]}=VALUE")
    config = OmegaConf.to_object(composed)
    assert isinstance(config, schema)
    if unknown := sorted(_unknown_keys(config)):
        like = suggest(unknown[0], (key.name for key in list_keys(schema)))
        raise ValueError(f"unknown configuration keys {unknown}; --help lists the known ones{like}")
    for key in list_keys(schema):
        value = attrgetter(key.name)(config)
        if key.is_list and any(isinstance(part, list | dict) for part in value or ()):
            raise ValueError(f"{key.name}={value} must be a plain list, {key.name}=[A,B]")
    return config


def _unknown_keys(node: Any, prefix: str = "") -> Iterator[str]:
    known = {field.name for field in fields(node)}
    for name, value in vars(node).items():
        if name not in known:
            yield prefix + name
        elif is_dataclass(value):
            yield from _unknown_keys(value, f"{prefix}{name}.")


def job_folder(folder: str | Path) -> Path:
    """Return the folder, or in a multirun (`-m`) one beside it for each of its jobs."""
    return Path(f"{folder}{job_suffix()}")


def retell(name: str) -> str:
    """The command line of a verb as it was typed, which makes the same again."""
    return shlex.join(["python", "-m", f"scaling.{name}", *sys.argv[1:]])


def name_step(path: Path, plan: str | None = None) -> str:
    """A plan by the law of a table, read as here; without an answer or a file all its fits."""
    reading = [word for word in sys.argv[1:] if word.partition("=")[0] in READING]
    if plan is None or not path.exists():
        return shlex.join(["python", "-m", "scaling.fit", f"runs={path}", *reading])
    return f"{plan} {shlex.join([f'law={path}', *reading])}"


def make_console() -> Console:
    """Give the terminal, on which what a user calls things is printed as it is."""
    return Console(soft_wrap=True, markup=False)


def spare(report: Callable[[str], None]) -> Callable[[str], None]:
    """Pass on few of the lines that count: a line per ten percent.

    Of "7 of 12 MB" the next where a tenth is passed, of "7,000 articles" where the number has
    doubled; and all lines that count nothing.
    """
    told: dict[str, float] = {}  # a line without its numbers -> the share or number last told

    def is_due(line: str) -> bool:
        if not (found := COUNT.search(line)):
            return True
        try:
            number, total = (parse_quantity(n or "0") for n in found.groups())
        except ValueError:  # a version, 0.2.1, counts nothing
            return True
        kind, share = COUNT.sub("#", line), number / total if total else number
        before = told.get(kind, 0.0)
        passed = pass_tenth(before, share) if total else share >= 2 * before
        if kind in told and not passed:
            return False
        told[kind] = share
        return True

    def pass_on(line: str) -> None:
        if is_due(line):
            report(line)

    return pass_on


def job_suffix() -> str:
    """What tells the jobs of a multirun (`-m`) apart, fit for a folder's name; empty without."""
    if not HydraConfig.initialized():
        return ""
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN or not hydra.job.override_dirname:
        return ""
    return "-" + re.sub(r"[^\w.=,+-]+", "_", hydra.job.override_dirname)


@contextlib.contextmanager
def one_line_errors(known: Callable[[], Sequence[str]] = list) -> Iterator[None]:
    """Let a user's mistake, missing data or an interrupt end a verb with one line, no traceback.

    A warning about a runs table is one line too. An unknown key is compared with the `known` ones.
    """

    def show(message, category, *_):
        line = f"warning: {message}"
        if sys.stderr.isatty():  # where people read it, no word is broken
            width = shutil.get_terminal_size().columns
            line = textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
        print(line, file=sys.stderr)

    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra then leaves its errors to us
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", RunsWarning)
            warnings.showwarning = show
            yield
    except BrokenPipeError:  # who reads, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(f"error: {explain(error, known())}")
    except (ValueError, DataError, FitError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).splitlines())}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGINT, before)


def explain(error: Exception, known: Sequence[str] = ()) -> str:
    """Say in one line what Hydra refuses in several, and what it would take."""
    causes = [e for e in (error, error.__cause__) if e is not None]
    lines = [(str(e).strip().splitlines() or [type(e).__name__])[0].rstrip(".") for e in causes]
    told = "; ".join(lines).replace("Error merging override ", "")
    for group, (module, extra) in LAUNCHERS.items():
        if f"hydra/launcher/{module}" in told:
            return f"dispatch={group} needs pip install 'scaling-laboratory[{extra}]'"
    if isinstance(error, MissingConfigException):
        return f"{lines[0]}; choose one of {', '.join(error.options or [])}"
    if found := re.search(r"Could not override '([^']+)'", told):
        return (
            f"unknown key {found[1]!r}{suggest(found[1], known)}; --help lists the keys and their "
            "values"
        )
    words = [word for word in sys.argv[1:] if "=" in word]
    if isinstance(error, OverrideParseException):
        word = error.override
        key, equals, value = word.partition("=")
        if not equals:
            return f"{word!r} is no KEY=VALUE{suggest(word, known)}; --help lists the keys"
        if value[:1] == "[":
            return f"{word!r} cannot be read; a list is written as '{key}=[A,B]'"
        return f"{word!r} cannot be read; quote the value: {_quoted(key, value)}"
    for word in words:
        key, _, value = word.partition("=")
        if f"'{word}'" in told and "Ambiguous" in told:
            return f"{word!r} is several values: give a job for each with -m"
        if f"override {word}" not in lines[0]:
            continue
        if key in ONE_TABLE and "'list' to string" in lines[-1]:
            return f"{word}: {key} takes one table; make one of several: {MERGED} (conf/README.md)"
        if "to string" in lines[-1]:
            return f"{word!r}: {lines[-1]}; quote a text: {_quoted(key, value)}"
        for pattern, meant in WRONG.items():
            if found := re.match(pattern, lines[-1]):
                return f"{word}: {meant.format(found[1]).replace('KEY', key)}"
    return f"{told}; --help lists the keys and their values"


def _quoted(key: str, value: str) -> str:
    """Write a text so that neither the shell nor Hydra takes it apart."""
    inside = value.strip("'\"").replace("\\", "\\\\").replace("'", "\\'")
    return f"\"{key}='{inside}'\""
