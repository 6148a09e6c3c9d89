"""What the verbs share: where conf/ lies, strict typing of a configuration, errors as one line."""

import functools
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from scaling.errors import DataError, FitError
from scaling.tables.observations import RunsWarning

Config = TypeVar("Config")
PACKAGE = Path(__file__).parent
CONF = str(next(f for f in (PACKAGE / "conf", PACKAGE.parent / "conf") if f.is_dir()))


def register(name: str, schema: type) -> None:
    """Make a dataclass the schema of a verb's configuration."""
    ConfigStore.instance().store(name=name, node=schema)


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
        raise ValueError(f"unknown configuration keys {unknown}; --help lists the known ones")
    return config


def _unknown_keys(node: Any, prefix: str = "") -> Iterator[str]:
    known = {field.name for field in fields(node)}
    for name, value in vars(node).items():
        if name not in known:
            yield prefix + name
        elif is_dataclass(value):
            yield from _unknown_keys(value, f"{prefix}{name}.")


def job_suffix() -> str:
    """What tells the jobs of a multirun (`-m`) apart, fit for a folder's name; empty without."""
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN or not hydra.job.override_dirname:
        return ""
    return "-" + re.sub(r"[^\w.=,+-]+", "_", hydra.job.override_dirname)


def one_line_errors(verb: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """Let a user's mistake, missing data or an interrupt end a verb with one line, no traceback.

    A warning about a runs table is one line too.
    """

    def show(message, category, *_):
        print(f"warning: {message}", file=sys.stderr)

    @functools.wraps(verb)
    def guarded(composed: DictConfig) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", RunsWarning)
                warnings.showwarning = show
                verb(composed)
        except (ValueError, DataError, FitError, OSError) as error:
            sys.exit(f"error: {error}")
        except KeyboardInterrupt:
            sys.exit(130)

    return guarded
