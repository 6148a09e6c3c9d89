import numpy as np
from legible import drawn

from scaling.figures.attention import attention_figure


def test_every_head_has_its_map_and_tokens_are_named_once():
    maps = np.tril(np.ones((2, 3, 4, 4))) / np.arange(1, 5)[:, None]
    fig = drawn(attention_figure(maps, ["The", "his", "tory", "of"]))
    assert [ax.get_title() for ax in fig.axes[:2]] == ["layer 1, head 1", "layer 1, head 2"]
    np.testing.assert_array_equal(fig.axes[3].images[0].get_array(), maps[1, 0])
    named = [[tick.get_text() for tick in ax.get_yticklabels()] for ax in fig.axes]
    assert named[0] == ["The", "his", "tory", "of"] and named[1] == []
