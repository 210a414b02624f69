"""Models of Hugging Face transformers in bfloat16, as they are loaded: pruned, eager and compiled."""

import copy
import warnings

import pytest
import torch

import sparse_engine as engine
from language_models import language_model
from sparse_engine.nn.base import Pruned

UNIT = 2.0**-8


def bert():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 99}
    return transformers.BertModel(transformers.BertConfig(**sizes), add_pooling_layer=False).eval()


def pruned(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tables and heads that are left alone
        engine.prune(model, engine.Spec(sparsity=0.8))
    return model.to(torch.bfloat16)


MODELS = {"BERT": (bert, "last_hidden_state", {}), "GPT2": (lambda: language_model("GPT2"), "logits", {"use_cache": False})}


@pytest.fixture(params=list(MODELS))
def case(request):
    make, output, named = MODELS[request.param]
    return pruned(make()), output, named


def errors(found, model, output, **named):
    """Of `found` and of the model's dense arithmetic from that of float32 on the same weights, of the largest value."""
    with torch.inference_mode(), engine.nn.dense_only():
        exact = getattr(copy.deepcopy(model).float()(**named), output)
        dense = getattr(model(**named), output)
    assert found.dtype is dense.dtype is torch.bfloat16
    return [float((y.float() - exact).abs().max() / exact.abs().max()) for y in (found, dense)]


def test_a_pruned_model_in_bfloat16_is_as_near_as_torchs(native_always, case):
    model, output, named = case
    for batch, tokens in ((1, 1), (2, 13), (3, 40)):
        ids = torch.randint(0, 99, (batch, tokens))
        with torch.inference_mode():
            model(input_ids=ids, **named)
            found = getattr(model(input_ids=ids, **named), output)
        ours, theirs = errors(found, model, output, input_ids=ids, **named)
        assert ours <= max(2 * theirs, 4 * UNIT)
    layers = [module for module in model.modules() if isinstance(module, Pruned)]
    assert len(layers) >= 8
    assert all(choice.native for layer in layers for choice in layer._sparse.choices.exact.values())
    assert not any(layer._sparse.fallbacks.keys() - {"engine.nn.dense_only() is active"} for layer in layers)


def test_a_compiled_model_is_nearer(case):
    model, output, named = case
    ids = torch.randint(0, 99, (2, 13))
    compiled = engine.compile(model, {"input_ids": ids, **named})
    assert compiled.about["error"] <= 1e-4
    assert compiled.outputs[0].dtype == "bfloat16"
    for batch in (1, 2, 5):
        ids = torch.randint(0, 99, (batch, 13))
        ours, theirs = errors(compiled(ids), model, output, input_ids=ids, **named)
        assert ours <= UNIT
        assert ours <= theirs


def test_sequences_of_any_length():
    model = pruned(bert())
    compiled = engine.compile(model, torch.randint(0, 99, (1, 9)), open_axis=1, longest=40)
    for tokens in (1, 17, 40):
        ids = torch.randint(0, 99, (1, tokens))
        ours, theirs = errors(compiled(ids), model, "last_hidden_state", input_ids=ids)
        assert ours <= min(UNIT, theirs)


def test_a_decoder_in_bfloat16_generates_what_its_copy_in_float32_does():
    model = pruned(language_model("GPT2"))
    ids = torch.randint(3, 99, (1, 7))
    decoder = engine.compile_decoder(model)
    expected = copy.deepcopy(model).float().generate(ids, max_new_tokens=8, do_sample=False)
    assert torch.equal(decoder.generate(ids, max_new_tokens=8, do_sample=False), expected)
    assert next(model.parameters()).dtype is torch.bfloat16
