"""Family ``seq2seq``: counts, the dial, masks, the learning-rate rule, decoding, export as T5, a golden loss."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.errors import StudyError
from engine.families import families
from engine.families._encoder_decoder import EncoderDecoder
from engine.families._translating import translate
from engine.families.base import DataShape, TrainingHints
from engine.families.seq2seq import Seq2Seq, Seq2SeqSpec, non_embedding
from engine.sources._pairs import BEGIN, END, PAD, Vocabulary

SEQ = families["seq2seq"]
PAIRS = DataShape("pairs", vocab_size=20, sample_shape=(10, 8), fixed_context=8)
MUP = TrainingHints("mup", 32)


def shape_of(size: int, data: DataShape = PAIRS, **spec: object) -> dict:
    return SEQ.resolve(Seq2SeqSpec(**spec), size, data, 8)


def built(size: int = 4_000, seed: int = 0, hints: TrainingHints | None = MUP, **spec: object) -> EncoderDecoder:
    model = SEQ.build(shape_of(size, **spec), seed, training=hints)
    assert isinstance(model, EncoderDecoder)
    return model.eval()


def shaken(model: EncoderDecoder) -> EncoderDecoder:
    """With norms away from 1, positions that matter and logits that are not flat."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            size = 1.0 if name.endswith("position_embedding") else 0.2
            parameter.add_(torch.randn(parameter.shape, generator=generator) * size)
    return model


def sources(n: int = 5) -> torch.Tensor:
    """Random texts of different lengths."""
    tokens = torch.randint(4, 20, (n, 10), generator=torch.Generator().manual_seed(1))
    for row, length in zip(tokens, itertools.cycle((9, 4, 7)), strict=False):
        row[length], row[length + 1 :] = END, PAD
    return tokens


def ended(tokens: torch.Tensor) -> list[list[int]]:
    """Each row up to its end: what fills it up after differs between libraries."""
    return [row[: row.index(END) + 1] if END in row else row for row in tokens.tolist()]


@pytest.mark.parametrize("spec", [{}, {"n_layers": 2}, {"n_layers": 1, "n_heads": 4}])
def test_dial_is_monotonic_and_close(spec: dict) -> None:
    previous = 0
    for size in np.geomspace(4_000, 300e6, 40).astype(int):
        n = non_embedding(shape_of(int(size), **spec))
        assert n >= previous and abs(math.log(n / size)) <= math.log(2)
        previous = n


def test_the_ladder_of_the_study() -> None:
    sizes = (4_000, 14_000, 31_000, 59_000, 130_000)
    assert [shape_of(size, n_layers=2)["d_model"] for size in sizes] == [8, 16, 24, 32, 48]


@pytest.mark.parametrize(
    ("size", "spec", "field"),
    [
        (100, {}, r"ladder\.sizes"),
        (4_000, {"d_model": 12}, r"model\.d_model"),
        (4_000, {"n_heads": 3, "d_model": 8}, r"model\.n_heads"),
    ],
)
def test_what_cannot_be_met_names_the_field(size: int, spec: dict, field: str) -> None:
    with pytest.raises(StudyError, match=field):
        shape_of(size, **spec)


def test_data_without_pairs_is_refused() -> None:
    with pytest.raises(StudyError, match="data"):
        shape_of(4_000, DataShape("pairs", vocab_size=20))


@pytest.mark.parametrize("size", [4_000, 59_000, 400_000])
def test_counts_agree_with_torch(size: int) -> None:
    shape = shape_of(size)
    counts, model, batch = SEQ.counts(shape, 8), SEQ.build(shape, 0, training=MUP), SEQ.example(shape, 16, 8)
    assert counts.n_params == sum(p.numel() for p in model.parameters())
    assert counts.n_params - counts.n_params_non_embedding == 20 * int(shape["d_model"])
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        SEQ.loss(model, batch).loss.backward()
    assert counter.get_total_flops() / (16 * 8) == counts.flops_per_token
    measured = sum(size for key, size in kept.items() if key not in weights) / (16 * 8)
    assert counts.activation_bytes_per_token == pytest.approx(measured, rel=0.04)


def test_initialisation_is_a_function_of_the_seed() -> None:
    same, again, other = (list(built(seed=seed).parameters()) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(same, again, strict=True))
    assert not torch.equal(same[0], other[0])


