import pytest
from torch.nn import functional as F

from compiled_functions import expect_refused, expect_torch, operations
from sparse_engine.compiler.rules.permutations import moved

X = (6, 5, 4)

PERMUTATIONS = {
    "channels last": lambda x: x.permute(0, 2, 3, 1),
    "there and back": lambda x: (x.permute(0, 2, 3, 1) + 1).permute(0, 3, 1, 2),
    "transpose": lambda x: x.transpose(1, -1),
    "batch in between": lambda x: (x.permute(1, 0, 2, 3) * 2).transpose(0, 1),
    "movedim": lambda x: x.movedim(1, -1),
    "movedim of several": lambda x: x.movedim((1, 2), (3, 1)),
    "swapaxes": lambda x: x.swapaxes(2, 3).contiguous().flatten(2),
    "t": lambda x: x.mean((2, 3)).t().t(),
    "channel shuffle": lambda x: F.channel_shuffle(x, 3),
    "channel shuffle by hand": lambda x: x.view(-1, 2, 3, 5, 4).transpose(1, 2).reshape(-1, 6, 5, 4),
    "pixel shuffle": lambda x: F.pixel_shuffle(F.pad(x, (0, 0, 0, 0, 0, 2)), 2),
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x[:, :, :4], 2),
}


@pytest.mark.parametrize("name", PERMUTATIONS)
def test_axes_change_places_as_in_torch(name):
    expect_torch(PERMUTATIONS[name], X)


def test_axes_of_length_1_are_moved_by_a_view():
    assert operations(lambda x: x.mean((2, 3), keepdim=True).permute(0, 2, 3, 1), (2, *X)) == ["mean", "reshape"]
    assert operations(PERMUTATIONS["channels last"], (2, *X)) == ["permute"]


def test_the_last_two_axes_are_turned():
    expect_torch(lambda x: x.mT, (2, 3, 4))


def test_shuffles_of_other_numbers_of_axes_are_refused():
    expect_refused(lambda x: F.pixel_shuffle(x, 2), (2, 3, 4, 5, 6), operation="pixel_shuffle", reason="of 5 axes")


def test_one_axis_takes_another_place():
    assert moved(4, 1, 3) == [0, 2, 3, 1]
    assert moved(4, 3, 1) == [0, 3, 1, 2]
