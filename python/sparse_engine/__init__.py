"""Prune a PyTorch model with one call and run it faster on an ordinary CPU.

    import sparse_engine as engine

    model = engine.prune(model, engine.Spec(sparsity=0.9)).eval()
    with torch.inference_mode():
        y = model(x)
    print(engine.report(model, example_inputs=x))

Matrices, `linear` and the convolutions need numpy only; what works on models imports torch on first use. Less common things
lie in `engine.analysis`, `.channels`, `.masking`, `.matrices`, `.nn`, `.pruning`, `.runtime` and `.schedules`.
"""

from typing import TYPE_CHECKING

from .lazy import lazy

if TYPE_CHECKING:
    from . import analysis as analysis
    from . import channels as channels
    from . import masking as masking
    from . import matrices as matrices
    from . import nn as nn
    from . import pruning as pruning
    from . import runtime as runtime
    from .analysis.allocation import allocate as allocate
    from .analysis.reporting import report as report
    from .analysis.sensitivity_scan import sensitivity as sensitivity
    from .compiler.api import compile as compile
    from .compiler.compiled import CompiledModel as CompiledModel
    from .compiler.compiled import load_compiled as load_compiled
    from .compiler.decoder.api import compile_decoder as compile_decoder
    from .compiler.decoder.compiled_decoder import CompiledDecoder as CompiledDecoder
    from .compiler.inference_session import InferenceSession as InferenceSession
    from .compiler.unsupported import UnsupportedModel as UnsupportedModel
    from .io.checkpoint import load as load
    from .io.checkpoint import save as save
    from .matrices.bitmask import BitmaskMatrix as BitmaskMatrix
    from .matrices.bsr import BSRMatrix as BSRMatrix
    from .matrices.csr import CSRMatrix as CSRMatrix
    from .matrices.functional import conv1d as conv1d
    from .matrices.functional import conv2d as conv2d
    from .matrices.functional import conv3d as conv3d
    from .matrices.functional import linear as linear
    from .matrices.nm import NMMatrix as NMMatrix
    from .nn.autotune import autotune as autotune
    from .pruning import schedules as schedules
    from .pruning.attachment import masks as masks
    from .pruning.attachment import remove_masks as remove_masks
    from .pruning.blocks import Blocks as Blocks
    from .pruning.given_masks import set_masks as set_masks
    from .pruning.granularity import NofM as NofM
    from .pruning.pruner import Pruner as Pruner
    from .pruning.spec import Spec as Spec
    from .strategies import prune as prune
    from .version import __version__ as __version__

# Public names, and the module each lives in.
_HOMES = {
    "BSRMatrix": "matrices.bsr",
    "BitmaskMatrix": "matrices.bitmask",
    "Blocks": "pruning.blocks",
    "CSRMatrix": "matrices.csr",
    "CompiledDecoder": "compiler.decoder.compiled_decoder",
    "CompiledModel": "compiler.compiled",
    "InferenceSession": "compiler.inference_session",
    "NMMatrix": "matrices.nm",
    "NofM": "pruning.granularity",
    "Pruner": "pruning.pruner",
    "Spec": "pruning.spec",
    "UnsupportedModel": "compiler.unsupported",
    "__version__": "version",
    "allocate": "analysis.allocation",
    "analysis": "module:analysis",
    "autotune": "nn.autotune",
    "channels": "module:channels",
    "compile": "compiler.api",
    "compile_decoder": "compiler.decoder.api",
    "conv1d": "matrices.functional",
    "conv2d": "matrices.functional",
    "conv3d": "matrices.functional",
    "linear": "matrices.functional",
    "load": "io.checkpoint",
    "load_compiled": "compiler.compiled",
    "masking": "module:masking",
    "masks": "pruning.attachment",
    "matrices": "module:matrices",
    "nn": "module:nn",
    "prune": "strategies",
    "pruning": "module:pruning",
    "remove_masks": "pruning.attachment",
    "report": "analysis.reporting",
    "runtime": "module:runtime",
    "save": "io.checkpoint",
    "schedules": "module:pruning.schedules",
    "sensitivity": "analysis.sensitivity_scan",
    "set_masks": "pruning.given_masks",
}

__getattr__, __dir__, __all__ = lazy(__name__, _HOMES)
