import math

import pytest

from scaling.course.number import bits_figure
from scaling.hardware.formats import bits_table


@pytest.mark.parametrize("value", [math.pi, -0.1, 1e6])
def test_every_bit_has_its_box(value):
    table = bits_table(value)
    [ax] = bits_figure(table).axes
    assert len(ax.patches) == sum(len(bits.replace(" ", "")) for bits in table.bits)
    shown = [text.get_text() for text in ax.texts]
    assert [name for name in table["format"] if name not in shown] == []
    assert any(f"spacing {table.spacing[0]:.2g}" in text for text in shown)
