"""What the demo trains."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mlxtend")

from sparse_engine.cli import demo_training  # noqa: E402


def test_more_images_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"train \+ test = 6000 exceeds the 5000 images"):
        demo_training.load_digits(5000, 1000, 0)


def test_training_images_move_by_two_pixels_at_most():
    images = torch.full((500, 1, 28, 28), -1.0)
    images[:, :, 14, 14] = 1.0
    moved = demo_training.moved(images, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    places = (moved == 1.0).nonzero()[:, 2:]
    assert len(places) == 500
    assert places.min().item() == 12
    assert places.max().item() == 16


def test_digits_depend_on_the_seed_and_no_image_is_in_both_parts():
    digits = demo_training.load_digits(300, 100, seed=1)
    assert digits.train_images.shape == (300, 1, 28, 28)
    assert digits.test_images.dtype == torch.float32
    assert digits.test_labels.shape == (100,)
    assert digits.test_labels.dtype == torch.int64
    assert set(digits.train_labels.tolist()) == set(range(10))
    again = demo_training.load_digits(300, 100, seed=1)
    assert torch.equal(digits.train_images, again.train_images)
    assert not torch.equal(digits.train_images, demo_training.load_digits(300, 100, seed=2).train_images)
    both = torch.cat([digits.train_images, digits.test_images]).flatten(1)
    assert len(both.unique(dim=0)) == 400
    assert -0.5 < both.mean() < 0.5


def test_a_network_depends_on_its_seed_and_leaves_the_callers_random_numbers():
    state = torch.get_rng_state()
    first, again, other = (demo_training.build_network(seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    x = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert first.eval()(x).shape == (3, 10)
        assert torch.equal(first(x), again.eval()(x))
        assert not torch.equal(first(x), other.eval()(x))


def test_training_takes_whole_batches_calls_back_after_each_and_learns():
    digits = demo_training.load_digits(250, 100, seed=0)
    assert demo_training.steps_per_epoch(digits) == 6
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10)).eval()
    before = demo_training.accuracy(model, digits)
    steps, batches = [], []

    def distort(images, generator):
        batches.append(len(images))
        return images

    demo_training.train(model, digits, 5, 0.02, torch.Generator().manual_seed(0), lambda: steps.append(1), distort)
    assert model.training
    assert len(steps) == 30
    assert batches == [40] * 30
    assert demo_training.accuracy(model, digits) > max(0.6, before)
