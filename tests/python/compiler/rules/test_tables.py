import numpy as np
import pytest
import torch
from torch import nn

import sparse_engine as engine
from compiled_functions import as_model, expect_refused, expect_torch_on

IDS = torch.randint(0, 20, (5, 7), generator=torch.Generator().manual_seed(0))


def test_embeddings_are_torchs_for_every_dtype_of_integers():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(20, 6), nn.Linear(6, 4))
    compiled = expect_torch_on(model, IDS)
    assert [node["operation"] for node in compiled.nodes] == ["gather", "linear"]
    assert compiled.inputs[0].dtype == "int64"
    expected = compiled(IDS)
    for dtype in (np.int32, np.uint8):
        assert torch.equal(torch.from_numpy(compiled(IDS.numpy().astype(dtype))), expected)


def test_numbers_that_are_no_rows_are_refused_by_name():
    model = as_model(nn.Sequential(nn.Embedding(20, 6)))
    compiled = engine.compile(model, IDS[:2])
    for wrong in (20, -1):
        with pytest.raises(ValueError, match=rf"element 3 of input input is {wrong}; .* in \[0, 20\)"):
            compiled(np.array([[0, 1, 2, wrong, 0, 0, 0]]))
    with pytest.raises(ValueError, match="compiled for int64"):
        compiled(np.zeros((1, 7), np.float32))
    with pytest.raises(ValueError, match="from -2\\^23 to 2\\^23"):
        compiled(np.full((1, 7), 2**30))


def test_a_program_with_integer_inputs_is_the_same_from_its_file(tmp_path):
    compiled = engine.compile(as_model(nn.Sequential(nn.Embedding(20, 6))), IDS[:2])
    compiled.save(tmp_path / "rows.sparse")
    loaded = engine.load_compiled(tmp_path / "rows.sparse")
    assert loaded.inputs == compiled.inputs
    assert np.array_equal(loaded(IDS.numpy()), compiled(IDS.numpy()))


def test_constant_and_computed_indices_pick_rows():
    torch.manual_seed(0)
    table = torch.randn(20, 3)
    expect_torch_on(lambda i: table[i] * 2, IDS)
    expect_torch_on(lambda x: x[:, torch.tensor([4, 0, -1, 4])] * 2, torch.randn(5, 6, 3))


def test_one_row_of_every_item_is_picked():
    torch.manual_seed(0)
    x = torch.randn(5, 7, 3)
    expect_torch_on(lambda x, i: x[torch.arange(x.shape[0]), i.argmax(-1)] * 2, x, IDS)
    expect_torch_on(lambda x: x[torch.arange(x.shape[0])[:, None], torch.tensor([[6, 2]])] * 2, x)


def test_the_first_of_the_largest_is_found_along_any_axis():
    torch.manual_seed(0)
    ties = torch.randint(0, 3, (5, 4, 6)).float()
    for axis in (1, -1):
        expect_torch_on(lambda x, d=axis: x.argmax(d) * 1.0, ties)


def test_rows_of_constants_that_are_the_same_for_all_are_gathered():
    buffer = torch.arange(20.0)[None] * 3
    expect_torch_on(lambda i: torch.gather(buffer.expand(i.shape[0], -1), 1, i) * 2, IDS)
    expect_refused(lambda x, i: torch.gather(x, 1, i) * 2, (2, 20), IDS[:2], operation="gather", reason="no row of constants")


def test_differences_are_of_neighbours():
    torch.manual_seed(0)
    expect_torch_on(lambda x: torch.diff(x), torch.randn(5, 6))
    expect_torch_on(lambda x: torch.diff(x, dim=1, prepend=x[:, :1] * 2) * 2, torch.randn(5, 6, 2))


def test_numbers_of_items_serve_to_index_alone():
    expect_refused(lambda x: x + torch.arange(x.shape[0])[:, None], (2, 3), operation="arange", reason="and not to index by it")
