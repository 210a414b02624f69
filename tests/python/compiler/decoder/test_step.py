import pytest

import sparse_engine as engine
from small_decoder import CACHES, CAPACITY, Decoder


def test_attention_reads_positions_and_shared_heads_in_place():
    decoder = engine.compile_decoder(Decoder().eval(), capacity=CAPACITY, caches=CACHES)
    made = [node["operation"] for node in decoder.compiled.nodes]
    assert made.count("write_rows") == 4
    assert made.count("attention") == 2
    assert not {"expand", "keep", "less_equal"} & set(made)


class ReadsThePast(Decoder):
    def forward(self, input_ids, position, *pasts):
        logits, *made = super().forward(input_ids, position, *pasts)
        return (logits + pasts[0].mean(), *made)


class Appends(Decoder):
    def forward(self, input_ids, position, *pasts):
        logits, *made = super().forward(input_ids, position, *pasts)
        return (logits, *(cache + 1 for cache in made))


@pytest.mark.parametrize("step", [ReadsThePast, Appends])
def test_a_step_that_cannot_write_in_place_is_refused(step):
    with pytest.raises(ValueError, match=r"past.index_copy\(2, position"):
        engine.compile_decoder(step().eval(), capacity=CAPACITY, caches=CACHES)
