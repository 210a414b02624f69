from collections import UserDict
from dataclasses import dataclass

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from sparse_engine.measure.model_calls import arguments_of, real_positions, split_batch  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:left alone. embed:UserWarning")


@dataclass
class Output:
    """As language models answer."""

    logits: torch.Tensor
    loss: torch.Tensor | None = None


class Language(nn.Module):
    """Tokens in by name, an object out."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.first, self.last = nn.Embedding(50, 16), nn.Linear(16, 24), nn.Linear(24, 3)

    def forward(self, input_ids, attention_mask=None, *, labels=None):
        logits = self.last(self.first(self.embed(input_ids)).relu())
        return Output(logits, None if labels is None else F.cross_entropy(logits.flatten(0, 1), labels.flatten()))


class Encoding(UserDict):
    """A mapping that is no dict, as tokenizers give it."""


def tokens(seed=1, length=6):
    return torch.randint(0, 50, (4, length), generator=torch.Generator().manual_seed(seed))


FORMS = {
    "tensor": lambda ids: ids,
    "tuple": lambda ids: (ids,),
    "dict": lambda ids: {"input_ids": ids},
    "mapping": lambda ids: Encoding(input_ids=ids),
}


@pytest.mark.parametrize("form", FORMS)
def test_inputs_are_taken_by_place_and_by_name_everywhere(form):
    given = FORMS[form](tokens())
    model = Language()
    spec = engine.Spec(macs=4_000, scope="global")
    engine.prune(model, spec, example_inputs=given)
    assert engine.report(model, given).nonzero_macs <= 4_000
    assert engine.report(model, given).macs == 24 * (16 * 24 + 24 * 3)
    assert set(engine.autotune(model, given)) == {"first", "last"}
    assert engine.analysis.count_macs(model, [given]).total("macs") == 6 * (16 * 24 + 24 * 3)
    assert engine.analysis.what_if(Language(), 0.5, given).layers[0].density == 0.5
    engine.prune(Language(), engine.Spec(latency_ms=1000.0), example_inputs=given)
    found = engine.sensitivity(Language(), lambda m: 0.0, sparsities=[0.5], example_inputs=given, progress=False)
    assert found.uses == {"first": 24.0, "last": 24.0}
    assert engine.allocate(found, macs=24 * (16 * 24 + 24 * 3) // 2) == pytest.approx({"first": 0.5, "last": 0.5})


@pytest.mark.parametrize("criterion", ["wanda", "obs", "taylor"])
@pytest.mark.parametrize("form", FORMS)
def test_batches_are_inputs_of_any_form_or_pairs_of_them_and_a_target(form, criterion):
    labels = torch.randint(0, 3, (4, 6), generator=torch.Generator().manual_seed(2))
    options = {"loss": lambda output, target: F.cross_entropy(output.logits.flatten(0, 1), target.flatten())}
    spec = engine.Spec(sparsity=0.5, criterion=criterion)
    expected = engine.masks(engine.prune(Language(), spec, data=[(tokens(), labels)], **options))
    for batch in ((FORMS[form](tokens()), labels), [FORMS[form](tokens()), labels]):
        found = engine.masks(engine.prune(Language(), spec, data=[batch], **options))
        assert all(torch.equal(found[name], mask) for name, mask in expected.items())
    if criterion != "taylor" and form != "tuple":
        found = engine.masks(engine.prune(Language(), spec, data=[FORMS[form](tokens())]))
        assert all(torch.equal(found[name], mask) for name, mask in expected.items())


def test_a_mapping_that_holds_the_labels_is_its_own_target():
    batch = {"input_ids": tokens(), "labels": torch.zeros(4, 6, dtype=torch.long)}
    seen = []

    def loss(output, target):
        seen.append(target)
        return output.loss

    engine.prune(Language(), engine.Spec(sparsity=0.5, criterion="taylor"), data=[batch], loss=loss)
    assert seen == [batch]


def padded():
    """Two sequences of 6 tokens and of 3, the rest of the second padding with what would be seen if it counted."""
    ids = tokens(length=6)[:2]
    mask = torch.tensor([[1] * 6, [1] * 3 + [0] * 3])
    return torch.where(mask == 1, ids, 49), mask


class Masked(Language):
    """The same, its second argument named as torch or a user does."""

    def forward(self, ids, mask=None):
        return super().forward(ids, mask)


@pytest.mark.parametrize("criterion", ["wanda", "obs"])
def test_padding_is_no_input(criterion):
    ids, mask = padded()
    spec = engine.Spec(sparsity=0.5, criterion=criterion)

    def weights(kind, *batches):
        model = kind()
        with torch.no_grad():
            model.embed.weight[49] = 100 * torch.randn(16, generator=torch.Generator().manual_seed(3))
        return engine.prune(model, spec, data=list(batches)).first.weight.detach()

    expected = weights(Language, ids[:1], ids[1:, :3])
    assert not torch.allclose(weights(Language, ids), expected)
    for found in (
        weights(Language, {"input_ids": ids, "attention_mask": mask}),
        weights(Language, Encoding(input_ids=ids, attention_mask=mask.bool())),
        weights(Language, ((ids, mask), None)),
        weights(Language, (ids, mask)),
        weights(Masked, (ids, mask)),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_torchs_padding_masks_are_true_where_there_is_padding():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    x, mask = torch.randn(2, 6, 16), padded()[1] == 0
    assert torch.equal(real_positions(layer, arguments_of(layer, {"src": x, "src_key_padding_mask": mask})), ~mask)


def test_a_target_that_is_no_mask_of_padding_is_passed_over():
    labels = torch.randint(0, 3, (4, 6), generator=torch.Generator().manual_seed(2))
    for batch in ((tokens(), labels), (tokens(), torch.ones(4, dtype=torch.long)), (torch.randn(4, 8), torch.ones(4, 8))):
        model = nn.Linear(8, 8) if batch[0].is_floating_point() else Language()
        engine.prune(model, engine.Spec(sparsity=0.5, criterion="wanda"), data=[batch])


def test_what_cannot_be_the_inputs_names_the_argument_and_the_way_out():
    model = Language()
    with pytest.raises(
        TypeError, match=r"example_inputs names ids, which forward of Language does not take; it takes input_ids"
    ):
        engine.report(model, {"ids": tokens(), "attention_mask": None})
    with pytest.raises(TypeError, match="example_inputs has the key 0"):
        engine.autotune(model, {0: tokens()})
    with pytest.raises(TypeError, match="example_inputs is None; give a tensor"):
        engine.autotune(model, None)
    wanda = engine.Spec(sparsity=0.5, criterion="wanda")
    with pytest.raises(TypeError, match=r"batch 1 of data is a tuple of 3.*give \(inputs, target\)"):
        engine.prune(model, wanda, data=[tokens(), (tokens(), tokens(), tokens())])
    with pytest.raises(TypeError, match="batch 0 of data is a str"):
        engine.prune(model, wanda, data=["text"])
    assert not engine.masks(model)


def test_a_single_entry_of_an_unknown_name_is_the_only_argument():
    layer, x = nn.Sequential(nn.Linear(4, 4)), torch.randn(2, 4)
    assert engine.report(layer, {"x": x}).macs == 32
    assert arguments_of(layer, {"input": x}).kwargs == {"input": x}


def test_a_model_that_takes_a_dict_is_given_it_inside_a_tuple():
    class Takes(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, features):
            return self.layer(features["x"])

    x = {"x": torch.randn(2, 4)}
    assert engine.report(Takes(), (x,)).macs == 32
    assert split_batch(Takes(), ((x,), None)).arguments.args == (x,)


def test_packed_sequences_are_one_argument():
    packed = nn.utils.rnn.pack_sequence([torch.randn(5, 3), torch.randn(2, 3)])
    assert engine.report(nn.LSTM(3, 4), packed).macs == 7 * 4 * 4 * (3 + 4)
