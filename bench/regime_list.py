"""The regimes that bench/regimes.py measures: operations, shapes, formats and the speed-ups to reach."""

from dataclasses import dataclass
from pathlib import Path

SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)


@dataclass(frozen=True)
class Regime:
    """What is multiplied, at which sizes, and the speed-up over dense to reach per sparsity."""

    title: str
    operation: str  # product: A @ X; linear; conv
    shapes: tuple[tuple[float, ...], ...]
    goals: dict[float, float]
    formats: tuple[str, ...] = ("csr",)
    published: float | None = None  # shapes end with a sparsity of their own; the mean speed-up over all of them to reach


def goals(*values: float | None) -> dict[float, float]:
    return {s: v for s, v in zip(SPARSITIES, values, strict=True) if v is not None}


TRANSFORMER = ((512, 512), (2048, 512), (512, 2048), (768, 768), (3072, 768), (768, 3072))
DECODE = ((4096, 9216), (11008, 4096))


def sized(shapes: tuple[tuple[int, int], ...], *columns: int) -> tuple[tuple[int, ...], ...]:
    return tuple((*shape, n) for shape in shapes for n in columns)


# out, in, kernel, size, batch
CONV3 = ((64, 64, 3, 56), (128, 128, 3, 28), (256, 256, 3, 14), (512, 512, 3, 7))
CONV1 = ((64, 256, 1, 56), (256, 64, 1, 56), (128, 512, 1, 28), (512, 128, 1, 28), (256, 1024, 1, 14), (1024, 256, 1, 14),
         (512, 2048, 1, 7), (2048, 512, 1, 7))  # fmt: skip


def eie(batch: int) -> tuple[tuple[float, ...], ...]:
    """The fully connected layers of EIE (Han et al., ISCA 2016) with their published sparsities, from bench/shapes."""
    lines = (Path(__file__).parent / "shapes" / "eie.txt").read_text().splitlines()
    rows = [line.split()[1:] for line in lines if line.startswith("linear")]
    return tuple((int(m), int(k), int(n), float(s)) for m, k, n, s in rows if int(n) == batch)


REGIMES = {
    "product": Regime(
        "`A @ X`, N = 128, 512", "product", sized(TRANSFORMER, 128, 512), goals(1.7, 2.1, 2.8, 4.0, 7, 11.5, 19)
    ),
    "linear": Regime(
        "`linear`, batch 64, 256", "linear", sized(TRANSFORMER, 64, 256), goals(1.4, 1.7, 2.4, 3.4, 6, 9.5, 14)
    ),
    "vector": Regime(
        "N = 1, beyond L3", "linear", sized(DECODE, 1), goals(1.7, 2.1, 2.7, 3.8, 6.3, 11, 20), ("csr", "bitmask")
    ),
    "vector16": Regime(
        "N = 1, beyond L3, 16-bit values", "linear", sized(DECODE, 1), goals(3.0, 3.6, 4.8, 6.5, 9.5, 14, 22),
        ("csr16", "bitmask16"),
    ),
    "narrow": Regime(
        "N = 2–8, beyond L3", "linear", sized(DECODE, 2, 4, 8), goals(1.6, 1.9, 2.5, 3.4, 5.5, 9, 15), ("csr", "bitmask")
    ),
    "conv3": Regime(
        "conv 3×3, batch 1", "conv", tuple((*s, 1) for s in CONV3), goals(None, None, 1.9, 2.9, 5, 8.5, 13)
    ),
    "conv3x8": Regime(
        "conv 3×3, batch 8", "conv", tuple((*s, 8) for s in CONV3), goals(None, None, 1.8, 2.7, 4.8, 8, 12)
    ),
    "conv1": Regime(
        "conv 1×1, batch 1 and 8", "conv", tuple((*s, b) for b in (1, 8) for s in CONV1), goals(None, None, 1.9, 2.9, 5, 8, 12)
    ),
    "blocks": Regime(
        "blocks 4×1, 8×1, N = 128, 512", "product", sized(TRANSFORMER, 128, 512), goals(1.7, 2.1, 2.8, 4.4, 8.3, 14, None),
        ("bsr4", "bsr8"),
    ),
    "nm": Regime("2:4, N = 128", "product", sized(TRANSFORMER, 128), {0.5: 1.65}, ("nm",)),
    "nm1": Regime("2:4, N = 1, beyond L3", "linear", sized(DECODE, 1), {0.5: 1.75}, ("nm",)),
    "eie1": Regime("EIE's nine layers, batch 1", "linear", eie(1), {}, ("csr", "bitmask"), published=8),
    "eie64": Regime("EIE's nine layers, batch 64", "linear", eie(64), {}, published=6),
}  # fmt: skip


@dataclass
class Case:
    """One shape of a regime at one sparsity: seconds per call of everything that took turns."""

    regime: str
    shape: tuple[float, ...]
    sparsity: float
    seconds: dict[str, float]
    best: str
    baseline: str
    speedup: float
    over_rivals: dict[str, float]
    over_one_thread: float
