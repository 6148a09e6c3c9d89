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
    """What help() is asked for: its full name, its module, and itself after its class."""
    places = [(scaling, name) for name in scaling.__all__]
    for module in list_modules():
        own = (name for name, value in vars(module).items() if is_defined_in(value, module))
        places += [(module, name) for name in own if not name.startswith("_")]
    for module, name in places:
        thing = getattr(module, name)
        yield f"{module.__name__}.{name}", module, thing
        for method, value in vars(thing).items() if inspect.isclass(thing) else ():
            if not method.startswith("_") and is_function(value):
                told = f"{module.__name__}.{name}.{method}"
                yield told, module, thing, getattr(thing, method)


def is_function(value):
    return inspect.isfunction(inspect.unwrap(getattr(value, "__func__", value)))


def is_defined_in(value, module):
    is_ours = getattr(value, "__module__", None) == module.__name__
    return is_ours and (inspect.isclass(value) or is_function(value))


@functools.cache
def shown_by(*owners):
    """Examples that the last of these docstrings has, all of which hold, and the names they leave.

    A module's use what `from module import *` gives, those of a thing inside what its owner leaves.
    """
    *outer, thing = owners
    given = shown_by(*outer)[1] if outer else vars(thing)
    names = {name: value for name, value in given.items() if not name.startswith("_")}
    [test] = doctest.DocTestFinder(recurse=False, exclude_empty=False).find(thing, thing.__name__)
    test.globs = names
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    failed, tried = runner.run(test, clear_globs=False)
    assert not failed
    return tried, names


PUBLIC = {name: owners for name, *owners in list_public()}


@pytest.mark.parametrize("name", PUBLIC)
def test_it_shows_an_example_that_holds(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCALING_DATA_DIR", raising=False)
    assert shown_by(*PUBLIC[name])[0], f"{name} shows no example"
    sections = SECTION.findall(inspect.getdoc(PUBLIC[name][-1]))
    assert sections[-1:] == ["Examples"], f"{name}: its examples stand in no section, or not last"
    drawn = sys.modules.get("matplotlib.pyplot")
    assert drawn is None or not drawn.get_fignums()
