"""What the verbs share: a typed configuration from conf/, and errors as one line."""

import contextlib
import functools
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from scaling.errors import DataError, FitError
from scaling.tables.observations import RunsWarning

Config = TypeVar("Config")
PACKAGE = Path(__file__).parent
CONF = str(next(f for f in (PACKAGE / "conf", PACKAGE.parent / "conf") if f.is_dir()))


def verb(
    name: str, schema: type[Config]
) -> Callable[[Callable[[Config], None]], Callable[[], None]]:
    """Make a function of a configuration a command line, which conf/`name`.yaml composes.

    The YAML calls the configuration's dataclass `name`_schema.
    """
    ConfigStore.instance().store(name=f"{name}_schema", node=schema)

    def decorate(act: Callable[[Config], None]) -> Callable[[], None]:
        @hydra.main(version_base=None, config_path=CONF, config_name=name)
        @functools.wraps(act)
        def composed(config: DictConfig) -> None:
            with one_line_errors():  # the jobs of a multirun fail one by one
                act(resolve(config, schema))

        @functools.wraps(act)
        def main() -> None:
            with one_line_errors():
                composed()

        return main

    return decorate


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


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Let a user's mistake, missing data or an interrupt end a verb with one line, no traceback.

    A warning about a runs table is one line too.
    """

    def show(message, category, *_):
        print(f"warning: {message}", file=sys.stderr)

    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra then leaves its errors to us
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", RunsWarning)
            warnings.showwarning = show
            yield
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(f"error: {explain(error)}")
    except (ValueError, DataError, FitError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def explain(error: Exception) -> str:
    """Say in one line what Hydra refuses in several, and what it would take."""
    cause = error.__cause__
    lines = [str(e).strip().splitlines()[0].rstrip(".") for e in (error, cause) if e is not None]
    if isinstance(error, MissingConfigException):
        return f"{lines[0]}; choose one of {', '.join(error.options or [])}"
    return f"{'; '.join(lines)}; --help lists the keys and their values"
