"""What pruning did to a model, or would do: reports, counts, sensitivity, allocation, batch norms estimated again."""

from typing import TYPE_CHECKING

from ..lazy import lazy

if TYPE_CHECKING:
    from .allocation import allocate as allocate
    from .batchnorm import recalibrate_batchnorm as recalibrate_batchnorm
    from .macs import MacCounts as MacCounts
    from .macs import count_macs as count_macs
    from .macs import densities as densities
    from .prediction import what_if as what_if
    from .reporting import Report as Report
    from .reporting import report as report
    from .sensitivity_result import Sensitivity as Sensitivity
    from .sensitivity_scan import sensitivity as sensitivity

# Public names, and the module each lives in.
_HOMES = {
    "MacCounts": "macs",
    "Report": "reporting",
    "Sensitivity": "sensitivity_result",
    "allocate": "allocation",
    "count_macs": "macs",
    "densities": "macs",
    "recalibrate_batchnorm": "batchnorm",
    "report": "reporting",
    "sensitivity": "sensitivity_scan",
    "what_if": "prediction",
}

__getattr__, __dir__, __all__ = lazy(__name__, _HOMES)
