"""How much is validated at once: bounded by tokens and by memory, in whole sets where a loss compares samples."""

import numpy as np
import pytest

from engine.families import families
from engine.families.base import DataShape
from engine.training.evaluate import EVAL_ACTIVATION_BYTES, EVAL_TOKENS_PER_BATCH, eval_rows, whole_sets

SCENES = DataShape("captions", vocab_size=40, sample_shape=(3, 32, 32), fixed_context=1, caption_length=16)


def batch(n: int, first: int = 0) -> dict[str, np.ndarray]:
    return {"images": np.arange(first, first + n), "captions": np.arange(first, first + n) * 2}


def test_leftovers_of_whole_sets_are_left_out() -> None:
    (kept,) = whole_sets([batch(300), batch(100, 300)], 128)
    assert kept["images"].tolist() == list(range(256)) and kept["captions"].tolist() == list(range(0, 512, 2))


def test_where_no_set_is_whole_all_is_kept_and_one_sample_is_always_whole() -> None:
    assert [len(b["images"]) for b in whole_sets([batch(100), batch(7)], 128)] == [100, 7]
    assert [len(b["images"]) for b in whole_sets([batch(100), batch(7)], 1)] == [100, 7]


@pytest.mark.parametrize("size", [5_000, 200_000, 100_000_000])
def test_a_comparison_never_gets_fewer_than_it_compares(size: int) -> None:
    clip = families["clip"]
    shape = clip.resolve(clip.Spec(compared=128), size, SCENES, 1)
    rows = eval_rows(clip, shape, 1)
    assert rows % 128 == 0 and 128 <= rows <= EVAL_TOKENS_PER_BATCH
    bytes_of = clip.counts(shape, 1).activation_bytes_per_token * rows
    assert rows == 128 or bytes_of <= EVAL_ACTIVATION_BYTES


def test_tokens_and_memory_bound_a_batch() -> None:
    gpt = families["gpt"]
    small = gpt.resolve(gpt.Spec(), 5_000, DataShape("tokens", vocab_size=256), 64)
    assert eval_rows(gpt, small, 64) == EVAL_TOKENS_PER_BATCH // 64
    large = gpt.resolve(gpt.Spec(), 300_000_000, DataShape("tokens", vocab_size=256), 64)
    assert 1 <= eval_rows(gpt, large, 64) < EVAL_TOKENS_PER_BATCH // 64
