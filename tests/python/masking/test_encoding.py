"""Weights under masks as files hold them: both encodings, their sizes, and arrays that do not fit."""

import pytest

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")

from sparse_engine.masking import encoding  # noqa: E402
from sparse_engine.masking.mask import Mask  # noqa: E402


def masked(rng, shape, density):
    kept = rng.random(shape) < density
    return torch.from_numpy((rng.standard_normal(shape) * kept).astype(np.float32)), Mask.from_numpy(kept)


def stored(value, mask):
    tensors = {}
    entry = encoding.compress("w", value, mask, tensors)
    return entry, tensors


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (64, 65), (4, 3, 3, 3), (1, 65536), (2, 65537), (0, 4), (4, 0)])
@pytest.mark.parametrize("density", [0.0, 0.01, 0.5, 1.0])
def test_weights_come_back_bit_for_bit_in_either_encoding_of_the_size_it_says(rng, shape, density):
    value, mask = masked(rng, shape, density)
    entry, tensors = stored(value, mask)
    assert encoding.stored_bytes(mask) == sum(t.numel() * t.element_size() for t in tensors.values())
    weight, found = encoding.decompress("w", entry, shape, tensors)
    assert tensors == {}, "what is left over would be somebody else's"
    assert torch.equal(weight, value)
    assert np.array_equal(found.to_numpy(), mask.to_numpy())


def test_the_smaller_encoding_is_taken_and_columns_are_as_narrow_as_the_rows_allow(rng):
    assert stored(*masked(rng, (64, 64), 0.5))[0]["encoding"] == "bitmask"
    for columns, dtype in ((65536, torch.uint16), (65537, torch.uint32)):
        kept = np.zeros((2, columns), bool)
        kept[1, columns - 1] = True
        entry, tensors = stored(torch.from_numpy(kept.astype(np.float32)), Mask.from_numpy(kept))
        assert entry["encoding"] == "csr"
        assert tensors["w:columns"].dtype == dtype
        assert tensors["w:columns"].tolist() == [columns - 1]
        assert tensors["w:counts"].tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_values_keep_their_type_and_zeros_that_stay_are_kept(dtype):
    mask = Mask.from_numpy(np.array([[True, True, False]]))
    value = torch.tensor([[0.0, -0.0, 0.0]], dtype=dtype)
    entry, tensors = stored(value, mask)
    assert tensors["w:values"].dtype == dtype
    weight, found = encoding.decompress("w", entry, (1, 3), tensors)
    assert found.kept == 2
    assert torch.equal(torch.signbit(weight), torch.signbit(value))


SPOILED = {
    "an entry that is no mapping": (lambda e, t: [], "not a list of sizes"),
    "no shape": (lambda e, t: {}, "not a list of sizes"),
    "a negative side": (lambda e, t: e | {"shape": [-2, -10]}, "not a list of sizes"),
    "a side that is true": (lambda e, t: e | {"shape": [True, 20]}, "not a list of sizes"),
    "another shape": (lambda e, t: e | {"shape": [10, 2]}, "in the model"),
    "an unknown encoding": (lambda e, t: e | {"encoding": "zip"}, "known are bitmask, csr"),
    "no values": (lambda e, t: t.pop("w:values") is None or e, "the file lacks 'w:values'"),
    "a value too many": (lambda e, t: t.update({"w:values": torch.zeros(99)}) or e, "its mask keeps"),
    "values in two rows": (lambda e, t: t.update({"w:values": t["w:values"][None]}) or e, "its mask keeps"),
}
OF_BITS = {
    "a byte too many": (lambda e, t: t.update({"w:bits": torch.zeros(4, dtype=torch.uint8)}) or e, "needs 3"),
    "a bit past the end": (lambda e, t: t["w:bits"].__setitem__(2, 0xFF) or e, "needs 3"),
    "bits of another type": (lambda e, t: t.update({"w:bits": t["w:bits"].int()}) or e, "one row of uint8"),
}
OF_COLUMNS = {
    "a column past the end": (lambda e, t: t["w:columns"].copy_(t["w:columns"].int() + 60000) is None or e, "do not fit"),
    "a row too many": (lambda e, t: t.update({"w:counts": torch.zeros(3, dtype=torch.uint32)}) or e, "do not fit"),
    "signed columns": (lambda e, t: t.update({"w:columns": t["w:columns"].int()}) or e, "one row of uint16"),
    "a column twice": (lambda e, t: t.update({"w:columns": t["w:columns"].int().mul(0).to(torch.uint16)}) or e, "ascending"),
}


@pytest.mark.parametrize(("spoil", "message"), [*SPOILED.values(), *OF_BITS.values()], ids=[*SPOILED, *OF_BITS])
def test_what_does_not_fit_a_bitmask_is_refused_and_named(rng, spoil, message):
    entry, tensors = stored(*masked(rng, (2, 10), 0.5))
    assert entry["encoding"] == "bitmask"
    with pytest.raises(ValueError, match=message):
        encoding.decompress("w", spoil(entry, tensors), (2, 10), tensors)


@pytest.mark.parametrize(("spoil", "message"), OF_COLUMNS.values(), ids=OF_COLUMNS)
def test_what_does_not_fit_columns_is_refused_and_named(spoil, message):
    kept = np.zeros((2, 5000), bool)
    kept[0, [3, 4000]] = kept[1, 7] = True
    entry, tensors = stored(torch.from_numpy(kept.astype(np.float32)), Mask.from_numpy(kept))
    with pytest.raises(ValueError, match=message):
        encoding.decompress("w", spoil(entry, tensors), (2, 5000), tensors)


def test_a_shape_that_is_not_the_models_is_refused_before_anything_of_its_size_is_made():
    with pytest.raises(ValueError, match="no place in the model"):
        encoding.decompress("w", {"shape": [2**40, 2**40], "encoding": "bitmask"}, None, {})
