from sparse_engine.compiler.unsupported import Refused, UnsupportedModel


def test_every_operation_is_named_with_how_often_where_and_why():
    refused = [Refused("erf", f"block{i}") for i in range(6)] + [Refused("pool", "", "with dilation")]
    error = UnsupportedModel(refused)
    assert "erf (6×, in block0, block1, block2, block3 and 2 more)" in str(error)
    assert "pool (1×, in the model itself): with dilation" in str(error)
    assert error.refused == refused
