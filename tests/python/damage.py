"""Sparse matrices with something wrong in their arrays, and a program that hands them all to `from_scipy` or `from_torch`.

    python damage.py scipy|torch

prints what was not refused with ValueError or TypeError.
"""

import sys
import warnings

import numpy as np
import scipy.sparse

import sparse_engine as engine

SHAPE = (12, 8)


def sound(kind):
    """A (12, 8) matrix without fault: "csr", "coo_matrix", ..."""
    w = np.arange(96, dtype=np.float32).reshape(SHAPE)
    w *= np.random.default_rng(0).random(SHAPE) < 0.4
    if kind.startswith("bsr"):
        return getattr(scipy.sparse, kind if "_" in kind else "bsr_array")(w, blocksize=(2, 2))
    return getattr(scipy.sparse, kind if "_" in kind else f"{kind}_array")(w)


def put(place, value):
    def change(array):
        array = array.copy()
        array[place] = value
        return array

    return change


# What becomes of an array of indices or of values.
SHARED = [
    lambda a: a[:-2],
    lambda a: a[:0],
    lambda a: np.append(a, a[-1:], axis=0),
    lambda a: a.reshape(1, 1, 1, -1),
    lambda a: a.astype(object),
    lambda a: a.astype("S9"),
    lambda a: None,
    lambda a: "abc",
    lambda a: 5,
]
FALSE_INDICES = [
    *SHARED,
    *(put(place, value) for place in (0, 1, -1) for value in (-1, -(10**8), -(2**31), 10**8, 2**31 - 1)),
    lambda a: a.astype(np.float64),
    lambda a: a.astype("m8[s]"),
    lambda a: a > 0,
    lambda a: a + 1j,
    lambda a: np.full(len(a), 2**63 + 1, np.uint64),
    lambda a: np.full(len(a), -(2**63), np.int64),
]
FALSE_VALUES = [*SHARED, lambda a: a + 1j, lambda a: a.astype("m8[s]"), lambda a: a.astype(np.float64) * 1e300]
FALSE_SHAPES = [(-1, 8), (12, 1), (3, 8), (12,), (12.0, 8), (2**70, 8), (2**63 - 1, 8), (12, 8, 1), None, (13, 8)]
FALSE_LISTS = [None, 7, "abc", (0,), [-1], [99], [2**80], [0.5], [True], [None], [[0]], [0] * 5, []]
FALSE_KEYS = [(-1, 0), (0, 99), (2**80, 0), (0.5, 0), (0,), (0, 0, 0), 5, "ab", (None, None)]


def damaged_by_attribute(kind):
    compressed = {"indptr": FALSE_INDICES, "indices": FALSE_INDICES, "data": FALSE_VALUES}
    diagonals = {"offsets": [*SHARED, *FALSE_INDICES[-6:-2]], "data": FALSE_VALUES}
    name = kind.split("_")[0]
    changes = {"csr": compressed, "csc": compressed, "bsr": compressed, "dia": diagonals}
    for attribute, ways in changes.get(name, {}).items():
        for number, change in enumerate(ways):
            matrix = sound(kind)
            setattr(matrix, attribute, change(getattr(matrix, attribute)))
            yield f"{kind}.{attribute}, damage {number}", matrix
    if name == "coo":
        for number, change in enumerate(FALSE_INDICES):
            for axis in (0, 1):
                matrix = sound(kind)
                matrix.coords = tuple(change(a) if i == axis else a for i, a in enumerate(matrix.coords))
                yield f"{kind}.coords[{axis}], damage {number}", matrix
    if name == "lil":
        for attribute in ("rows", "data"):
            for number, value in enumerate(FALSE_LISTS):
                matrix = sound(kind)
                rows = getattr(matrix, attribute)
                if attribute == "data" and isinstance(value, list) and len(value) == len(rows[1]):
                    value = [*value, 1]  # as many values as columns would be right
                rows[1] = value
                yield f"{kind}.{attribute}[1], damage {number}", matrix
            for number, change in enumerate([*SHARED[:4], *SHARED[-3:]]):
                matrix = sound(kind)
                setattr(matrix, attribute, change(getattr(matrix, attribute)))
                yield f"{kind}.{attribute}, damage {number}", matrix
    if name == "dok":
        for key in FALSE_KEYS:
            matrix = sound(kind)
            matrix._dict[key] = 1.0
            yield f"{kind} with the key {key}", matrix
        for value in ("a", 1j, None, [1], 1e300):
            matrix = sound(kind)
            matrix._dict[(0, 0)] = value
            yield f"{kind} with the value {value}", matrix


def damaged_scipy():
    for name in ("csr", "csc", "coo", "bsr", "dia", "lil", "dok"):
        for kind in (name + "_array", name + "_matrix"):
            yield from damaged_by_attribute(kind)
        if name in ("csr", "bsr", "coo", "dok"):
            for shape in FALSE_SHAPES:
                if shape == (13, 8) and name in ("coo", "dok"):
                    continue  # another matrix, but a sound one
                matrix = sound(name)
                matrix._shape = shape
                yield f"{name} of shape {shape}", matrix


def scipy_readers():
    yield "CSRMatrix", engine.CSRMatrix.from_scipy
    yield "BSRMatrix", engine.BSRMatrix.from_scipy
    yield "BSRMatrix in blocks", lambda matrix: engine.BSRMatrix.from_scipy(matrix, (1, 1))


def damaged_torch():
    import torch

    for name, make in (("CSR", torch.sparse_csr_tensor), ("BSR", torch.sparse_bsr_tensor)):
        dense = torch.from_numpy(sound("csr").toarray())
        whole = dense.to_sparse_csr() if name == "CSR" else dense.to_sparse_bsr((2, 2))
        for part in (0, 1):
            for number, change in enumerate(FALSE_INDICES):
                parts = [whole.crow_indices(), whole.col_indices(), whole.values()]
                try:
                    parts[part] = torch.from_numpy(np.array(change(parts[part].numpy())))
                    tensor = make(*parts, SHAPE, check_invariants=False)
                except (TypeError, RuntimeError, ValueError):  # torch itself makes no such tensor
                    continue
                yield f"torch {name}, part {part}, damage {number}", tensor


def torch_readers():
    yield "CSRMatrix", lambda t: (engine.CSRMatrix if "csr" in str(t.layout) else engine.BSRMatrix).from_torch(t)


def main(library):
    warnings.simplefilter("ignore")
    cases, readers = {"scipy": (damaged_scipy, scipy_readers), "torch": (damaged_torch, torch_readers)}[library]
    count = 0
    for what, matrix in cases():
        count += 1
        for reader, read in readers():
            try:
                print(f"{reader} took {what}: {read(matrix)}")
            except (ValueError, TypeError):
                pass
            except Exception as error:
                print(f"{reader} of {what}: {type(error).__name__}: {error}")
    if count < 20:
        print(f"only {count} cases were made")


if __name__ == "__main__":
    main(sys.argv[1])
