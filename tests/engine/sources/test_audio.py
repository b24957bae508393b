"""Sound: mu-law, windows of clips, spoken vowels whose formants are known, and the user's WAV files."""

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import wavfile

from engine.capabilities._spectra import formants
from engine.errors import InputError
from engine.i18n import set_language
from engine.sources import _voice, _wav_files, sources
from engine.sources._audio import LEVELS, SILENCE, Clips, to_levels, to_wave
from engine.sources._procedural import IGNORED, SPLITS
from engine.sources.spoken_vowels import F0_RANGE, F0_STEP, TRACT, TRACT_STEP, SpokenClips, SpokenVowelsSpec, _voices

VOWELS, FOLDER = sources["spoken-vowels"], sources["wav-folder"]


def spoken(cache: Path, **spec: Any) -> SpokenClips:
    return VOWELS.prepare(VOWELS.Spec(**{"clips": 200} | spec), cache, lambda step, fraction: None)


def folder_data(path: Path, cache: Path, **spec: Any) -> Clips:
    return FOLDER.prepare(FOLDER.Spec(path=str(path), **spec), cache, lambda step, fraction: None)


def tone(seconds: float, rate: int, hz: float = 200.0, size: float = 0.5) -> np.ndarray:
    return size * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def write(path: Path, values: np.ndarray, rate: int = 8_000, kind: str = "int16") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate, np.rint(values * 32_767).astype(np.int16) if kind == "int16" else values.astype(kind))


def test_mu_law_is_its_own_inverse_and_finest_near_silence() -> None:
    every = np.arange(LEVELS)
    waves = to_wave(every)
    assert (to_levels(waves) == every).all()
    assert waves[0] == -1 and waves[-1] == pytest.approx(1) and (np.diff(waves) > 0).all()
    assert to_levels(np.array([0.0, 5.0, -5.0])).tolist() == [SILENCE, 255, 0]
    assert np.diff(waves)[127] < np.diff(waves)[0] / 50
    # The curve at one point by hand: ln(1 + 255 / 2) / ln 256 = 0.8757, level 239 of 255.
    assert to_levels(np.array([0.5])).tolist() == [239]


def test_clips_are_a_function_of_their_settings_and_cached(tmp_path: Path) -> None:
    one = spoken(tmp_path / "a")
    try:
        set_language("zh_CN")
        again = spoken(tmp_path / "b")
    finally:
        set_language("en")
    assert one.fingerprint == again.fingerprint != spoken(tmp_path / "a", draw=1).fingerprint
    made = next((tmp_path / "a").glob("voices-*/train.u8"))
    before = made.stat().st_mtime_ns
    assert spoken(tmp_path / "a").fingerprint == one.fingerprint and made.stat().st_mtime_ns == before
    made.write_bytes(b"short")
    assert spoken(tmp_path / "a").fingerprint == one.fingerprint


