"""What the docstrings of the public functions show is what comes out."""

import doctest
import inspect

import pytest

import scaling

FUNCTIONS = [name for name in scaling.__all__ if inspect.isfunction(getattr(scaling, name))]


def run_examples(thing, known):
    """Examples of one docstring, which may use the names that are known and add to them."""
    [test] = doctest.DocTestFinder(recurse=False).find(thing, thing.__name__, globs=known)
    test.globs = known
    failed, tried = doctest.DocTestRunner().run(test, clear_globs=False)
    return failed, tried


@pytest.fixture(scope="module")
def known():
    names = {}
    failed, tried = run_examples(scaling, names)
    assert tried > 5 and not failed
    return names


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_shows_an_example_that_holds(name, known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCALING_DATA_DIR", raising=False)
    failed, tried = run_examples(getattr(scaling, name), dict(known))
    assert tried and not failed
