"""A compiled model as a KServe predictor: the Open Inference Protocol (V2), inputs and outputs by name.

    python kserve_model.py --model_name mlp --model model.sparse --http_port 8080

Tensors as binary data behind the JSON, as `kserve.InferRequest.to_rest` writes them. A call takes one thread, and as many calls
run at a time as there are cores.
"""

import argparse
import os

import kserve
from anyio import CapacityLimiter, to_thread
from body_limit import BodyLimit
from kserve import InferOutput, InferRequest, InferResponse
from kserve.errors import InvalidInput, invalid_input_handler
from kserve.model_server import app, parser

import sparse_engine as engine

CORES = len(os.sched_getaffinity(0))
MAX_BYTES = 16 << 20  # of a request


class CompiledModel(kserve.Model):
    """What KServe's server calls."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self.path, self.cores = path, CapacityLimiter(CORES)

    def load(self) -> bool:
        """Open the file."""
        self.model = engine.load_compiled(self.path, threads=1)
        self.ready = True
        return self.ready

    def get_input_types(self) -> list[dict]:
        """For /v2/models/NAME."""
        return [_described(tensor) for tensor in self.model.inputs]

    def get_output_types(self) -> list[dict]:
        """For /v2/models/NAME."""
        return [_described(tensor) for tensor in self.model.outputs]

    async def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:
        """The model's outputs."""
        if not isinstance(payload, InferRequest):
            raise InvalidInput("send the request to /v2/models/NAME/infer")
        try:
            inputs = {tensor.name: tensor.as_numpy() for tensor in payload.inputs}
            results = await to_thread.run_sync(lambda: self.model(**inputs), limiter=self.cores)
        except (TypeError, ValueError) as error:  # an input that is missing or unknown; a shape or dtype that does not fit
            raise InvalidInput(str(error)) from error
        outputs = []
        for tensor, result in zip(self.model.outputs, results if isinstance(results, tuple) else (results,), strict=True):
            output = InferOutput(tensor.name, list(result.shape), "FP32")
            output.set_data_from_numpy(result)
            outputs.append(output)
        return InferResponse(payload.id, self.name, outputs, use_binary_outputs=payload.use_binary_outputs)


def _described(tensor) -> dict:
    return {"name": tensor.name, "datatype": "FP32", "shape": [-1 if isinstance(n, str) else n for n in tensor.shape]}


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(parents=[parser])
    arguments.add_argument("--model", required=True, help="the compiled file")
    options = arguments.parse_args()
    model = CompiledModel(options.model_name, options.model)
    model.load()
    app.add_middleware(BodyLimit, max_bytes=MAX_BYTES)
    app.add_exception_handler(ValueError, invalid_input_handler)  # KServe decodes bodies before `predict` sees them
    kserve.ModelServer().start([model])
