"""The tables and statements of the course, made once."""

import pytest

from scaling.course.statements import statements_table
from scaling.course.tables import course_tables


@pytest.fixture(scope="session")
def statements():
    return statements_table(course_tables())
