"""Which calls of torch multiply by a weight, as a forward makes them, and what a trial of a forward shows."""

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from sparse_engine.nn.products import Convolution, Factor, Products, product_of  # noqa: E402

W, BIAS, X = torch.randn(6, 8), torch.randn(6), torch.randn(4, 8)
STACK, KERNEL, IMAGES = torch.randn(3, 6, 8), torch.randn(6, 4, 3, 3), torch.randn(2, 8, 5, 5)
SQUARE = torch.randn(8, 8)

# A call with a weight, and how the weight stands in it: matrix of a stack, (in, out) instead of (out, in).
CALLS = {
    "linear": (W, lambda w: F.linear(X, w, BIAS), (None, False)),
    "by name": (W, lambda w: F.linear(input=X, weight=w, bias=BIAS), (None, False)),
    "matmul of a transpose": (W, lambda w: X @ w.t(), (None, False)),
    "mm": (W.t().contiguous(), lambda w: torch.mm(X, w), (None, True)),
    "mm by name": (W.t().contiguous(), lambda w: torch.mm(X, mat2=w), (None, True)),
    "method": (W, lambda w: X.matmul(w.T), (None, False)),
    "mT": (W, lambda w: X.mm(w.mT), (None, False)),
    "turned twice": (SQUARE, lambda w: X @ w.t().transpose(0, 1), (None, True)),
    "negative axes": (W, lambda w: X @ torch.transpose(w, -1, -2), (None, False)),
    "axes by name": (W, lambda w: X @ w.transpose(dim0=0, dim1=1), (None, False)),
    "addmm": (W, lambda w: torch.addmm(BIAS, X, w.t()), (None, False)),
    "addmm by name": (W, lambda w: torch.addmm(BIAS, mat1=X, mat2=w.t()), (None, False)),
    "one of a stack": (STACK, lambda w: F.linear(X, w[1]), (1, False)),
    "the last of a stack": (STACK, lambda w: X @ w[-1].t(), (2, False)),
    "by a tensor": (STACK, lambda w: F.linear(X, w[torch.tensor(2)]), (2, False)),
    "turned, then one": (STACK, lambda w: X @ w.transpose(1, 2)[0], (0, False)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_product_is_seen_with_its_weight_as_it_stands_there(name):
    weight, call, (matrix, transposed) = CALLS[name]
    seen = []
    with Products({"weight": weight}, seen.append):
        result = call(weight)
    (product,) = seen
    assert product.factor == Factor("weight", matrix, transposed)
    assert product.x is X
    assert product.convolution is None
    assert (product.bias is BIAS) == (name in ("linear", "by name", "addmm", "addmm by name"))
    factor = weight if matrix is None else weight[matrix]
    expected = X @ (factor if transposed else factor.t()) + (0 if product.bias is None else BIAS)
    torch.testing.assert_close(result, expected, msg="what stands in the product is what was multiplied")


def test_a_convolution_is_seen_with_how_it_slides():
    seen = []
    with Products({"weight": KERNEL}, seen.append):
        torch.conv2d(IMAGES, KERNEL, BIAS, 2, padding=1, groups=2)
        F.conv2d(IMAGES[:, :4], KERNEL)
    assert [product.convolution for product in seen] == [Convolution(2, 1, 1, 2), Convolution(1, 0, 1, 1)]
    assert [product.bias is BIAS for product in seen] == [True, False]


OTHERS = {
    "another tensor": lambda: F.linear(X, W.clone()),
    "changed": lambda: F.linear(X, W * 1),
    "a result of its own": lambda: torch.mm(X, W.t(), out=torch.empty(4, 6)),
    "the other side": lambda: W @ X.t(),
    "rows of it": lambda: F.linear(X, W[1:3]),
    "scaled": lambda: torch.addmm(BIAS, X, W.t(), beta=2),
    "a bias for every element": lambda: torch.addmm(torch.ones(4, 6), X, W.t()),
    "the whole stack": lambda: torch.matmul(X, STACK.transpose(1, 2)),
    "the same axis twice": lambda: torch.mm(X[:, :6], W.transpose(1, 1)),
    "another axis": lambda: torch.matmul(torch.randn(4, 3), STACK.transpose(0, 2)[1].t()),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_product_with_the_weight_as_it_is_is_left_to_torch(name):
    with Products({"weight": W, "stack": STACK}, lambda product: pytest.fail(f"{product.factor}")):
        OTHERS[name]()


def test_what_is_given_takes_the_place_of_the_result():
    given, own = torch.zeros(4, 6), F.linear(X, W)
    with Products({"weight": W}, lambda product: given):
        assert F.linear(X, W) is given
    with Products({"weight": W}, lambda product: None):
        assert torch.equal(F.linear(X, W), own)


class InputsFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(8, 6)), nn.Parameter(torch.zeros(6))

    def forward(self, x):
        return torch.addmm(self.bias, x, self.weight)


class Scaled(InputsFirst):
    def forward(self, x):
        return x @ (self.weight * 0.1)


class Raises(InputsFirst):
    def forward(self, x):
        super().forward(x)
        raise RuntimeError("not this input")


class Buffered(InputsFirst):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


def test_a_trial_shows_the_product_that_a_forward_makes():
    found = product_of(InputsFirst(), InputsFirst)
    assert found.factor == Factor("weight", None, True)
    assert found.x.numel() == 0, "the trial's tensors are not kept"
    assert found.bias is None
    assert product_of(nn.Linear(8, 6), nn.Linear).factor == Factor("weight", None, False)
    assert product_of(nn.Conv2d(4, 6, 3, 2, groups=2), nn.Conv2d).convolution == Convolution((2, 2), (0, 0), (1, 1), 2)


def test_a_forward_that_makes_no_such_product_has_none():
    assert product_of(Scaled(), Scaled) is None
    assert product_of(Raises(), Raises) is None
    whole = InputsFirst()
    whole.weight = nn.Parameter(torch.ones(8, 6, dtype=torch.int64), requires_grad=False)
    assert product_of(whole, InputsFirst) is None
    assert product_of(nn.LazyLinear(3), nn.LazyLinear) is None
    assert product_of(nn.Linear(2, 2, device="meta"), nn.Linear) is None
    assert product_of(nn.ReLU(), nn.ReLU) is None


def test_a_module_that_a_trial_could_change_is_not_tried():
    module = Buffered()
    assert product_of(module, Buffered) is None
    assert module.calls == 0


def test_a_module_is_tried_once():
    class Counted(InputsFirst):
        calls = 0

        def forward(self, x):
            Counted.calls += 1
            return super().forward(x)

    module = Counted()
    assert product_of(module, Counted) is product_of(module, Counted)
    # The first trial gives (2, 6) where (2, 8) is asked for, the other way round it fits.
    assert Counted.calls == 2


def test_trying_a_forward_changes_nothing():
    class Counting(InputsFirst):
        def forward(self, x):
            torch.rand(3)
            return super().forward(x)

    model = nn.Sequential(Counting())
    state = torch.random.get_rng_state()
    engine.prune(model, engine.Spec(sparsity=0.5))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert list(engine.masks(model)) == ["0.weight"]
