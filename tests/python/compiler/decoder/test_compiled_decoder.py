import numpy as np
import pytest
import torch

import sparse_engine as engine
from small_decoder import CACHES, CAPACITY, VOCABULARY, Decoder, empty_caches, whole


@pytest.fixture(scope="module")
def model():
    return Decoder().eval()


@pytest.fixture(scope="module")
def decoder(model):
    return engine.compile_decoder(model, capacity=CAPACITY, batch=2, caches=CACHES)


def close(found, expected):
    return float((torch.as_tensor(found) - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


@pytest.mark.parametrize("pieces", [(12,), (1,) * 12, (5, 1, 1, 3, 2)])
def test_tokens_in_any_pieces_give_the_logits_of_the_whole(model, decoder, pieces):
    ids = torch.randint(0, VOCABULARY, (2, CAPACITY))
    expected = whole(model, ids)
    decoder.reset()
    at = 0
    for count in pieces:
        assert close(decoder.forward(ids[:, at : at + count]), expected[:, at : at + count])
        at += count
        assert decoder.length == at


def test_generation_is_that_of_torch_token_for_token(model, decoder):
    prompt = torch.randint(0, VOCABULARY, (2, 4))
    expected = prompt
    for _ in range(7):
        expected = torch.cat([expected, whole(model, expected)[:, -1].argmax(-1, keepdim=True)], 1)
    assert decoder.generate(prompt, 7).tolist() == expected.tolist()
    ends = int(expected[0, 5])
    found = decoder.generate(prompt, 7, eos_token_id=ends)
    assert found[0, 4:6].tolist() == expected[0, 4:6].tolist()
    assert set(found[0, 6:].tolist()) <= {ends}


def test_crop_and_reorder_go_on_from_there(model, decoder):
    ids = torch.randint(0, VOCABULARY, (2, 9))
    decoder.reset()
    decoder.forward(ids)
    decoder.crop(5)
    decoder.reorder([1, 0])
    turned = ids[[1, 0]]
    assert close(decoder.forward(turned[:, 5:]), whole(model, turned)[:, 5:])
    with pytest.raises(ValueError, match="there are 9 tokens"):
        decoder.crop(10)


def test_what_does_not_fit_is_refused_and_nothing_is_remembered(decoder):
    decoder.reset()
    decoder.forward(np.zeros((2, 10), np.int64))
    with pytest.raises(ValueError, match="above the capacity of 12"):
        decoder.forward(np.zeros((2, 3), np.int64))
    with pytest.raises(ValueError, match="batch=3"):
        decoder.forward(np.zeros((3, 1), np.int64))
    with pytest.raises(ValueError, match="integers"):
        decoder.forward(np.zeros((2, 1), np.float32))
    with pytest.raises(ValueError, match="must be whole and lie in"):
        decoder.forward(np.full((2, 1), VOCABULARY))
    assert decoder.length == 10


def test_the_step_has_named_inputs_and_outputs_and_survives_a_file(model, decoder, tmp_path):
    assert [t.name for t in decoder.compiled.inputs][:4] == ["input_ids", "position", "past_k_0", "past_v_0"]
    assert [t.name for t in decoder.compiled.outputs] == ["logits", "k_0", "v_0", "k_1", "v_1"]
    decoder.compiled.save(tmp_path / "step")
    step = engine.load_compiled(tmp_path / "step")
    ids, pasts = torch.randint(0, VOCABULARY, (2, 3)), empty_caches(2)
    named = dict(zip([t.name for t in step.inputs], [ids, torch.arange(4, 7), *pasts], strict=True))
    for found, expected in zip(step(**named), model(ids, torch.arange(4, 7), *pasts), strict=True):
        assert close(found, expected.detach())
    assert all(bool((past == 7).all()) for past in pasts), "inputs are left alone"
    again = engine.CompiledDecoder(step)
    assert close(again.forward(ids), whole(model, ids))


def test_positions_behind_the_capacity_are_refused(decoder):
    ids, pasts = np.zeros((2, 1), np.int64), [p.numpy() for p in empty_caches(2)]
    with pytest.raises(ValueError, match="position is 12"):
        decoder.compiled(ids, np.array([12]), *pasts)