def test_padding_is_not_seen_and_the_decoder_is_causal() -> None:
    model, source = shaken(built()), sources()
    read = torch.randint(4, 20, (5, 8), generator=torch.Generator().manual_seed(2))
    padded = torch.cat((source, torch.full((5, 3), PAD)), dim=1)
    later = read.clone()
    later[:, 5:] = 7
    with torch.no_grad():
        whole = model(source, read)
        torch.testing.assert_close(model(padded, read), whole, atol=1e-4, rtol=0)
        torch.testing.assert_close(model(source, later)[:, :5], whole[:, :5], atol=1e-5, rtol=0)
        assert not torch.allclose(model(source.flip(0), read), whole, atol=1e-2)


def test_labels_are_smoothed_in_training_only() -> None:
    batch = SEQ.example(shape_of(4_000), 6, 8)
    smoothed, plain = built(label_smoothing=0.2), built(label_smoothing=0.0)
    with torch.no_grad():
        assert torch.equal(SEQ.loss(smoothed, batch).loss, SEQ.loss(plain, batch).loss)
        of_all = -model_log_probabilities(plain, batch).mean()
        expected = 0.8 * SEQ.loss(plain, batch).loss + 0.2 * of_all
        torch.testing.assert_close(SEQ.loss(smoothed.train(), batch).loss, expected)


def model_log_probabilities(model: EncoderDecoder, batch: dict) -> torch.Tensor:
    return model(batch["inputs"], batch["decoder_inputs"]).log_softmax(-1)


def test_features_do_not_depend_on_padding() -> None:
    model, source = shaken(built()), sources()
    features = SEQ.features(model, source)
    assert features is not None and features.shape == (5, 8)
    padded = torch.cat((source, torch.full((5, 3), PAD)), dim=1)
    torch.testing.assert_close(SEQ.features(model, padded), features, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rule", ["mup", "width", "fixed"])
def test_param_groups_hold_every_parameter_once(rule: str) -> None:
    shape = shape_of(227_000, d_model=64)
    model = SEQ.build(shape, 0, training=MUP)
    groups = SEQ.param_groups(model, shape, rule, 32)
    listed = [id(p) for group in groups for p in group.params]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    scales = {"mup": (0.5, 1.0, 1.0), "width": (0.5, 0.5, 0.5), "fixed": (1.0, 1.0, 1.0)}[rule]
    assert tuple(group.lr_scale for group in groups) == scales
    assert [group.matrix for group in groups] == [True, False, False]
    assert [group.decay for group in groups] == [True, True, False]
    assert [len(group.params) for group in groups[1:]] == [1, 5 * int(shape["n_layers"]) + 4]
    with pytest.raises(ValueError, match="rule"):
        SEQ.param_groups(model, shape, "magic", 32)


def test_under_mup_logits_shrink_with_the_width_at_first() -> None:
    batch = SEQ.example(shape_of(4_000), 20, 8)
    spread = {
        width: built(size, d_model=width, n_layers=2)(batch["inputs"], batch["decoder_inputs"]).std().item()
        for width, size in ((32, 59_000), (128, 900_000))
    }
    assert spread[32] == pytest.approx(2**0.5, rel=0.3)
    assert spread[32] / spread[128] == pytest.approx(2.0, rel=0.3)


@pytest.mark.parametrize("hints", [MUP, TrainingHints("fixed", 32), None])
def test_export_is_equal_in_transformers(tmp_path: Path, hints: TrainingHints | None) -> None:
    from transformers import AutoModelForSeq2SeqLM

    model, source = shaken(built(200_000, hints=hints)), sources()
    SEQ.export_hf(model, model.shape, tmp_path, None)
    theirs = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert type(theirs).__name__ == "T5ForConditionalGeneration"
    assert sum(p.numel() for p in theirs.parameters()) == SEQ.counts(model.shape, 8).n_params
    read = torch.cat((torch.full((5, 1), BEGIN), sources()[:, :7]), dim=1)
    mask = (source != PAD).long()
    with torch.no_grad():
        logits = theirs(input_ids=source, attention_mask=mask, decoder_input_ids=read).logits
        torch.testing.assert_close(logits, model(source, read), atol=1e-4, rtol=0)
    for beams in (1, 4):
        made = theirs.generate(source, attention_mask=mask, max_new_tokens=8, num_beams=beams)
        assert ended(translate(model, source, 8, beams)) == ended(made[:, 1:])


@pytest.mark.parametrize("characters", [None, ["a", "b", "é", "日", "\n"]])
def test_export_with_a_tokenizer(tmp_path: Path, characters: list[str] | None) -> None:
    from transformers import AutoTokenizer

    texts = Vocabulary(characters)
    for name, text in texts.files(10).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("ab日é", "b\na"):
        assert tokenizer(text).input_ids == [*texts.encode(text), END]
        assert (
            tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True)
            == text
            == texts.decode(texts.encode(text))
        )
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.model_max_length) == (PAD, END, 10)


