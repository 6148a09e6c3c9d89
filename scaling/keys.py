"""The keys of a verb, read from its dataclass: what each means is the comment beside it."""

import ast
import functools
import inspect
import io
import shutil
import textwrap
import tokenize
import typing
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any

WIDTH = 100  # of the help, at most


@dataclass(frozen=True)
class Key:
    """One key of a verb's configuration."""

    name: str  # with the names of its groups: grid.budgets
    default: Any  # MISSING where there is none
    is_list: bool  # whether it takes a list and nothing else but None
    schema: type  # whose field it is

    @property
    def meaning(self) -> str:
        """The comment beside the field; empty without one."""
        return _read_comments(self.schema).get(self.name.rpartition(".")[2], "")


@functools.cache
def list_keys(schema: type) -> tuple[Key, ...]:
    """Keys of a dataclass and of those inside of it, in the order in which they are written."""
    return tuple(_walk_keys(schema))


def _walk_keys(schema: type, prefix: str = "") -> Iterator[Key]:
    kinds = typing.get_type_hints(schema)
    for field in fields(schema):
        kind, name = kinds[field.name], prefix + field.name
        if is_dataclass(kind):
            yield from _walk_keys(typing.cast(type, kind), f"{name}.")
            continue
        made = field.default_factory is not MISSING
        default = field.default_factory() if made else field.default  # pyright: ignore
        kinds_of = {k for k in (kind, *typing.get_args(kind)) if k is not type(None)}
        is_list = any(typing.get_origin(k) is list for k in kinds_of)
        yield Key(name, default, is_list, schema)


@functools.cache  # it reads source
def _read_comments(schema: type) -> dict[str, str]:
    """What stands behind the fields of a class, in its source."""
    source = textwrap.dedent(inspect.getsource(schema))
    told = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            found[node.target.id] = " ".join(told[line] for line in lines if line in told)
    return found


def help_text(schema: type, verb: str, about: str, groups: dict[str, tuple[str, list]]) -> str:
    """Every choice and every key of a verb with its default and meaning.

    Parameters
    ----------
    groups : dict, name -> (default, choices)
    """
    lines = [about.strip(), "", f"usage: python -m scaling.{verb} [KEY=VALUE ...]", ""]
    if groups:
        lines += ["Choices, each of which sets many keys at once:"]
        lines += [f"  {name}={default}: {', '.join(of)}" for name, (default, of) in groups.items()]
        lines += [""]
    lines += ["Keys, as they are where nothing is said:"]
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
    for key in list_keys(schema):
        is_needed = key.default in (MISSING, "???")
        shown = f"  {key.name}=" + ("REQUIRED" if is_needed else _write(key.default))
        text = f"{shown}  {key.meaning}" if key.meaning else shown
        lines += textwrap.wrap(
            text, width, subsequent_indent=" " * 8, break_long_words=False, break_on_hyphens=False
        )
    lines += [
        "",
        "Quote what the shell reads: 'grid.budgets=[1e12,2e12]', 'columns={size: N}'.",
        "-m KEY=A,B runs a job for each value; --cfg job prints the configuration; --version.",
    ]
    return "\n".join(lines)


def _write(value: Any) -> str:
    """Write a default as it would be given."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    return str(value)
