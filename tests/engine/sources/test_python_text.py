"""Text of the running interpreter: a fair, repeatable sample without tests, tables and generated files."""

import random
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from engine.errors import InputError
from engine.sources import python_text, sources
from engine.sources._prepared import PreparedText

SOURCE = sources["python-text"]
MAX_BYTES = 100_000


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small library of 120 modules of about 2 kB, with folders and files that are not text to read."""
    root = tmp_path / "lib"
    for number in range(120):
        module(root / f"package{number % 7}" / f"module{number}.py", number)
    for folder in ("tests", "__pycache__", "_vendor", ".hidden"):
        module(root / "package0" / folder / "inside.py", 1000)
    (root / "tables.py").write_text("TABLE = [\n" + "    0x12, 0x34, 0x56,\n" * 100 + "]\n")
    (root / "made.py").write_text("# Automatically generated, do not edit\n" + "word " * 400)
    (root / "latin.py").write_bytes(b"# caf\xe9 " + b"words and words " * 100)
    monkeypatch.setattr(python_text, "roots", lambda: {"stdlib": root})
    return root


def module(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = random.Random(seed)
    names = ["".join(generator.choices("abcdefghij", k=7)) for _ in range(50)]
    lines = [
        f"    {generator.choice(names)} = {generator.choice(names)}  # {generator.choice(names)}" for _ in range(60)
    ]
    path.write_text(f'"""Module {seed}."""\ndef f():\n' + "\n".join(lines) + "\n")


def prepare(cache: Path, max_bytes: int = MAX_BYTES) -> PreparedText:
    prepared = SOURCE.prepare(SOURCE.Spec(max_bytes=max_bytes), cache, lambda name, fraction: None)
    assert isinstance(prepared, PreparedText)
    return prepared


def test_what_is_not_text_is_left_out(library: Path) -> None:
    names = {s["origin"] for s in SOURCE.preview(SOURCE.Spec(max_bytes=10**7), 1000)}
    assert len(names) == 120
    assert all(name.startswith("stdlib/package") for name in names)
    assert prepare(library.parent / "cache", 10**7).report.skipped[0][0] == "stdlib/latin.py"


def test_the_sample_is_the_same_every_time(library: Path, tmp_path: Path) -> None:
    one, other = prepare(tmp_path / "a"), prepare(tmp_path / "b")
    assert one.fingerprint == other.fingerprint
    assert one.train.tobytes() == other.train.tobytes()
    total = one.report.bytes_train + one.report.bytes_validation
    assert MAX_BYTES - 5_000 < total <= MAX_BYTES
    assert one.report.leaked == 0


def test_a_larger_sample_contains_the_smaller(library: Path) -> None:
    small, large = ([s["origin"] for s in SOURCE.preview(SOURCE.Spec(max_bytes=n), 1000)] for n in (10**5, 2 * 10**5))
    assert len(small) < len(large)
    assert large[: len(small)] == small


def test_the_fingerprint_follows_the_files(library: Path, tmp_path: Path) -> None:
    before = prepare(tmp_path / "cache", 10**7).fingerprint
    module(library / "package1" / "module1.py", 5000)
    assert prepare(tmp_path / "cache", 10**7).fingerprint != before


def test_an_interpreter_without_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_text, "roots", lambda: {"stdlib": tmp_path / "library.zip"})
    with pytest.raises(InputError, match="without the source"):
        prepare(tmp_path / "cache")


def _fingerprint(cache: str) -> str:
    return prepare(Path(cache), 300_000).fingerprint


def test_processes_at_once_make_it_once(tmp_path: Path) -> None:
    with get_context("spawn").Pool(2) as pool:
        first, second = pool.map(_fingerprint, [str(tmp_path)] * 2, chunksize=1)
        pool.close()
        pool.join()
    assert first == second
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == 1


def test_the_real_thing_is_quick_and_real(tmp_path: Path) -> None:
    started = time.process_time()
    prepared = prepare(tmp_path, 4_000_000)
    assert time.process_time() - started < 6
    assert prepared.report.bytes_train > 3_500_000
    assert prepared.report.leaked == 0
    text = prepared.decode(prepared.train[:200_000])
    assert "def " in text
    assert '"""' in text
    prepared.train_batch(0, 16, 64, 0)
    laps = []
    for step in range(300):
        begun = time.perf_counter()
        prepared.train_batch(step, 16, 64, 0)
        laps.append(time.perf_counter() - begun)
    assert sorted(laps)[150] < 100e-6
