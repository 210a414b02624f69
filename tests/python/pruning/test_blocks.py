import numpy as np
import pytest

from sparse_engine._core import Norm
from sparse_engine.pruning.blocks import Blocks, Filter, Kernel, Row, Vector

WEIGHT = (6, 4, 3, 2)


@pytest.mark.parametrize(
    ("granularity", "block", "within_row"),
    [
        (Blocks(4, 1), (4, 1), False),
        (Blocks(1, 4), (1, 4), True),
        (Vector(), (1, 2), True),
        (Kernel(), (1, 6), True),
        (Filter(), (1, 24), False),
    ],
)
def test_a_block_of_a_convolution_has_these_sides(granularity, block, within_row):
    assert granularity.refusal(WEIGHT) is None
    assert granularity.block(WEIGHT) == block
    assert granularity.within_row == within_row


def test_only_a_row_is_that_of_a_linear_layer_and_only_others_are_of_a_convolution():
    assert Row().block((6, 4)) == (1, 4)
    assert 'is a "filter"' in Row().refusal(WEIGHT)
    for granularity in (Vector(), Kernel(), Filter()):
        assert f'a linear layer has no "{granularity}"' in granularity.refusal((6, 4))


def test_the_blocks_of_the_largest_means_stay_over_all_layers_together():
    scores = [np.array([[1, 1, 5, 5], [9, 0, 2, 2]], np.float32), np.array([[7, 7], [3, 3]], np.float32)]
    masks = Blocks(1, 2).pick([lambda s=s: s for s in scores], [s.shape for s in scores], 6, Norm.l1)
    assert masks[0].to_numpy().tolist() == [[False, False, True, True], [True, True, False, False]]
    assert masks[1].to_numpy().tolist() == [[True, True], [False, False]]
