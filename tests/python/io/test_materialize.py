"""Memory for models of the meta device."""

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.io.materialize import materialize  # noqa: E402


def on_meta(make):
    with torch.device("meta"):
        return make()


def test_every_parameter_and_buffer_gets_memory_of_its_shape_type_and_gradient():
    model = on_meta(lambda: nn.Sequential(nn.Conv2d(3, 4, 3).half(), nn.BatchNorm2d(4)))
    model[0].bias.requires_grad_(False)
    expected = {name: (t.shape, t.dtype) for name, t in model.state_dict().items()}
    materialize(model, expected)
    assert {name: (t.shape, t.dtype) for name, t in model.state_dict().items()} == expected
    assert all(t.device.type == "cpu" for t in model.state_dict().values())
    assert isinstance(model[0].weight, nn.Parameter)
    assert model[0].weight.requires_grad
    assert not model[0].bias.requires_grad


def test_tied_parameters_stay_tied():
    model = on_meta(lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)))
    model[1].weight = model[0].weight
    materialize(model, model.state_dict())
    assert model[0].weight is model[1].weight
    assert model[0].bias is not model[1].bias


def test_recurrent_layers_compute_with_their_new_memory():
    model = on_meta(lambda: nn.LSTM(3, 5))
    materialize(model, model.state_dict())
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.1)
    expected = nn.LSTM(3, 5)
    for parameter in expected.parameters():
        nn.init.constant_(parameter, 0.1)
    x = torch.ones(2, 1, 3)
    assert torch.equal(model(x)[0], expected(x)[0])


def test_what_lies_on_the_cpu_already_is_left_as_it_is():
    model = nn.Linear(3, 3)
    weight = model.weight
    materialize(model, [])
    assert model.weight is weight


@pytest.mark.parametrize("kind", ["parameter", "hidden buffer", "attribute"])
def test_a_tensor_that_nothing_gives_a_value_to_is_named_and_the_model_unchanged(kind):
    model = on_meta(lambda: nn.Sequential(nn.Linear(2, 2), nn.Module()))
    lost = torch.zeros(1, device="meta")
    if kind == "parameter":
        model[1].lost = nn.Parameter(lost)
    elif kind == "hidden buffer":
        model[1].register_buffer("lost", lost, persistent=False)
    else:
        model[1].lost = lost
    with pytest.raises(ValueError, match=r"'1\.lost'.*Make the model on the CPU"):
        materialize(model, ["0.weight", "0.bias"])
    assert model[0].weight.is_meta