def test_splits_share_no_voice_and_ood_is_beyond_what_was_trained_on() -> None:
    spec = SpokenVowelsSpec(speakers="all")
    drawn = {split: _voices(spec, split, np.random.default_rng(0), 4_000) for split in SPLITS}
    train, validation, ood = ({tuple(row[1:]) for row in drawn[split].tolist()} for split in SPLITS)
    assert not train & validation and not train & ood and not validation & ood
    lowest = np.array([F0_RANGE[kind][0] for kind in spec.kinds])[drawn["ood"][:, 0] // spec.vowels]
    highest = np.array([F0_RANGE[kind][1] for kind in spec.kinds])[drawn["ood"][:, 0] // spec.vowels]
    f0 = drawn["ood"][:, 1] * F0_STEP
    assert ((f0 < lowest) | (f0 > highest)).all()
    assert (np.abs(drawn["ood"][:, 2] * TRACT_STEP) > TRACT).all()
    assert (np.bincount(drawn["train"][:, 0], minlength=spec.n_classes) > 100).all()


@pytest.mark.parametrize("content", ["vowels", "words", "tones"])
def test_what_is_said_has_its_name_its_shape_and_can_be_heard(content: str, tmp_path: Path) -> None:
    data = spoken(tmp_path, content=content)
    shape = VOWELS.shape(data.spec)
    assert VOWELS.procedural and any("program" in note for note in data.report.notes)
    assert shape.modality == "audio" and shape.vocab_size == LEVELS and shape.n_classes == len(data.class_names)
    assert sum(n for _, n in data.report.label_counts) == data.report.n_train + data.report.n_validation
    for split in SPLITS:
        assert len(data.splits[split].starts) >= 10 and (data.splits[split].lengths == 2_000).all()
    for example in VOWELS.preview(data.spec, 2):
        assert example["origin"] in SPLITS and example["label"] in data.class_names and example["rate"] == 8_000
        assert example["sound"].shape == (2_000,) and 0.5 < np.abs(example["sound"]).max() <= 0.9
    assert (data.formants() is None) == (content == "tones")


def test_vowels_have_the_formants_they_were_made_with(tmp_path: Path) -> None:
    """Linear prediction finds them within the speakers' own spread, for every man's vowel there is."""
    data = spoken(tmp_path, vowels=10, clips=200, seconds=0.2)
    asked = data.formants()
    assert asked is not None
    for condition in range(10):
        found = [formants(w[400:], data.rate) for w in data.waves("train", condition, 6, 0.2)]
        assert np.abs(np.mean(found, axis=0) / asked[condition] - 1).max() < 0.08
    assert data.rivals(7).tolist() == list(range(10))


def test_syllables_move_into_their_vowel() -> None:
    """F2 of d before u falls from its locus of 1800 Hz towards 870."""
    n, rng = 12, np.random.default_rng(0)
    vowel = np.tile(_voice.FORMANTS["man"][_voice.VOWELS.index("u")], (n, 1))
    args = (vowel, np.full(n, 3500.0), rng.uniform(100, 140, n), np.full(n, 0.005), 2_000, 8_000)
    waves = _voice.voices(rng, *args, consonant=np.ones(n, np.int64))
    early, late = ([formants(w[part], 8_000)[1] for w in waves] for part in (slice(0, 300), slice(1_000, 2_000)))
    assert np.nanmedian(early) > 1_100 and np.nanmedian(late) == pytest.approx(870, rel=0.05)


def test_a_batch_is_a_pure_function_of_seed_and_step(tmp_path: Path) -> None:
    data = spoken(tmp_path)
    one, again = data.train_batch(5, 16, 256, 3), spoken(tmp_path).train_batch(5, 16, 256, 3)
    assert one["inputs"].dtype == one["targets"].dtype == one["condition"].dtype == np.int64
    assert one["inputs"].shape == one["targets"].shape == (16, 256) and one["condition"].shape == (16,)
    assert all((one[name] == again[name]).all() for name in one)
    assert (one["inputs"] != data.train_batch(6, 16, 256, 3)["inputs"]).any()
    assert (one["inputs"][:, 1:] == one["targets"][:, :-1]).all()
    held_out = [list(data.validation_batches(size, 256, 5_120)) for size in (4, 4)]
    assert [len(batch["inputs"]) for batch in held_out[0]] == [4] * 5
    assert all((a["inputs"] == b["inputs"]).all() for a, b in zip(*held_out, strict=True))


def test_windows_begin_with_a_clip_or_inside_it_and_end_unscored(tmp_path: Path) -> None:
    data = spoken(tmp_path, clips=100, seconds=0.1)
    file = data.splits["train"]
    batch = data.windows("train", np.random.default_rng(0), 2_000, 400)
    clips = np.stack([file.clip(i) for i in range(100)]).astype(np.int64)
    beginnings = (clips[:, None, :20] == batch["inputs"][None, :, :20]).all(axis=2)
    # 400 places in a clip of 800 samples, and 200 before it that all begin with it.
    assert beginnings.any(axis=0).mean() == pytest.approx(1 / 3, abs=0.04)
    clip = beginnings.argmax(axis=0)[beginnings.any(axis=0)]
    assert (file.labels[clip] == batch["condition"][beginnings.any(axis=0)]).all()
    longer = data.windows("train", np.random.default_rng(0), 50, 1_000)
    assert (longer["targets"][:, 799:] == IGNORED).all() and (longer["inputs"][:, 800:] == SILENCE).all()
    assert (longer["targets"][:, :799] >= 0).all()
    with pytest.raises(TypeError, match="sound"):
        data.decode(batch["inputs"][0])


def test_a_folder_of_any_formats_is_heard(tmp_path: Path) -> None:
    wanted = tone(0.5, 8_000)
    write(tmp_path / "in" / "a.wav", wanted)
    write(tmp_path / "in" / "deep" / "b.WAV", wanted * 0.9, kind="float32")
    wavfile.write(tmp_path / "in" / "c.wav", 8_000, (np.rint(wanted * 0.8 * 127) + 128).astype(np.uint8))
    stereo = np.stack([wanted * 0.7, wanted * 0.5], axis=1)
    wavfile.write(tmp_path / "in" / "d.wav", 8_000, (stereo * 2**31).astype(np.int32))
    with wave.open(str(tmp_path / "in" / "e.wav"), "wb") as file:  # 24 bits
        file.setnchannels(1), file.setsampwidth(3), file.setframerate(8_000)
        whole = np.rint(wanted * 0.5 * (2**23 - 1)).astype("<i4")
        file.writeframes(whole.view(np.uint8).reshape(-1, 4)[:, :3].tobytes())
    write(tmp_path / "in" / "copy.wav", wanted)
    data = folder_data(tmp_path / "in", tmp_path / "cache", validation_fraction=0.3)
    assert data.report.n_documents == 5 and data.report.exact_duplicates == 1 and data.class_names == ()
    assert data.report.n_validation >= 1 and "condition" not in data.train_batch(0, 2, 100, 0)
    clips = [to_wave(f.clip(i)) for f in data.splits.values() for i in range(len(f.starts))]
    peaks = sorted(round(float(np.abs(c).max()), 2) for c in clips)
    assert peaks == pytest.approx([0.25, 0.3, 0.4, 0.45, 0.5], abs=0.011)
    assert all(np.corrcoef(c, wanted)[0, 1] > 0.99 for c in clips)
    assert [p["origin"] for p in FOLDER.preview(FOLDER.Spec(path=str(tmp_path / "in")), 2)] == ["a.wav", "c.wav"]
    assert len(data.preview(1)) == 2
    assert not list(data.held_out_batches("ood", 2, 100, 1_000))


def test_resampling_in_blocks_is_resampling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sum(tone(1.3, 44_100, hz, 0.2) for hz in (150.0, 700.0, 2_500.0))
    write(tmp_path / "x.wav", whole, 44_100, "float32")
    levels = list(_wav_files.read_levels(tmp_path / "x.wav", 8_000, resample=True))
    assert len(levels) == 1
    monkeypatch.setattr(_wav_files, "BLOCK", 5_000)
    monkeypatch.setattr(_wav_files, "MARGIN", 2_000)
    blocks = list(_wav_files.read_levels(tmp_path / "x.wav", 8_000, resample=True))
    assert len(blocks) > 5 and sum(map(len, blocks)) == len(levels[0]) == 10_400
    made = to_wave(np.concatenate(blocks))
    assert np.abs(made - to_wave(levels[0])).max() < 0.02
    expected = sum(tone(1.3, 8_000, hz, 0.2) for hz in (150.0, 700.0, 2_500.0))
    assert np.abs(made - expected)[100:-100].max() < 0.03


def test_one_file_is_cut_and_folders_are_classes(tmp_path: Path) -> None:
    write(tmp_path / "one" / "a.wav", tone(1.0, 8_000))
    data = folder_data(tmp_path / "one", tmp_path / "cache")
    assert data.report.bytes_train == 7_200 and data.report.bytes_validation == 800 and data.report.n_documents == 1
    for name in ("no", "yes"):
        for i in range(3):
            write(tmp_path / "words" / name / f"{i}.wav", tone(0.2, 8_000, 200 + 10 * i + len(name)))
    data = folder_data(tmp_path / "words", tmp_path / "cache", classes="folders")
    assert data.class_names == ("no", "yes") and data.report.label_counts == (("no", 3), ("yes", 3))
    assert FOLDER.shape(FOLDER.Spec(path=str(tmp_path / "words"), classes="folders")).n_classes == 2
    assert set(data.splits["validation"].labels.tolist()) == {0, 1}
    with pytest.raises(InputError, match=r"a\.wav: lies in no class folder"):
        folder_data(tmp_path / "one", tmp_path / "cache", classes="folders")


BAD = {
    "wrong rate": (lambda p: write(p, tone(0.2, 16_000), 16_000), "16,000 samples per second and not 8,000"),
    "silent": (lambda p: write(p, np.zeros(900)), "holds no sound"),
    "no frames": (lambda p: write(p, np.zeros(0)), "holds no sound"),
    "empty": (lambda p: p.write_bytes(b""), "is empty"),
    "text": (lambda p: p.write_text("hello, this is no sound at all"), "no WAV file or is damaged"),
    "nan": (lambda p: write(p, np.full(900, np.nan), kind="float32"), "no numbers"),
}


@pytest.mark.parametrize("kind", list(BAD))
def test_a_bad_file_is_a_sentence_with_its_name_and_the_rest_goes_on(kind: str, tmp_path: Path) -> None:
    make, words = BAD[kind]
    for i in range(3):
        write(tmp_path / "in" / f"good{i}.wav", tone(0.3, 8_000, 200 + i))
    make(tmp_path / "in" / "bad.wav")
    with pytest.raises(InputError, match=words) as caught:
        folder_data(tmp_path / "in", tmp_path / "cache")
    assert caught.value.message.startswith("bad.wav: ") and "skip_bad" in caught.value.remedy
    data = folder_data(tmp_path / "in", tmp_path / "cache", skip_bad=True)
    assert data.report.n_documents == 3 and data.report.n_skipped == 1 and data.report.skipped[0][0] == "bad.wav"
    assert len(FOLDER.preview(FOLDER.Spec(path=str(tmp_path / "in")), 5)) == (4 if kind == "silent" else 3)


def test_a_file_cut_short_is_told(tmp_path: Path) -> None:
    write(tmp_path / "in" / "cut.wav", tone(1.0, 8_000))
    whole = (tmp_path / "in" / "cut.wav").read_bytes()
    for length in (20, 44, 3_000):
        (tmp_path / "in" / "cut.wav").write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut\.wav: (is no WAV file or is damaged|holds no sound)"):
            folder_data(tmp_path / "in", tmp_path / "cache")


def test_where_there_is_nothing_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, words in (("", "choose"), (str(tmp_path / "none"), "no folder"), (str(tmp_path / "empty"), "no WAV")):
        with pytest.raises(InputError, match=words):
            FOLDER.shape(FOLDER.Spec(path=path))
    (tmp_path / "empty" / "x.wav").write_bytes(b"")
    with pytest.raises(InputError, match=r"there is no sound in the data \(x\.wav: is empty\)"):
        folder_data(tmp_path / "empty", tmp_path / "cache", skip_bad=True)
