"""Every public name shows an example, and what it shows is what comes out."""

import doctest
import functools
import importlib
import inspect
import pkgutil
import re
import sys

import pytest

import scaling

LOOKED_UP = ("laws", "shapes", "hardware", "quantities")  # for formulas: all that they define
SECTION = re.compile(r"^([A-Z][a-z]+)\n-{3,}$", re.MULTILINE)


def list_modules():
    """The modules in which people look formulas up."""
    for name in LOOKED_UP:
        module = importlib.import_module(f"scaling.{name}")
        inside = pkgutil.iter_modules(getattr(module, "__path__", ()), f"{module.__name__}.")
        yield from (importlib.import_module(found.name) for found in inside)
        yield module


def list_public():
    """What help() is asked for: its full name, itself, and what its examples may use."""
    places = [(scaling, name) for name in scaling.__all__]
    for module in list_modules():
        own = (name for name, value in vars(module).items() if is_defined_in(value, module))
        places += [(module, name) for name in own if not name.startswith("_")]
    for module, name in places:
        thing = getattr(module, name)
        yield f"{module.__name__}.{name}", thing, (module,)
        for method, value in vars(thing).items() if inspect.isclass(thing) else ():
            if not method.startswith("_") and is_function(value):
                told = f"{module.__name__}.{name}.{method}"
                yield told, getattr(thing, method), (module, thing)


def is_function(value):
    return inspect.isfunction(inspect.unwrap(getattr(value, "__func__", value)))


def is_defined_in(value, module):
    is_ours = getattr(value, "__module__", None) == module.__name__
    return is_ours and (inspect.isclass(value) or is_function(value))


@functools.cache
def known_to(*owners):
    """Names that examples of these owners' docstrings define, after `from module import *`."""
    *outer, owner = owners
    if outer:
        names = dict(known_to(*outer))
    else:
        names = {name: value for name, value in vars(owner).items() if not name.startswith("_")}
    run_examples(owner, names)
    return names


def run_examples(thing, names):
    """How many examples the docstring of a thing has, all of which hold."""
    [test] = doctest.DocTestFinder(recurse=False, exclude_empty=False).find(thing, thing.__name__)
    test.globs = names
    failed, tried = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, clear_globs=False)
    assert not failed
    return tried


PUBLIC = {name: rest for name, *rest in list_public()}


@pytest.mark.parametrize("name", PUBLIC)
def test_it_shows_an_example_that_holds(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCALING_DATA_DIR", raising=False)
    thing, owners = PUBLIC[name]
    assert run_examples(thing, dict(known_to(*owners))), f"{name} shows no example"
    assert SECTION.findall(inspect.getdoc(thing))[-1:] == ["Examples"], f"{name}: they stand last"
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )
