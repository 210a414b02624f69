"""Which calls of torch multiply by a layer's weight, seen while the layer's own forward runs.

A class says little about what a layer computes: a subclass of `Linear` may scale its result, a class of one's own may be a
linear layer in all but name. What its `forward` does with its weight says it.
"""

import operator
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode


class Factor(NamedTuple):
    """A weight as it stands in a product: a whole parameter or one of the matrices in it, as it is or transposed."""

    parameter: str
    matrix: int | None
    transposed: bool  # the factor is (in, out)


class Convolution(NamedTuple):
    """How a convolution slides."""

    stride: Any
    padding: Any
    dilation: Any
    groups: int


class Product(NamedTuple):
    """x times a weight: that of a linear layer, or a convolution."""

    x: Tensor
    factor: Factor
    bias: Tensor | None
    convolution: Convolution | None


class Products(TorchFunctionMode):
    """Inside the block `instead` is asked about every product with one of `weights`; what it gives takes the result's place.

    Args:
        weights: by name. Matrices of three-dimensional ones and transposed views are known as parts of them.
        instead: a product -> its result, or None to leave it to torch.
    """

    def __init__(self, weights: Mapping[str, Tensor], instead: Callable[[Product], Tensor | None]) -> None:
        super().__init__()
        # The latest is mostly the one that is asked for. Not by `id`, which Dynamo makes up.
        self.known = [(weight, Factor(name, None, False)) for name, weight in weights.items()]
        self.instead = instead

    def __torch_function__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Torch's call, or what takes its place."""
        kwargs = kwargs or {}
        view = _VIEWS.get(function)
        if view is not None:
            result = function(*args, **kwargs)
            whole = self._factor(args[0]) if args else None
            turned = None if whole is None else view(whole, *args, **kwargs)
            if turned is not None:
                self.known.append((result, turned))
            return result
        product = _PRODUCTS.get(function)
        if product is not None:
            found = product(self._factor, *args, **kwargs)
            if found is not None:
                result = self.instead(found)
                if result is not None:
                    return result
        return function(*args, **kwargs)

    def _factor(self, tensor: Any) -> Factor | None:
        for known, factor in reversed(self.known):
            if known is tensor:
                return factor
        return None


Find = Callable[[Any], Factor | None]


def _linear(find: Find, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Product | None:
    factor = find(weight)
    return None if factor is None or weight.dim() != 2 else Product(input, factor, bias, None)


def _matmul(find: Find, input: Tensor, *others: Tensor, **named: Any) -> Product | None:
    other: Any = others[0] if others else named.get("other", named.get("mat2"))
    factor = find(other)
    if factor is None or other.dim() != 2 or "out" in named:
        return None
    return Product(input, factor._replace(transposed=not factor.transposed), None, None)


def _addmm(find: Find, input: Tensor, *factors: Tensor, **named: Any) -> Product | None:
    given = [*factors, *(named[name] for name in ("mat1", "mat2") if name in named)]
    x, other = given
    if input.dim() != 1 or other.dim() != 2 or named.keys() - {"mat1", "mat2"}:
        return None
    found = _matmul(find, x, other)
    return None if found is None else found._replace(bias=input)


def _convolution(
    find: Find,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Product | None:
    factor = find(weight)
    return None if factor is None else Product(input, factor, bias, Convolution(stride, padding, dilation, groups))


def _transposed(factor: Factor, weight: Tensor, *axes: int, **named: int) -> Factor | None:
    pair = {axis % weight.dim() for axis in (*axes, *named.values())}
    both = {weight.dim() - 2, weight.dim() - 1}
    whole = weight.dim() == 2 and not pair
    return factor._replace(transposed=not factor.transposed) if whole or pair == both else None


def _last_two(factor: Factor, weight: Tensor, *_: Any) -> Factor:
    return factor._replace(transposed=not factor.transposed)


def _only_two(factor: Factor, weight: Tensor, *_: Any) -> Factor | None:
    return _last_two(factor, weight) if weight.dim() == 2 else None


def _one_of(factor: Factor, weight: Tensor, index: Any) -> Factor | None:
    if isinstance(index, Tensor) and index.dim() == 0 and not index.is_floating_point() and index.dtype is not torch.bool:
        index = int(index)
    if type(index) is not int or weight.dim() != 3 or factor.matrix is not None:
        return None
    return factor._replace(matrix=index % weight.shape[0])


_PRODUCTS: dict[Any, Callable[..., Product | None]] = {
    F.linear: _linear,
    torch.addmm: _addmm,
    Tensor.addmm: _addmm,
    **dict.fromkeys((torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__, operator.matmul), _matmul),
    **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d), _convolution),
}
_VIEWS: dict[Any, Callable[..., Factor | None]] = {
    **dict.fromkeys((torch.t, Tensor.t, torch.transpose, Tensor.transpose), _transposed),
    Tensor.T.__get__: _only_two,  # type: ignore[attr-defined]
    Tensor.mT.__get__: _last_two,  # type: ignore[attr-defined]
    **dict.fromkeys((Tensor.__getitem__, operator.getitem), _one_of),
}

_judged: "weakref.WeakKeyDictionary[nn.Module, Product | None]" = weakref.WeakKeyDictionary()
TINY = 2  # rows of a trial


def product_of(module: nn.Module, plain: type[nn.Module]) -> Product | None:
    """The product with `module.weight` that `plain.forward` makes of a tensor of the fitting size, or None.

    It is tried once on zeros. A module with buffers or modules inside could change by that and is not tried.
    """
    weight = module._parameters.get("weight")
    if weight is None or is_lazy(weight) or weight.is_meta or weight.dim() < 2 or not weight.dtype.is_floating_point:
        return None
    if module not in _judged:
        _judged[module] = None if _holds_more(module) else _tried(module, plain)
    return _judged[module]


def _holds_more(module: nn.Module) -> bool:
    return next(module.buffers(), None) is not None or next(module.children(), None) is not None


def _tried(module: nn.Module, plain: type[nn.Module]) -> Product | None:
    weight = module._parameters["weight"]
    assert weight is not None
    found: list[Product] = []

    def remember(product: Product) -> None:
        found.append(product._replace(x=product.x.new_empty(0), bias=None))

    for shape in _inputs(module, tuple(weight.shape)):
        x = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        generators = torch.random.fork_rng(devices=[] if not weight.is_cuda else [weight.device])
        with generators, torch.no_grad(), Products({"weight": weight}, remember):
            try:
                plain.forward(module, x)
            except Exception:  # whatever a forward of somebody else's does with an input it was not made for
                found.clear()
        if found:
            return found[0]
    return None


def _inputs(module: Any, shape: tuple[int, ...]) -> Iterable[tuple[int, ...]]:
    if len(shape) == 2:
        yield from dict.fromkeys([(TINY, shape[1]), (TINY, shape[0])])
    else:
        groups = getattr(module, "groups", 1)
        yield (1, shape[1] * (groups if type(groups) is int else 1), *(2 * side + 6 for side in shape[2:]))
