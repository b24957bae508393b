"""How well sound is predicted, and whether what is generated has the spectrum and the formants that were asked for."""

import math
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from engine.capabilities import capabilities
from engine.capabilities.base import Capability, Metric, Score
from engine.i18n import mark
from engine.study import TableSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engine.capabilities.base import ModelUnderTest
    from engine.sources._audio import Clips
    from engine.sources._procedural import Split
    from engine.sources.base import Prepared
    from engine.sources.spoken_vowels import SpokenClips

    Floats = NDArray[np.float64]
    Waves = list[tuple[int | None, NDArray[np.floating]]]

SAMPLES_PER_BATCH = 8_192
GENERATION_SALT = 0x5A4D
STEADY_FROM = 0.3
"""Share of a clip after which formants are measured: syllables have reached their vowel by then."""


class AudioModellingSpec(TableSpec, frozen=True, kw_only=True):
    """How much is predicted, and how much is generated."""

    samples: Annotated[
        int,
        msgspec.Meta(
            title=mark("Samples"),
            description=mark("Held-out samples to predict in each split, the same every time."),
            ge=1_000,
        ),
    ] = 65_536
    clips: Annotated[
        int,
        msgspec.Meta(
            title=mark("Clips"), description=mark("Clips to generate of every condition; 0 generates none."), ge=0
        ),
    ] = 4
    seconds: Annotated[
        float, msgspec.Meta(title=mark("Seconds"), description=mark("Length of a generated clip."), ge=0.1, le=10)
    ] = 0.25


@capabilities.register("audio-modelling")
class AudioModelling(Capability):
    """Prediction of held-out sound, and generated clips beside real ones of the same condition.

    Clips are drawn from the model as it is, at temperature 1, after silence. Their formants are measured by linear
    prediction and compared with those asked for; what the same measure makes of real held-out clips, which speakers
    vary, is beside it.
    """

    name = "audio-modelling"
    version = 1
    title = mark("Audio modelling")
    description = mark("Predict the next sample of held-out sound, and make sound like what was asked for.")
    Spec = AudioModellingSpec
    metrics = (
        Metric("bits_per_sample", mark("Bits per sample"), False, "continuous", mark("bits")),
        Metric("accuracy", mark("Next level right"), True, "threshold"),
        Metric("ood_bits_per_sample", mark("Bits per sample, out of distribution"), False, "continuous", mark("bits")),
        Metric("ood_accuracy", mark("Next level right, out of distribution"), True, "threshold"),
        Metric("spectral_distance", mark("Spectral distance of generated to real"), False, "continuous", mark("dB")),
        Metric("spectral_distance_real", mark("Spectral distance of real to real"), False, "continuous", mark("dB")),
        Metric("formant_error", mark("Formant error of generated"), False, "continuous", mark("per cent")),
        Metric("formant_error_real", mark("Formant error of real"), False, "continuous", mark("per cent")),
        Metric("vowels_right", mark("Generated vowels that are those asked for"), True, "threshold"),
        Metric("vowels_right_real", mark("Real vowels that are told right"), True, "threshold"),
    )

    def evaluate(self, spec: AudioModellingSpec, model: "ModelUnderTest", data: "Prepared") -> list[Score]:
        """Nothing where the data are not sound or the model is no model of the next sample."""
        from engine.families._wavenet import Wave
        from engine.sources._audio import Clips
        from engine.sources.spoken_vowels import SpokenClips

        if not isinstance(data, Clips) or not isinstance(model.module, Wave):
            return []
        scores = [*_predicted(spec, model, data, "validation", ""), *_predicted(spec, model, data, "ood", "ood_")]
        if not spec.clips:
            return scores
        generated, real = _generated(spec, model, data), _real(spec, data)
        scores += _spectral(generated, real, data.rate, model.seed)
        if isinstance(data, SpokenClips):
            scores += _formant_scores(generated, data, "")
            scores += _formant_scores(real, data, "_real")
        return scores


