"""A compiled model behind FastAPI: an .npy file in, one out.

    MODEL=model.sparse uvicorn fastapi_app:app --port 8000
    curl --data-binary @x.npy http://127.0.0.1:8000/predict --output y.npy

A call takes one thread, and as many calls run at a time as there are cores: more requests are finished than by calls of all
cores one after another. For a model of one input and one output.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import npy
from anyio import CapacityLimiter, to_thread
from body_limit import BodyLimit
from fastapi import FastAPI, HTTPException, Request, Response

import sparse_engine as engine

CORES = len(os.sched_getaffinity(0))
MAX_BYTES = int(os.environ.get("MAX_BYTES", 16 << 20))  # of a request


@asynccontextmanager
async def opened(app: FastAPI) -> AsyncIterator[None]:
    """Open the file once, before the first request."""
    with engine.load_compiled(os.environ["MODEL"], threads=1) as model:
        app.state.model, app.state.cores = model, CapacityLimiter(CORES)
        yield


app = FastAPI(lifespan=opened)
app.add_middleware(BodyLimit, max_bytes=MAX_BYTES)


@app.post("/predict")
async def predict(request: Request) -> Response:
    """The model's output for the array in the body."""
    try:
        x = npy.read(await request.body())
        y = await to_thread.run_sync(app.state.model, x, limiter=app.state.cores)
    except ValueError as error:  # no array of float32, or of a shape that the model does not take
        raise HTTPException(400, str(error)) from error
    return Response(npy.write(y), media_type=npy.MEDIA_TYPE)
