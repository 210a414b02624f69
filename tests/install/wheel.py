"""What an installed wheel must do where there is no compiler and no torch: multiply, refuse, and bring its OpenMP runtime.

    python tests/install/wheel.py [--torch SITE_PACKAGES]

With --torch the torch of another environment is imported afterwards: it and the engine must share one runtime.
"""

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np

import sparse_engine as engine


def openmp_runtimes():
    return {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libgomp" in line}


def check_products():
    rng = np.random.default_rng(0)
    w = rng.standard_normal((256, 320)).astype(np.float32)
    w *= np.kron(rng.random((64, 80)) < 0.2, np.ones((4, 4)))
    pairs = w.reshape(256, 80, 4).copy()
    pairs[..., 2:] = 0
    formats = [
        (engine.CSRMatrix.from_dense(w), w),
        (engine.BSRMatrix.from_dense(w), w),
        (engine.BitmaskMatrix.from_dense(w), w),
        (engine.NMMatrix.from_dense(pairs.reshape(w.shape)), pairs.reshape(w.shape)),
    ]
    for isa in engine.runtime.supported_isas():
        engine.runtime.set_isa(isa)
        for matrix, dense in formats:
            for batch in (1, 5, 200):
                x = rng.standard_normal((batch, 320)).astype(np.float32)
                np.testing.assert_allclose(engine.linear(x, matrix), x.astype(np.float64) @ dense.T, rtol=1e-4, atol=1e-4)


def check_refusals():
    values = np.ones(1, np.float32)
    for indptr, indices, words in (([0, 9], [0], "but there are 1 values"), ([0, 1], [-7], "indices[0] = -7 is outside")):
        said = ""
        try:
            engine.CSRMatrix.from_parts(indptr, indices, values, (1, 3))
        except ValueError as error:
            said = str(error)
        assert words in said, said or f"indptr = {indptr}, indices = {indices} were taken"


def check_one_runtime_with_torch(site_packages):
    sys.path.append(site_packages)
    import torch

    torch.set_num_threads(1)
    assert engine.runtime.num_threads() == 1, engine.runtime.num_threads()
    (torch.ones(600, 600) @ torch.ones(600, 600)).sum()
    check_products()
    assert len(openmp_runtimes()) == 1, openmp_runtimes()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", metavar="SITE_PACKAGES", help="where a torch is installed")
    arguments = parser.parse_args()
    package = Path(engine.__file__).resolve().parent
    assert Path(sys.prefix).resolve() in package.parents, f"{package} is no installed package"
    check_products()
    check_refusals()
    (runtime,) = openmp_runtimes()
    assert package in Path(runtime).parents, f"{runtime} is not the wheel's"
    if arguments.torch:
        check_one_runtime_with_torch(arguments.torch)
    compilers = [name for name in ("g++", "c++", "cc", "gcc", "clang") if shutil.which(name)]
    print(f"{package}: {engine.runtime.isa()}, {Path(runtime).name}, compilers: {', '.join(compilers) or 'none'}")


if __name__ == "__main__":
    main()
