"""Pruned models whose parameters torch spreads over processes, here over one, and weights that stand in for a layer's own."""

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import distributed, nn  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:FSDP2-wrapped module")
fsdp = pytest.importorskip("torch.distributed.fsdp")
if not hasattr(fsdp, "fully_shard"):
    pytest.skip("torch without fully_shard", allow_module_level=True)


class InputsFirst(nn.Module):
    """Stores its weight (in, out), as GPT-2 does."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(8, 8)), nn.Parameter(torch.zeros(8))

    def forward(self, x):
        return torch.addmm(self.bias, x, self.weight)


def attention():
    return nn.MultiheadAttention(8, 2)


CASES = {
    "linear": (lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8)), (4, 8)),
    "inputs first": (lambda: nn.Sequential(InputsFirst(), nn.Linear(8, 8)), (4, 8)),
    "lstm": (lambda: nn.LSTM(8, 8), (3, 4, 8)),
    "attention": (attention, (3, 4, 8)),
}


def run(model, x):
    result = model(x, x, x) if isinstance(model, nn.MultiheadAttention) else model(x)
    return result[0] if isinstance(result, tuple) else result


@pytest.fixture
def group(tmp_path):
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield distributed.device_mesh.init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


def pruned_and_sharded(case, mesh):
    make, shape = CASES[case]
    torch.manual_seed(0)
    model = engine.prune(make(), engine.Spec(sparsity=0.5))
    if isinstance(model, nn.Sequential):
        fsdp.fully_shard(model[0], mesh=mesh)
    return fsdp.fully_shard(model, mesh=mesh), torch.randn(shape)


@pytest.mark.parametrize("case", CASES)
def test_a_pruned_model_trains_and_infers_after_fully_shard_as_without_it(native_always, group, case):
    model, x = pruned_and_sharded(case, group)
    torch.manual_seed(0)
    alone = engine.prune(CASES[case][0](), engine.Spec(sparsity=0.5))
    masks = engine.masks(alone)
    optimizers = [torch.optim.AdamW(m.parameters(), 0.1) for m in (model, alone)]
    for _ in range(3):
        norms = []
        for own, optimizer in zip((model, alone), optimizers, strict=True):
            optimizer.zero_grad()
            run(own, x).square().sum().backward()
            norms.append(nn.utils.clip_grad_norm_(own.parameters(), 1.0))
            optimizer.step()
        torch.testing.assert_close(norms[0].full_tensor(), norms[1])
    for _ in range(2):
        with torch.inference_mode():
            torch.testing.assert_close(run(model.eval(), x), run(alone.eval(), x))
    model.reshard()
    state = {name: value.full_tensor() for name, value in model.state_dict().items()}
    for name, kept in masks.items():
        assert (state[name][~kept] == 0).all()
        torch.testing.assert_close(state[name], alone.state_dict()[name])
    assert all(torch.equal(kept, engine.masks(model)[name]) for name, kept in masks.items())


def test_noise_of_an_optimizer_is_not_in_a_spread_state_dict(group):
    model, x = pruned_and_sharded("linear", group)
    kept = engine.masks(model)["0.weight"]
    run(model, x).sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert (model.state_dict()["0.weight"].full_tensor()[~kept] == 0).all()


def test_masks_come_off_a_spread_model_that_goes_on_training(group):
    model, x = pruned_and_sharded("linear", group)
    run(model, x).sum().backward()
    engine.remove_masks(model)
    assert isinstance(model[0], nn.Linear)
    assert not isinstance(model[0], engine.nn.SparseLinear)
    assert isinstance(model[0], fsdp.FSDPModule)
    run(model, x).sum().backward()
    model[0].reshard()


def test_a_spread_model_is_neither_pruned_nor_saved_and_the_way_out_is_told(group, tmp_path):
    model, _ = pruned_and_sharded("linear", group)
    with pytest.raises(ValueError, match="weights of type DTensor: prune before fully_shard"):
        engine.prune(model, engine.Spec(sparsity=0.75))
    with pytest.raises(ValueError, match=r"'0.weight' is spread over processes \(a DTensor\): gather the state"):
        engine.save(model, tmp_path / "model.safetensors")
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("training", [True, False])
def test_functional_call_uses_the_weights_it_is_given_under_the_masks_of_any_layer(native_always, case, training):
    make, shape = CASES[case]
    torch.manual_seed(0)
    model, x = engine.prune(make(), engine.Spec(sparsity=0.5)), torch.randn(shape)
    masks = engine.masks(model)
    with torch.inference_mode():
        run(model.eval(), x)  # whatever is packed is packed
    own = {name: value.clone() for name, value in model.state_dict().items()}
    given = {name: torch.randn_like(value).requires_grad_(training) for name, value in model.named_parameters()}
    args = (x, x, x) if case == "attention" else (x,)
    result = torch.func.functional_call(model.train(training), given, args)
    plain = engine.remove_masks(make()).train(training)
    plain.load_state_dict({name: value.detach() * masks.get(name, 1.0) for name, value in given.items()})
    result, expected = (y[0] if isinstance(y, tuple) else y for y in (result, plain(*args)))
    torch.testing.assert_close(result, expected)
    if training:
        result.sum().backward()
        assert all((given[name].grad[~kept] == 0).all() for name, kept in masks.items())
    for name, value in model.state_dict().items():
        assert torch.equal(value, own[name])
