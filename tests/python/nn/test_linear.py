import pytest

import sparse_engine as engine
from reference import assert_linear_within_bound

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

INPUTS = {
    "batch 1": lambda: torch.randn(1, 96),
    "batch 70": lambda: torch.randn(70, 96),
    "vector": lambda: torch.randn(96),
    "three leading": lambda: torch.randn(2, 3, 4, 96),
    "transposed": lambda: torch.randn(96, 9).t(),
    "sliced": lambda: torch.randn(9, 200)[:, 3:195:2],
    "expanded": lambda: torch.randn(1, 96).expand(5, 96),
    "empty": lambda: torch.randn(0, 96),
    "empty between": lambda: torch.randn(3, 0, 96),
    "negated view": lambda: torch.imag(torch.randn(4, 96, dtype=torch.complex64).conj()),
}


@pytest.mark.parametrize("make", INPUTS.values(), ids=INPUTS)
def test_linear_takes_what_torch_takes(native_always, plain_copy, make):
    layer = engine.prune(nn.Linear(96, 50), engine.Spec(sparsity=0.9)).eval()
    x = make()
    with torch.inference_mode():
        y, expected = layer(x), plain_copy(layer)(x)
    assert y.shape == expected.shape
    assert_linear_within_bound(
        y.reshape(-1, 50), x.reshape(-1, 96).resolve_neg(), layer.weight.detach().numpy(), layer.bias.detach().numpy()
    )
