"""Spoken vowels, syllables and tones by a source-filter synthesiser: sound whose formants are known."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.families.base import DataShape
from engine.i18n import mark, tr
from engine.sources import _voice, sources
from engine.sources._audio import LEVELS, Clips, ClipWriter, Meta, to_levels, to_wave
from engine.sources._cache import cached, entry_key
from engine.sources._procedural import SPLITS, ProceduralSpec, Split, hash_rows
from engine.sources.base import OnProgress, Preview, QualityReport, Source

RATE = 8_000
PEAK = 0.8
"""Largest value of every clip."""
VOICES_SALT = 0x50CA
CLIPS_PER_CALL = 1_024
HELD_OUT_OF_A_CLASS = 10
"""Clips that are held out of each condition at least, on average."""
F0_STEP, TRACT_STEP, BREATH_STEP = 0.5, 0.001, 0.5
"""What parameters of speakers are rounded to: Hz, share, dB. Equal speakers are told by them."""
F0_RANGE = {"man": (95.0, 165.0), "woman": (180.0, 265.0), "child": (225.0, 305.0), "tone": (110.0, 440.0)}
"""Fundamentals in training, Hz, about the means of Peterson & Barney (men 132, women 223, children 264)."""
TRACT = 0.05
"""Formants of a speaker lie up to this share above or below the mean, all of them by one factor."""
OOD_F0 = ((0.65, 0.85), (1.15, 1.35))
"""Fundamentals out of distribution, in units of the lowest and of the highest in training."""
OOD_TRACT = (0.07, 0.12)
BREATH_DB = (-46.0, -38.0)
"""Noise beside the pulses, its std in dB of their height."""
SPEAKERS: dict[str, tuple[_voice.Kind, ...]] = {
    "men": ("man",),
    "women": ("woman",),
    "children": ("child",),
    "all": _voice.KINDS,
}
NAMES = {"man": mark("a man's {vowel}"), "woman": mark("a woman's {vowel}"), "child": mark("a child's {vowel}")}
TONE_NAMES = (mark("pure tone"), mark("tone of odd harmonics"), mark("tone of all harmonics"))


class SpokenVowelsSpec(ProceduralSpec, frozen=True, kw_only=True):
    """What is spoken, by whom, and how much of it."""

    content: Annotated[
        Literal["vowels", "words", "tones"],
        msgspec.Meta(
            title=mark("Content"),
            description=mark("Steady vowels, syllables of b, d or g and a vowel, or pure and complex tones."),
        ),
    ] = "vowels"
    speakers: Annotated[
        Literal["men", "women", "children", "all"],
        msgspec.Meta(title=mark("Speakers"), description=mark("Whose formants and fundamentals; no part of tones.")),
    ] = "men"
    vowels: Annotated[
        int,
        msgspec.Meta(
            title=mark("Vowels"),
            description=mark("How many of i ɑ u æ ɝ ɛ ʊ ɔ ɪ ʌ, from the first; no part of tones."),
            ge=2,
            le=10,
        ),
    ] = 6
    clips: Annotated[
        int,
        msgspec.Meta(title=mark("Clips"), description=mark("Training clips, each of another voice."), ge=100),
    ] = 3_000
    seconds: Annotated[
        float, msgspec.Meta(title=mark("Seconds"), description=mark("Length of a clip."), ge=0.1, le=10)
    ] = 0.25
    draw: Annotated[
        int, msgspec.Meta(title=mark("Draw"), description=mark("Another number gives other clips."), ge=0)
    ] = 0

    @property
    def kinds(self) -> tuple[_voice.Kind, ...]:
        """Kinds of speakers."""
        return SPEAKERS[self.speakers]

    @property
    def n_classes(self) -> int:
        """Conditions: every vowel of every kind of speaker, or every tone."""
        return len(_voice.TONES) if self.content == "tones" else len(self.kinds) * self.vowels

    @property
    def n_samples(self) -> int:
        """Samples of a clip."""
        return round(self.seconds * RATE)


class SpokenClips(Clips):
    """Clips of known vowels. A condition is ``kind * vowels + vowel``."""

    def __init__(self, folder: Path, meta: Meta, spec: SpokenVowelsSpec) -> None:
        super().__init__(folder, meta)
        self.spec = spec
        self.class_names = class_names(spec)

    def formants(self) -> NDArray[np.float64] | None:
        """F1 and F2 in Hz asked for by each condition, (n_classes, 2); None for tones."""
        if self.spec.content == "tones":
            return None
        return np.concatenate([_voice.FORMANTS[kind][: self.spec.vowels, :2] for kind in self.spec.kinds])

    def rivals(self, condition: int) -> NDArray[np.int64]:
        """The conditions of the same kind of speaker, which its vowel could be taken for."""
        first = condition - condition % self.spec.vowels
        return np.arange(first, first + self.spec.vowels)


def class_names(spec: SpokenVowelsSpec) -> tuple[str, ...]:
    """What each condition is called, in the language in use."""
    if spec.content == "tones":
        return tuple(tr(name) for name in TONE_NAMES)
    return tuple(tr(NAMES[kind], vowel=f"/{v}/") for kind in spec.kinds for v in _voice.VOWELS[: spec.vowels])


@sources.register("spoken-vowels")
class SpokenVowels(Source):
    """Vowels of the formants that were measured on people, each clip said by a voice of its own: 8 kHz, mu-law.

    A voice is a fundamental, a factor of its formants and how breathy it is. Voices are sorted into training and
    validation by a hash; out of distribution are fundamentals and factors beyond both.
    """

    name = "spoken-vowels"
    version = 1
    title = mark("Spoken vowels")
    Spec = SpokenVowelsSpec
    procedural = True

    def shape(self, spec: SpokenVowelsSpec) -> DataShape:
        """Levels of 8 kHz sound, conditioned on what is said."""
        return DataShape("audio", vocab_size=LEVELS, n_classes=spec.n_classes)

    def prepare(self, spec: SpokenVowelsSpec, cache: Path, on_progress: OnProgress) -> SpokenClips:
        """Made once, in a second for every thousand clips or so; see ``Source.prepare``."""
        key = f"voices-{entry_key([self.name, self.version, spec], ())}"

        def opened(folder: Path) -> SpokenClips | None:
            found = Clips.open(folder)
            return None if found is None else SpokenClips(folder, found.meta, spec)

        make = partial(_make, spec, on_progress=on_progress)
        return cached(cache, key, opened, make, 2 * spec.clips * spec.n_samples)

    def preview(self, spec: SpokenVowelsSpec, n: int = 5) -> list[Preview]:
        """``n`` clips of each split, such as those it trains on."""
        names = class_names(spec)
        found: list[Preview] = []
        for split in SPLITS:
            for voice, levels in zip(*draw(spec, split, n), strict=True):
                sound = to_wave(levels)
                found.append({"origin": split, "label": names[voice[0]], "sound": sound, "rate": RATE})
        return found


Voices = NDArray[np.int64]
"""(n, 4): condition, then fundamental, factor of the formants and breath in steps of ``F0_STEP`` and so on."""


def split_sizes(spec: SpokenVowelsSpec) -> dict[Split, int]:
    """Clips of each split."""
    held_out = max(HELD_OUT_OF_A_CLASS * spec.n_classes, round(spec.clips * spec.validation_fraction))
    return {"train": spec.clips, "validation": held_out, "ood": held_out}


def draw(spec: SpokenVowelsSpec, split: Split, n: int) -> tuple[Voices, NDArray[np.uint8]]:
    """``n`` clips of a split, the same every time: whose they are, and their levels (n, n_samples)."""
    rng = np.random.default_rng((VOICES_SALT, spec.draw, len(split)))
    voices = _voices(spec, split, rng, n)
    blocks = [_speak(spec, voices[i : i + CLIPS_PER_CALL], rng) for i in range(0, n, CLIPS_PER_CALL)]
    return voices, np.concatenate(blocks)


def _voices(spec: SpokenVowelsSpec, split: Split, rng: np.random.Generator, n: int) -> Voices:
    """``n`` voices of a split, each saying something at random."""
    found: list[Voices] = []
    missing = n
    while missing:
        drawn = _any_voices(spec, rng, 64 + round(missing / spec.validation_fraction), ood=split == "ood")
        if split != "ood":
            held_out = hash_rows(drawn[:, 1:]) < np.uint64(spec.validation_fraction * 2.0**64)
            drawn = drawn[held_out == (split == "validation")]
        found.append(drawn[:missing])
        missing -= len(found[-1])
    return np.concatenate(found)


def _any_voices(spec: SpokenVowelsSpec, rng: np.random.Generator, n: int, *, ood: bool) -> Voices:
    condition = rng.integers(0, spec.n_classes, n)
    kinds = ("tone",) if spec.content == "tones" else spec.kinds
    kind = condition * 0 if spec.content == "tones" else condition // spec.vowels
    low, high = np.array([F0_RANGE[k] for k in kinds])[kind].T
    f0, tract = rng.uniform(low, high), rng.uniform(-TRACT, TRACT, n)
    if ood:
        above = rng.random(n) < 0.5
        f0 = np.where(above, high * rng.uniform(*OOD_F0[1], n), low * rng.uniform(*OOD_F0[0], n))
        tract = rng.choice([-1, 1], n) * rng.uniform(*OOD_TRACT, n)
    steps = (f0 / F0_STEP, tract / TRACT_STEP, rng.uniform(*BREATH_DB, n) / BREATH_STEP)
    return np.column_stack([condition, *(np.rint(step) for step in steps)]).astype(np.int64)


def _speak(spec: SpokenVowelsSpec, voices: Voices, rng: np.random.Generator) -> NDArray[np.uint8]:
    condition = voices[:, 0]
    f0, tract, decibels = voices[:, 1:].T * np.array([[F0_STEP], [TRACT_STEP], [BREATH_STEP]])
    breath = 10 ** (decibels / 20)
    if spec.content == "tones":
        return to_levels(PEAK * _voice.tones(rng, condition, f0, breath, spec.n_samples, RATE))
    kind, vowel = np.divmod(condition, spec.vowels)
    factor = np.exp(tract)
    formants = np.stack([_voice.FORMANTS[k] for k in spec.kinds])[kind, vowel] * factor[:, None]
    fourth = np.array([_voice.FOURTH[k] for k in spec.kinds])[kind] * factor
    consonant = rng.integers(0, len(_voice.LOCI), len(voices)) if spec.content == "words" else None
    waves = _voice.voices(rng, formants, fourth, f0, breath, spec.n_samples, RATE, consonant)
    return to_levels(PEAK * waves)


def _make(spec: SpokenVowelsSpec, folder: Path, on_progress: OnProgress) -> None:
    writer = ClipWriter(folder)
    counts: Any = np.zeros(spec.n_classes, np.int64)
    sizes = split_sizes(spec)
    try:
        for done, (split, n) in enumerate(sizes.items()):
            on_progress(mark("making sound"), done / len(sizes))
            voices, levels = draw(spec, split, n)
            for voice, clip in zip(voices, levels, strict=True):
                writer.add(split, [clip], int(voice[0]))
            if split != "ood":
                counts += np.bincount(voices[:, 0], minlength=spec.n_classes)
    finally:
        writer.close()
    on_progress(mark("making sound"), 1.0)
    report = QualityReport(
        n_documents=sum(sizes.values()),
        n_train=sizes["train"],
        n_validation=sizes["validation"],
        bytes_train=sizes["train"] * spec.n_samples,
        bytes_validation=sizes["validation"] * spec.n_samples,
        exact_duplicates=0,
        near_duplicates=0,
        leaked=0,
        notes=(
            tr("Made by a program: a source-filter synthesiser with the formants of Peterson & Barney 1952."),
            tr("Splits share no voice; out of distribution are fundamentals and vocal tracts beyond those trained on."),
        ),
        length_quantiles=(float(spec.n_samples),) * 5,
        length_unit=mark("samples"),
        label_counts=tuple(zip(class_names(spec), counts.tolist(), strict=True)),
    )
    # Numbers, since words are of the language in use and the fingerprint is of none.
    writer.finish(RATE, tuple(str(condition) for condition in range(spec.n_classes)), report)
