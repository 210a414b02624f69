import pytest
import torch

from compiled_functions import expect_torch_on
from graphs import graph, value
from sparse_engine.compiler.graph import Node
from sparse_engine.compiler.passes.absorb_permutations import absorb_permutations


def kinds(compiled):
    return [node["operation"] for node in compiled.nodes]


def test_a_transposed_factor_is_read_as_it_lies():
    torch.manual_seed(0)
    a, b = torch.randn(5, 3, 4, 6), torch.randn(5, 3, 7, 6)
    assert kinds(expect_torch_on(lambda a, b: a @ b.transpose(-1, -2), a, b)) == ["matmul"]
    x, y, turned, out = value("x", 4, 6), value("y", 7, 6), value("turned", 6, 7), value("out", 4, 7)
    product = Node("matmul", "m", [x, turned], out, numbers=(0,))
    g = graph([x, y], [out], Node("permute", "p", [y], turned, numbers=(0, 2, 1)), product)
    absorb_permutations(g)
    g.check()
    assert product.inputs == [x, y]
    assert product.numbers == (1,)


def test_another_permutation_stays():
    torch.manual_seed(0)
    a, b = torch.randn(5, 3, 4, 6), torch.randn(5, 6, 3, 7)
    assert kinds(expect_torch_on(lambda a, b: a @ b.transpose(1, 2), a, b)) == ["permute", "matmul"]


@pytest.mark.parametrize("again", [False, True])
def test_heads_are_read_and_written_where_they_lie(again):
    """Unless something else reads the result of attention as it was."""
    torch.manual_seed(0)

    def function(x):
        heads = x.view(x.shape[0], 6, 2, 8).transpose(1, 2)
        y = torch.nn.functional.scaled_dot_product_attention(heads, heads, heads)
        z = y.transpose(1, 2).reshape(x.shape[0], 6, 16)
        return (z, y + 1) if again else z

    compiled = expect_torch_on(function, torch.randn(5, 6, 16))
    assert ("permute" in kinds(compiled)) == again
