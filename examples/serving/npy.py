"""Arrays in bodies of requests and answers, as .npy files. What comes from strangers is checked before it is given memory."""

import io
import math

import numpy as np

MEDIA_TYPE = "application/x-npy"


def read(body: bytes) -> np.ndarray:
    """The float32 array in `body`, a view of it. Nothing is unpickled: arrays of objects, as of any other dtype, are refused.

    Raises:
        ValueError: it is no such array.
    """
    file = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = {(1, 0): np.lib.format.read_array_header_1_0}[version](file)
    except Exception as error:  # beside ValueError whatever numpy's parser runs into
        raise ValueError(f"the body is no .npy file as numpy.save writes it: {error}") from error
    if dtype != np.float32:
        raise ValueError(f"the body holds {dtype}; send float32")
    begin, count = file.tell(), math.prod(shape)
    if any(length < 0 for length in shape) or len(body) - begin != 4 * count:
        raise ValueError(f"the body holds {len(body) - begin} bytes of values; shape {shape} needs {4 * count}")
    return np.frombuffer(body, np.float32, count, begin).reshape(shape, order="F" if fortran else "C")


def write(array: np.ndarray) -> bytes:
    """The inverse of `read`."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
