"""The numbers of a report: a row for each layer, and totals."""

from dataclasses import dataclass, field

from ..runtime import isa, num_threads


@dataclass
class LayerReport:
    """One layer with a weight. Times are seconds for one call on the example input; None where nothing was measured."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    nonzeros: int
    kernel: str = "dense"
    reason: str = ""
    macs: int | None = None
    nonzero_macs: int | None = None
    dense_seconds: float | None = None
    seconds: float | None = None
    reach: float = 0.0  # of the histogram, which goes from -reach to reach: the largest magnitude
    histogram: list[int] = field(default_factory=list)  # of the weights that are not 0
    density_map: list[list[float]] = field(default_factory=list)  # of parts of the weight as a matrix, outputs downwards

    @property
    def density(self) -> float:
        """Share of weights that are not zero."""
        return self.nonzeros / self.parameters if self.parameters else 1.0


@dataclass
class ReportData:
    """Rows and totals."""

    layers: list[LayerReport]
    parameters: int  # of the whole model, biases and normalisation included
    nonzeros: int  # of these, all but the weights that are 0: biases count whatever they are
    dense_seconds: float | None = None
    seconds: float | None = None
    isa: str = field(default_factory=isa)
    threads: int = field(default_factory=num_threads)

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of the listed layers, or None without example inputs."""
        counts = [row.macs for row in self.layers if row.macs is not None]
        return sum(counts) if counts else None

    @property
    def nonzero_macs(self) -> int | None:
        """Multiply-accumulates with a non-zero weight."""
        counts = [row.nonzero_macs for row in self.layers if row.nonzero_macs is not None]
        return sum(counts) if counts else None
