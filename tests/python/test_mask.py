import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import sparse_engine as engine
from sparse_engine.mask import Mask


@given(
    scores=hnp.arrays(np.float32, st.integers(1, 300), elements=st.floats(-4, 4, width=32).map(lambda v: round(v * 4) / 4)),
    share=st.floats(0, 1),
)
def test_keep_largest_equals_a_stable_sort_by_magnitude(scores, share):
    keep = round(share * scores.size)
    order = np.argsort(-np.abs(scores), kind="stable")
    expected = np.zeros(scores.size, bool)
    expected[order[:keep]] = True
    np.testing.assert_array_equal(engine.keep_largest(scores, keep), expected)


def test_keep_largest_keeps_exactly_k_when_scores_tie(every_isa):
    mask = engine.keep_largest(np.ones((7, 11), np.float32), 30)
    assert mask.sum() == 30
    assert mask.reshape(-1)[:30].all()


def test_keep_largest_ties_across_pieces_keep_the_lowest_index(every_isa):
    scores = np.ones(2_500_000, np.float32)
    scores[::3] = -1
    mask = engine.keep_largest(scores, 1_700_001)
    assert mask[:1_700_001].all()
    assert not mask[1_700_001:].any()


def test_keep_largest_ranks_subnormals_infinity_and_signed_zero():
    scores = np.array([0.0, -0.0, 1e-45, -np.inf, 1.0, -1e-42], np.float32)
    assert engine.keep_largest(scores, 4).tolist() == [False, False, True, True, True, True]
    assert engine.keep_largest(scores, 5).tolist() == [True, False, True, True, True, True]


def test_keep_largest_refuses_nan_and_a_keep_out_of_range():
    with pytest.raises(ValueError, match=r"scores\[2\] is NaN"):
        engine.keep_largest(np.array([1, 2, np.nan], np.float32), 1)
    for keep in (-1, 4):
        with pytest.raises(ValueError, match=r"outside \[0, 3\]"):
            engine.keep_largest(np.ones(3, np.float32), keep)
    with pytest.raises(TypeError, match="float32"):
        engine.keep_largest(np.ones(3), 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_mask_zeroes_what_it_does_not_keep_and_says_whether_anything_was_there(dtype, rng):
    kept = rng.random((13, 7)) < 0.5
    mask = Mask(np.packbits(kept, bitorder="little"), kept.shape)
    array = np.ones(kept.shape, dtype)
    assert mask.apply(array) is True
    np.testing.assert_array_equal(array, kept.astype(dtype))
    assert mask.apply(array) is False
    np.testing.assert_array_equal(mask.to_numpy(), kept)
    assert mask.kept == kept.sum()


def test_mask_takes_one_bit_a_weight():
    assert Mask(np.zeros(1000 // 8, np.uint8), (10, 100)).nbytes * 8 == 1000


def test_mask_refuses_bits_that_do_not_fit_the_shape():
    with pytest.raises(ValueError, match="takes 2 bytes, not 1"):
        Mask(np.zeros(1, np.uint8), (3, 3))