def test_beams_enough_for_all_texts_find_the_likeliest() -> None:
    """Every text of up to three tokens over a vocabulary of six, by the definition."""
    data = DataShape("pairs", vocab_size=6, sample_shape=(10, 3), fixed_context=3)
    model = SEQ.build(shape_of(4_000, data), 4, training=None)
    assert isinstance(model, EncoderDecoder)
    shaken(model.eval())
    source = sources(6).clamp(max=5)
    memory = model.encode(source)
    scores: dict[tuple[int, ...], torch.Tensor] = {}
    for text in itertools.product((1, 2, 3, 4, 5), repeat=3):
        cut = text[: text.index(END) + 1] if END in text else text
        read = torch.tensor([[BEGIN, *cut[:-1]]]).expand(6, -1)
        with torch.no_grad():
            steps = model.logits(model.decode(*memory, read)).double().log_softmax(-1)
        scores[cut] = steps.gather(2, torch.tensor([cut]).expand(6, -1)[..., None]).sum((1, 2)) / len(cut)
    texts = list(scores)
    best = torch.stack(list(scores.values())).argmax(0)
    found = translate(model, source, 3, beams=125)
    assert [tuple(t for t in row.tolist() if t != PAD) for row in found] == [texts[i] for i in best]


def reversing(step: int, size: int = 32) -> dict[str, torch.Tensor]:
    """Texts of five letters, to be turned round."""
    letters = np.random.default_rng(step).integers(4, 20, (size, 5))
    source = np.full((size, 10), PAD)
    source[:, :5], source[:, 5] = letters, END
    target = np.concatenate([letters[:, ::-1], np.full((size, 1), END)], axis=1)
    read = np.concatenate([np.full((size, 1), BEGIN), target[:, :-1]], axis=1)
    return {k: torch.from_numpy(v) for k, v in (("inputs", source), ("decoder_inputs", read), ("targets", target))}


def train(shape: dict, rate: float, steps: int, rule: str = "mup") -> list[float]:
    """A short seeded run; returns the loss of every step."""
    model = SEQ.build(shape, 0, training=TrainingHints(rule, 32))
    groups = [{"params": g.params, "lr": rate * g.lr_scale} for g in SEQ.param_groups(model, shape, rule, 32)]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    losses = []
    for step in range(steps):
        loss = SEQ.loss(model.train(), reversing(step)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_golden_loss() -> None:
    """A change that moves this changes what every study measures: raise ``Seq2Seq.version`` with it."""
    assert Seq2Seq.version == 1
    losses = train(shape_of(14_000), 0.01, 30)
    assert losses[0] == pytest.approx(GOLDEN_FIRST, abs=1e-4)
    assert losses[-1] == pytest.approx(GOLDEN_LAST, abs=2e-3)


GOLDEN_FIRST, GOLDEN_LAST = 4.880795, 2.449333


@pytest.mark.slow
def test_best_rate_carries_from_width_32_to_128() -> None:
    """muP: the best of rates a factor of two apart is the same, or a neighbour, at four times the width."""
    rates = [0.0025, 0.005, 0.01, 0.02, 0.04]
    best = {}
    for width, size in ((32, 59_000), (128, 900_000)):
        shape = shape_of(size, d_model=width, n_layers=2)
        best[width] = rates[int(np.argmin([np.mean(train(shape, rate, 60)[-10:]) for rate in rates]))]
    assert 0.5 <= best[128] / best[32] <= 2
