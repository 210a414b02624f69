import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import sparse_engine as engine
from sparse_engine.masking.mask import Mask


@given(
    scores=hnp.arrays(np.float32, st.integers(1, 300), elements=st.floats(-4, 4, width=32).map(lambda v: round(v * 4) / 4)),
    share=st.floats(0, 1),
)
def test_keep_largest_keeps_no_entry_smaller_than_one_it_removes(scores, share):
    keep = round(share * scores.size)
    sizes, kept = np.abs(scores), engine.masking.keep_largest(scores, keep)
    assert kept.sum() == keep
    assert keep in (0, scores.size) or sizes[kept].min() >= sizes[~kept].max()
    np.testing.assert_array_equal(engine.masking.keep_largest(scores.astype(np.float64), keep), kept)


@pytest.mark.parametrize("shape", [(100, 64), (64, 16), (32, 16, 3, 3), (2_000, 1_300)])
def test_ties_spread_over_rows_and_columns(every_isa, shape):
    for share in (0.1, 0.2, 0.9):
        keep = round(share * np.prod(shape))
        kept = engine.masking.keep_largest(np.zeros(shape, np.float32), keep).reshape(shape[0], -1)
        assert kept.sum() == keep
        assert np.abs(kept.sum(1) - share * kept.shape[1]).max() < 4
        assert np.abs(kept.sum(0) - share * kept.shape[0]).max() < 4


def test_of_fewer_kept_ties_no_other_ones_stay():
    scores = np.ones((30, 11), np.float32)
    masks = [engine.masking.keep_largest(scores, keep) for keep in range(scores.size + 1)]
    assert not any((fewer & ~more).any() for fewer, more in itertools.pairwise(masks))


def test_float64_scores_are_ranked_by_all_their_bits():
    scores = 1 + np.arange(1000.0) * 1e-13
    np.random.default_rng(0).shuffle(scores)
    np.testing.assert_array_equal(engine.masking.keep_largest(scores, 300), scores >= np.sort(scores)[700])


def test_keep_largest_ranks_subnormals_infinity_and_signed_zero():
    scores = np.array([0.0, -0.0, 1e-45, -np.inf, 1.0, -1e-42], np.float32)
    assert engine.masking.keep_largest(scores, 3).tolist() == [False, False, False, True, True, True]
    assert engine.masking.keep_largest(scores, 4).tolist() == [False, False, True, True, True, True]


def test_keep_largest_refuses_nan_and_a_keep_out_of_range():
    with pytest.raises(ValueError, match=r"scores\[2\] is NaN"):
        engine.masking.keep_largest(np.array([1, 2, np.nan], np.float32), 1)
    for keep in (-1, 4):
        with pytest.raises(ValueError, match=r"outside \[0, 3\]"):
            engine.masking.keep_largest(np.ones(3, np.float32), keep)
    with pytest.raises(TypeError, match="float32"):
        engine.masking.keep_largest(np.ones(3, np.float16), 1)


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
