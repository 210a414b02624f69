"""Whatever writes to a pruned weight is found by the next forward, and nothing is scanned that was not written to."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.masking import hooks as masking  # noqa: E402
from sparse_engine.masking import zeros  # noqa: E402

LAYERS = {
    "linear": (lambda: nn.Linear(32, 32), lambda: torch.randn(40, 32)),
    "convolution": (lambda: nn.Conv2d(8, 8, 3), lambda: torch.randn(2, 8, 6, 6)),
    "convolution over one axis": (lambda: nn.Conv1d(8, 8, 3), lambda: torch.randn(2, 8, 9)),
    "three axes": (lambda: nn.Conv3d(4, 4, 2), lambda: torch.randn(2, 4, 3, 3, 3)),
    "transposed": (lambda: nn.ConvTranspose2d(8, 4, 3), lambda: torch.randn(2, 8, 5, 5)),
    "bfloat16": (lambda: nn.Linear(32, 32).bfloat16(), lambda: torch.randn(40, 32).bfloat16()),
    "float64": (lambda: nn.Linear(32, 32).double(), lambda: torch.randn(40, 32).double()),
    "channels_last": (
        lambda: nn.Conv2d(8, 8, 3).to(memory_format=torch.channels_last),
        lambda: torch.randn(2, 8, 6, 6).contiguous(memory_format=torch.channels_last),
    ),
}


def through_data(p):
    p.data.add_(1.0)


def one_output_through_data(p):
    p.data[1] = 0.5


def through_kept_data(p):
    p.kept.fill_(0.25)


def by_copying_masters(p):
    torch._foreach_copy_([p.data], [torch.full_like(p.detach(), 0.75)])


def by_a_shuffle(p):  # the same values elsewhere
    p.data.copy_(p.detach().flip(0).clone())


def through_numpy(p):
    if p.dtype is torch.bfloat16:
        p.data.zero_().add_(2.0)
    else:
        p.detach().numpy()[...] = 2.0


def in_place(p):
    with torch.no_grad():
        p.mul_(0).add_(3.0)


def by_new_memory(p):
    p.data = torch.ones_like(p.detach())


WRITES = (
    through_data,
    one_output_through_data,
    through_kept_data,
    by_copying_masters,
    by_a_shuffle,
    through_numpy,
    in_place,
    by_new_memory,
)


@pytest.mark.parametrize("write", WRITES, ids=lambda f: f.__name__)
@pytest.mark.parametrize(("make", "inputs"), LAYERS.values(), ids=LAYERS)
def test_a_write_that_no_version_counts_is_found(native_always, make, inputs, write):
    torch.manual_seed(0)
    layer, x = engine.prune(make(), engine.Spec(sparsity=0.5)).eval(), inputs()
    mask = engine.masks(layer)["weight"]
    weight = dict(layer.named_parameters())["weight"]
    with torch.inference_mode():
        layer(x)
    if write is through_kept_data:
        weight.kept = weight.data
        with torch.inference_mode():
            layer(x)  # a look while it is there must not be the last one
    write(weight)
    with torch.inference_mode():
        y = layer(x)
        assert not layer.weight[~mask].any()
        expected = engine.remove_masks(copy.deepcopy(layer))(x)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_weights_written_unseen_are_found(native_always, kind):
    layer = engine.prune(kind(8, 8), engine.Spec(sparsity=0.5)).eval()
    x = torch.randn(3, 2, 8)
    with torch.inference_mode():
        layer(x)
        for parameter in layer.parameters():
            parameter.data.add_(0.5)
        ours, _ = layer(x)
        theirs, _ = engine.remove_masks(copy.deepcopy(layer))(x)
    for name, mask in engine.masks(layer).items():
        assert not getattr(layer, name)[~mask].any()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_state_dict_never_holds_weights_that_came_back():
    model = engine.prune(nn.Sequential(nn.Linear(16, 16), nn.Conv3d(2, 2, 2), nn.LSTM(4, 4)), engine.Spec(sparsity=0.5))
    for parameter in model.parameters():
        parameter.data.fill_(1.0)
    state = model.state_dict()
    for name, mask in engine.masks(model).items():
        assert not state[name][~mask].any(), name
        assert state[name][mask].all(), name


def test_nothing_is_scanned_that_was_not_written_to(monkeypatch):
    model = engine.prune(nn.Sequential(nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 300)), engine.Spec(sparsity=0.8))
    x = torch.randn(4, 300)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step():
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    step(), step()
    scans = []
    apply = masking.apply
    monkeypatch.setattr(masking, "apply", lambda mask, tensor: scans.append(tensor) or apply(mask, tensor))
    model(x)
    model.eval()(x)
    with torch.inference_mode():
        model(x), model(x)
    assert not scans
    model.train()
    step()
    weights = [layer.weight for layer in (model[0], model[2])]
    assert not any(tensor is weight for tensor in scans for weight in weights), "only the gradients"
    assert len(scans) == 2
    masks = engine.masks(model)
    assert all(not dict(model.named_parameters())[name][~mask].any() for name, mask in masks.items())


def test_momentum_of_a_time_before_the_masks_brings_nothing_back_in_large_layers():
    torch.manual_seed(0)
    model = nn.Linear(300, 300)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(clip=False):
        optimizer.zero_grad()
        model(torch.randn(4, 300)).square().mean().backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()

    step(), step()
    state = copy.deepcopy(optimizer.state_dict())
    engine.prune(model, engine.Spec(sparsity=0.8))
    mask = engine.masks(model)["weight"]
    for i in range(6):
        step(clip=i % 2 == 1)
        assert not model.weight[~mask].any()
        assert model.weight[mask].all()
    optimizer.load_state_dict(state)  # and again, by a checkpoint
    for _ in range(3):
        step()
        assert not model.weight[~mask].any()
    with torch.no_grad():
        model.weight.add_(1.0)  # between backward and step, where no forward looks
    step()
    assert not model.weight[~mask].any()


def test_gradients_are_masked_however_they_are_asked_for():
    layer = engine.prune(nn.Linear(16, 16), engine.Spec(sparsity=0.5))
    gone, x = ~engine.masks(layer)["weight"], torch.randn(4, 16)
    layer(x).square().sum().backward()
    norm = nn.utils.clip_grad_norm_(layer.parameters(), 1e9)
    assert not layer.weight.grad[gone].any()
    whole = torch.cat([layer.weight.grad.reshape(-1), layer.bias.grad]).norm()
    torch.testing.assert_close(norm, whole)
    layer(x).square().sum().backward()  # adds to it
    assert not layer.weight.grad[gone].any()
    (gradient,) = torch.autograd.grad(layer(x).square().sum(), layer.weight)
    assert not gradient[gone].any()
    assert gradient[~gone].any()
    layer.zero_grad()
    frozen = engine.prune(nn.Linear(16, 16).requires_grad_(False), engine.Spec(sparsity=0.5)).requires_grad_(True)
    frozen(x).sum().backward()
    assert not frozen.weight.grad[~engine.masks(frozen)["weight"]].any()


def test_a_gradient_that_two_parameters_share_is_masked_for_one_only():
    layer, other = engine.prune(nn.Linear(8, 8), engine.Spec(sparsity=0.5)), nn.Parameter(torch.zeros(8, 8))
    ((layer.weight + other) * 2).sum().backward()
    assert not layer.weight.grad[~engine.masks(layer)["weight"]].any()
    assert (other.grad == 2).all()


def test_a_parameter_under_a_mask_is_a_parameter_to_everybody_else(tmp_path):
    layer = engine.prune(nn.Linear(8, 8), engine.Spec(sparsity=0.5))
    weight = layer.weight
    assert isinstance(weight, nn.Parameter)
    assert type(copy.deepcopy(weight)) is nn.Parameter
    assert type(pickle.loads(pickle.dumps(weight))) is nn.Parameter
    torch.save({"w": weight, "model": layer.state_dict()}, tmp_path / "file.pt")
    assert torch.equal(torch.load(tmp_path / "file.pt", weights_only=True)["w"], weight)
    again = nn.Parameter(weight)
    assert again.data_ptr() == weight.data_ptr()
    again.data.add_(0.0)
    assert again.grad is None
    assert type(copy.deepcopy(again)) is nn.Parameter
    other = nn.Linear(8, 8)
    other.weight = nn.Parameter(weight)
    torch.testing.assert_close(other(torch.ones(1, 8)), nn.functional.linear(torch.ones(1, 8), weight, other.bias))
    engine.remove_masks(layer)
    assert type(weight) is nn.Parameter
    assert "_held" not in weight.__dict__
    assert not weight._backward_hooks


def test_a_pruned_layer_that_nobody_holds_is_freed():
    layer = engine.prune(nn.Linear(8, 8), engine.Spec(sparsity=0.5))
    layer(torch.randn(2, 8)).sum().backward()
    assert layer.weight.grad is not None
    with torch.inference_mode():
        layer.eval()(torch.randn(2, 8))
    seen = weakref.ref(layer.weight)
    del layer
    gc.collect()
    assert seen() is None


def test_a_layer_made_in_inference_mode_is_pruned_like_any_other(native_always):
    with torch.inference_mode():
        layer = engine.prune(nn.Linear(16, 16), engine.Spec(sparsity=0.5)).eval()
        x = torch.randn(4, 16)
        y = layer(x)
        assert any(choice.native for choice in layer._sparse.choices.exact.values())
        torch.testing.assert_close(y, nn.functional.linear(x, layer.weight, layer.bias), rtol=1e-4, atol=1e-5)
        layer.weight.mul_(2)
        torch.testing.assert_close(layer(x), nn.functional.linear(x, layer.weight, layer.bias), rtol=1e-4, atol=1e-5)


def test_loading_by_assignment_leaves_the_callers_checkpoint_alone():
    for make in (lambda: nn.Linear(8, 8), lambda: nn.LSTM(8, 8)):
        model = engine.prune(make(), engine.Spec(sparsity=0.5))
        checkpoint = {name: torch.ones_like(value) for name, value in make().state_dict().items()}
        model.load_state_dict(checkpoint, assign=True)
        assert all((value == 1).all() for value in checkpoint.values())
        for name, mask in engine.masks(model).items():
            assert torch.equal(dict(model.named_parameters())[name] != 0, mask)


@pytest.mark.parametrize("shape", [(5, 7), (4, 6, 3, 3), (300, 301), (1, 1)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_zeros_are_written_in_every_order_of_memory(rng, shape, dtype):
    mask = masking.Mask.from_numpy(rng.random(shape) > 0.5)
    orders = [
        lambda t: t,
        lambda t: t.transpose(0, 1).contiguous().transpose(0, 1),
        lambda t: torch.cat([t, t], -1)[..., : shape[-1]],
    ]
    if len(shape) == 4:
        orders.append(lambda t: t.contiguous(memory_format=torch.channels_last))
    for order in orders:
        tensor = order(torch.full(shape, float("nan"), dtype=dtype))
        held = masking.Held(mask)
        held.write_zeros(tensor)
        assert torch.equal(tensor.isnan(), zeros.mask_tensor(mask))
        assert (tensor.nan_to_num() == 0).all()
        version = tensor._version
        held.write_zeros(tensor)
        assert tensor._version == version, "what is clean is not written to"


def test_a_fingerprint_tells_any_change_of_value_or_place(rng):
    def fingerprint(values):
        return zeros.fingerprint(torch.from_numpy(values))

    for size in (1, 7, 63, 64, 65, 1000):
        values = rng.integers(1, 255, size, dtype=np.uint8)
        seen = {fingerprint(values)}
        for place in range(size):
            changed = values.copy()
            changed[place] ^= 1 << (place % 8)
            seen.add(fingerprint(changed))
        assert len(seen) == size + 1
        assert fingerprint(values.copy()) in seen
        assert fingerprint(np.append(values, np.uint8(0))) not in seen
    words = rng.integers(1, 1 << 60, 64)
    assert fingerprint(words) != fingerprint(np.roll(words, 1))
    assert fingerprint(words[::2]) == fingerprint(words[::2].copy())