def _predicted(
    spec: AudioModellingSpec, model: "ModelUnderTest", data: "Clips", split: "Split", prefix: str
) -> list[Score]:
    """Bits and hits per sample, with errors over windows; guessing goes by how often levels come."""
    import torch
    import torch.nn.functional as F

    from engine.capabilities._tokens import most_frequent_share, ratio_and_stderr, unigram_entropy

    nll, hits, counts, targets = [], [], [], []
    rows = max(1, SAMPLES_PER_BATCH // model.context)
    for batch in data.held_out_batches(split, rows, model.context, spec.samples):
        given = {name: torch.from_numpy(array).to(model.device) for name, array in batch.items()}
        logits, wanted = model.module(given["inputs"], given.get("condition")).float(), given["targets"]
        losses = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(wanted.shape)
        nll.append(losses.double().sum(dim=1).cpu().numpy())
        hits.append((logits.argmax(-1) == wanted).sum(dim=1).double().cpu().numpy())
        counts.append((batch["targets"] >= 0).sum(axis=1))
        targets.append(batch["targets"][batch["targets"] >= 0])
    if not nll:
        return []
    heard, per_window = np.concatenate(targets), np.concatenate(counts)
    bits, bits_error = ratio_and_stderr(np.concatenate(nll) / math.log(2), per_window)
    right, right_error = ratio_and_stderr(np.concatenate(hits), per_window)
    chance = unigram_entropy(heard) / math.log(2)
    return [
        Score(f"{prefix}bits_per_sample", bits, bits_error, len(per_window), chance),
        Score(f"{prefix}accuracy", right, right_error, len(heard), most_frequent_share(heard)),
    ]


def _conditions(data: "Clips") -> list[int | None]:
    return list(range(len(data.class_names))) or [None]


def _generated(spec: AudioModellingSpec, model: "ModelUnderTest", data: "Clips") -> "Waves":
    """(condition, wave) of ``clips`` generated of every condition, all at once."""
    from engine.families._wavenet_samples import generate
    from engine.sources._audio import to_wave

    asked = [condition for condition in _conditions(data) for _ in range(spec.clips)]
    condition = np.asarray(asked) if data.class_names else None
    seed = GENERATION_SALT + model.seed
    waves = to_wave(generate(model.module, condition, len(asked), round(spec.seconds * data.rate), seed))
    return list(zip(asked, waves, strict=True))


def _real(spec: AudioModellingSpec, data: "Clips") -> "Waves":
    """As many held-out clips, of the same conditions and length, as far as there are any."""
    return [(c, wave) for c in _conditions(data) for wave in data.waves("validation", c, spec.clips, spec.seconds)]


def _spectral(generated: "Waves", real: "Waves", rate: int, seed: int) -> list[Score]:
    """Distance of each generated clip to each real one of its condition, in dB; a clip is the item of the errors.

    The same of one real clip to the others is beside it. Guessing is noise whose levels come as often as in the real
    clip and in any order: what a model of single levels makes.
    """
    from engine.capabilities._spectra import distance_db, power
    from engine.capabilities._tokens import mean_and_stderr

    rng = np.random.default_rng((GENERATION_SALT, seed))
    spectra: dict[int | None, list[Floats]] = {}
    for condition, wave in real:
        spectra.setdefault(condition, []).append(power(wave, rate))

    def distances(waves: "Waves", *, own: bool = False) -> "Floats":
        found, place = [], dict.fromkeys(spectra, 0)
        for condition, wave in waves:
            others = list(spectra.get(condition, ()))
            if own:
                del others[place[condition]]
                place[condition] += 1
            if others:
                mine = power(wave, rate)
                found.append(np.mean([distance_db(mine, other) for other in others]))
        return np.asarray(found)

    made = distances(generated)
    if not len(made):
        return []
    noise = distances([(condition, rng.permutation(wave)) for condition, wave in real])
    scores = [Score("spectral_distance", *mean_and_stderr(made), len(made), float(noise.mean()))]
    beside = distances(real, own=True)
    if len(beside):
        scores.append(Score("spectral_distance_real", *mean_and_stderr(beside), len(beside), float(noise.mean())))
    return scores


def _formant_scores(waves: "Waves", data: "SpokenClips", suffix: str) -> list[Score]:
    """How far F1 and F2 are from those asked for, and how often those of the vowel asked for are the nearest.

    Nearest is in the logarithm of both; a formant that is not found counts as an error of 100 % and as a miss.
    """
    from engine.capabilities._spectra import formants
    from engine.capabilities._tokens import mean_and_stderr

    asked = data.formants()
    if asked is None or not waves:
        return []
    errors, right = [], []
    for condition, wave in waves:
        assert condition is not None
        found = formants(wave[round(STEADY_FROM * len(wave)) :], data.rate)
        rivals = data.rivals(condition)
        missed = np.abs(found / asked[condition] - 1)
        errors.append(100 * np.where(np.isnan(missed), 1.0, missed).mean())
        apart = np.square(np.log(found / asked[rivals])).sum(axis=1)
        right.append(float(not np.isnan(apart).any() and rivals[apart.argmin()] == condition))
    guessed = np.mean([100 * np.abs(asked[data.rivals(c)] / asked[c] - 1).mean() for c in range(len(asked))])
    n_vowels = len(data.rivals(0))
    return [
        Score(f"formant_error{suffix}", *mean_and_stderr(np.asarray(errors)), len(errors), float(guessed)),
        Score(f"vowels_right{suffix}", *mean_and_stderr(np.asarray(right)), len(right), 1 / n_vowels),
    ]
