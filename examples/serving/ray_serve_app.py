"""A compiled model on Ray Serve: an .npy file in, one out, from as many replicas as are asked for, on one machine or many.

    export RAY_USAGE_STATS_ENABLED=0
    serve run ray_serve_app:build model=/shared/model.sparse replicas=2
    curl --data-binary @x.npy http://127.0.0.1:8000/predict --output y.npy

A replica has a core, and runs the model on one thread. For a model of one input and one output.
"""

import npy
from body_limit import BodyLimit
from fastapi import FastAPI, HTTPException, Request, Response
from ray import serve

import sparse_engine as engine

MAX_BYTES = 16 << 20  # of a request

app = FastAPI()
app.add_middleware(BodyLimit, max_bytes=MAX_BYTES)


@serve.deployment(ray_actor_options={"num_cpus": 1})
@serve.ingress(app)
class Predictor:
    """A replica: it opens the file once, and computes one request at a time."""

    def __init__(self, path: str) -> None:
        self.model = engine.load_compiled(path, threads=1)

    @app.post("/predict")
    async def predict(self, request: Request) -> Response:
        """The model's output for the array in the body."""
        try:
            y = self.model(npy.read(await request.body()))
        except ValueError as error:  # no array of float32, or of a shape that the model does not take
            raise HTTPException(400, str(error)) from error
        return Response(npy.write(y), media_type=npy.MEDIA_TYPE)


def build(arguments: dict[str, str]) -> serve.Application:
    """What `serve run` deploys: model=PATH, the same on every machine, and replicas=NUMBER."""
    return Predictor.options(num_replicas=int(arguments.get("replicas", 1))).bind(arguments["model"])
