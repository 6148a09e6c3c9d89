"""A part of the course's page: tables in full precision, and the same for people."""

from typing import NamedTuple

import pandas as pd


class Shown(NamedTuple):
    """A table for people: a line above it, heads and cells."""

    caption: str
    header: list[str]
    cells: list[list[str]]


class Section(NamedTuple):
    """A part of the page.

    Attributes
    ----------
    name : str
        Of its figure, if it has one.
    title, text : str
    tables : dict, file name -> DataFrame in full precision
    shown : tuple of Shown
    """

    name: str
    title: str
    text: str
    tables: dict[str, pd.DataFrame]
    shown: tuple[Shown, ...]
    has_figure: bool = True
