"""What happens to a model between pruning and shipping must not bring a weight back."""

import copy
import io
import pickle

import numpy as np
import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(2),
        nn.Conv1d(6, 6, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 25, 20),
        nn.ReLU(),
        nn.Linear(20, 4),
    )


def pruned():
    return engine.prune(network(), engine.Spec(sparsity=0.8))


def batch():
    return torch.randn(8, 2, 5, 5, generator=torch.Generator().manual_seed(1))


def train_step(model, optimizer):
    optimizer.zero_grad()
    loss = model(batch()).square().mean() + 0.1 * model(batch() + 1).mean()
    loss.backward()
    optimizer.step()


def assert_masks_hold(model, masks):
    weights = dict(model.named_parameters())
    for name, mask in masks.items():
        assert (weights[name][~mask] == 0).all(), name


OPTIMIZERS = {
    "sgd with momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-2),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "foreach adamw": lambda p: torch.optim.AdamW(p, lr=0.01, foreach=True),
    "fused adamw": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_hundred_steps_bring_no_weight_back(make):
    model = network()
    optimizer = make(model.parameters())
    for _ in range(10):  # momentum that knows the weights from before pruning
        train_step(model, optimizer)
    engine.prune(model, engine.Spec(sparsity=0.8))
    masks = engine.masks(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(100):
        train_step(model, optimizer)
        assert_masks_hold(model, masks)
    for name, mask in masks.items():
        now = dict(model.named_parameters())[name]
        assert (now[mask] != before[name][mask]).any(), "the weights that stay must learn"


def test_an_optimizer_that_writes_through_data_brings_no_weight_back_into_the_result(native_always, plain_copy):
    model = pruned()
    masks = engine.masks(model)
    model.eval()
    with torch.inference_mode():
        model(batch())
    model.train()
    for _ in range(3):
        model(batch()).sum().backward()
        for p in model.parameters():
            p.data.add_(torch.randn_like(p), alpha=0.1)
            p.grad = None
    model.eval()
    with torch.inference_mode():
        result = model(batch())
        assert_masks_hold(model, masks)
        torch.testing.assert_close(result, plain_copy(model)(batch()), rtol=1e-4, atol=1e-5)


def test_gradients_of_pruned_weights_are_zero_and_others_are_those_of_the_masked_model():
    model, reference = pruned(), pruned()
    engine.remove_masks(reference)
    model(batch()).square().sum().backward()
    reference(batch()).square().sum().backward()
    for name, mask in engine.masks(model).items():
        gradient = dict(model.named_parameters())[name].grad
        expected = dict(reference.named_parameters())[name].grad
        assert (gradient[~mask] == 0).all()
        torch.testing.assert_close(gradient[mask], expected[mask], rtol=0, atol=0)


def test_two_forwards_before_one_backward_work():
    model = pruned()
    loss = model(batch()).sum() * model(batch() * 2).sum()
    loss.backward()
    assert model[0].weight.grad is not None


def test_second_derivatives_pass_through():
    model = pruned()
    (gradient,) = torch.autograd.grad(model(batch()).square().sum(), model[3].weight, create_graph=True)
    gradient.square().sum().backward()
    assert (model[3].weight.grad[~engine.masks(model)["3.weight"]] == 0).all()


def test_parameters_and_state_dict_keys_do_not_change():
    dense, model = network(), pruned()
    assert list(dense.state_dict()) == list(model.state_dict())
    assert all(p.is_leaf and isinstance(p, nn.Parameter) for p in model.parameters())
    plain = network()
    weight = plain[3].weight
    engine.prune(plain, engine.Spec(sparsity=0.5))
    assert plain[3].weight is weight


@pytest.mark.parametrize("assign", [False, True])
def test_a_dense_checkpoint_loads_and_the_mask_is_applied_again(assign):
    model = pruned()
    masks = engine.masks(model)
    torch.manual_seed(5)
    checkpoint = {key: torch.randn_like(value) for key, value in network().state_dict().items()}
    model.load_state_dict({k: v.clone() for k, v in checkpoint.items()}, assign=assign)
    assert_masks_hold(model, masks)
    torch.testing.assert_close(model[3].weight[masks["3.weight"]], checkpoint["3.weight"][masks["3.weight"]])
    train_step(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    assert_masks_hold(model, masks)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_copies_are_pruned_models_of_their_own(how):
    model = pruned().eval()
    with torch.inference_mode():
        expected = model(batch())
    twin = how(model)
    masks = engine.masks(twin)
    with torch.inference_mode():
        torch.testing.assert_close(twin(batch()), expected)
    twin.train()
    optimizer = torch.optim.AdamW(twin.parameters(), lr=0.01)
    optimizer.zero_grad()
    for _ in range(5):
        train_step(twin, optimizer)
    assert_masks_hold(twin, masks)
    with torch.inference_mode():
        torch.testing.assert_close(model(batch()), expected)


def test_a_state_dict_saves_and_loads_with_weights_only():
    model = pruned()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    restored = network()
    restored.load_state_dict(torch.load(file, weights_only=True))
    for ours, theirs in zip(model.parameters(), restored.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_conversion_to_float64_and_back_keeps_masks_and_results():
    model = pruned().eval()
    masks = engine.masks(model)
    with torch.inference_mode():
        expected = model(batch())
        model.to(torch.float64)
        assert_masks_hold(model, masks)
        torch.testing.assert_close(model(batch().double()).float(), expected)
        assert "float64" in engine.report(model, example_inputs=batch().double()).layers[0].reason
        model.to(torch.float32)
        torch.testing.assert_close(model(batch()), expected)
    assert_masks_hold(model, masks)


def test_functional_call_uses_the_weights_it_is_given_under_the_mask():
    model = pruned().eval()
    masks = engine.masks(model)
    others = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    result = torch.func.functional_call(model, others, (batch(),))
    reference = network().eval()
    reference.load_state_dict({n: torch.where(masks[n], p, 0) if n in masks else p for n, p in others.items()})
    torch.testing.assert_close(result, reference(batch()))
    gradients = torch.func.grad(lambda p: torch.func.functional_call(model, p, (batch(),)).square().sum())(others)
    assert (gradients["3.weight"][~masks["3.weight"]] == 0).all()
    assert (gradients["3.weight"][masks["3.weight"]] != 0).any()


def test_ema_copies_follow_and_stay_masked(native_always):
    model = pruned()
    ema = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5))
    masks = engine.masks(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    ema.eval()
    for _ in range(5):
        train_step(model, optimizer)
        ema.update_parameters(model)
        with torch.inference_mode():
            fresh = engine.remove_masks(copy.deepcopy(ema.module))
            torch.testing.assert_close(ema(batch()), fresh(batch()), rtol=1e-4, atol=1e-5)
    assert_masks_hold(ema.module, masks)


def test_masks_cost_one_bit_a_weight():
    layer = engine.prune(nn.Linear(800, 100), engine.Spec(sparsity=0.5))
    assert layer.mask.nbytes * 8 == 80_000
    np.testing.assert_array_equal(engine.masks(layer)["weight"].numpy(), layer.weight.detach().numpy() != 0)


def test_channels_last_models_keep_their_masks():
    model = pruned().to(memory_format=torch.channels_last).eval()
    assert_masks_hold(model, engine.masks(model))
    with torch.inference_mode():
        torch.testing.assert_close(model(batch()), pruned().eval()(batch()))


def test_gradient_clipping_and_schedulers_work_with_the_leaf_parameters():
    model = pruned()
    masks = engine.masks(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    model(batch()).sum().backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    scheduler.step()
    assert_masks_hold(model, masks)
