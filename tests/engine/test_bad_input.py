"""What a person gets wrong and what a machine cannot do: one sentence, exit code 2, nothing lost, on the real verbs."""

import contextlib
import ctypes
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import cli
from engine.lab import Lab
from engine.machine import Machine

ROOT = Path(__file__).resolve().parents[2]
STUDY = """
name = "tiny"
title = "A tiny study"
model = {{ family = "gpt" }}
data = {{ source = "text-folder", path = "{text}" }}
[ladder]
sizes = [2000]
[training]
steps = 20
eval_tokens = 1024
final_eval_tokens = 1024
[execution]
executor = "thread"
device = "cpu"
"""


def write_text(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number in range(30):
        generator = random.Random(number)
        words = ("".join(generator.choices("abcdefghij", k=generator.randint(3, 9))) for _ in range(200))
        (folder / f"{number}.txt").write_text(" ".join(words), encoding="utf-8")
    return folder


def write_study(folder: Path) -> Path:
    file = folder / "tiny.toml"
    file.write_text(STUDY.format(text=write_text(folder / "text")), encoding="utf-8")
    return file


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of one run of twenty steps on text of its own."""
    return write_study(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(study file, home) of a study that was run to the end. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("finished")
    file = write_study(folder)
    assert cli.main(["run", str(file), "--home", str(folder / "home"), "--json"]) == 0
    return file, folder / "home"


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 2) -> str:
    """The one sentence with which the verb ends."""
    capsys.readouterr()
    assert cli.main([str(a) for a in arguments]) == code
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    return captured.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("data.colour=red", "data: object contains unknown field colour"),
        ("colour=red", "object contains unknown field colour"),
        ("model.colour=red", "model: object contains unknown field colour"),
        ("ladder.sizes=[-5]", "ladder.sizes[0]: expected int >= 1"),
        ("ladder.sizes=[]", "ladder.sizes: expected array of length >= 1"),
        ("ladder.sizes=[2000, 2001]", "gives the same model"),
        ("ladder.sizes=[1]", "the nearest has 1,704"),
        ("training.steps=many", "training.steps: expected int"),
        ("training.learning_rate=nan", "training.learning_rate: expected float > 0"),
        ("training", "not of the form field=value"),
        ("=3", "not of the form field=value"),
        ("ladder=3", "ladder: expected object"),
        ("model.d_model=12", "model.d_model: expected a multiple of 8"),
        ("execution.device=warp", "execution.device: 'warp' is no device"),
        ("execution.device=cuda:x", "execution.device: 'cuda:x' is no device"),
        ("execution.device=cuda:7", "this machine has no cuda:7"),
        ("training.context=90000", "training.context: the training split has"),
        ("data.path=nowhere", "data.path: there is no folder nowhere"),
    ],
)
def test_a_wrong_field_queues_nothing(
    study: Path, tmp_path: Path, change: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    assert words in refused(capsys, "run", study, "--home", home, "--set", change)
    if (home / "lab.db").exists():
        with sqlite3.connect(home / "lab.db") as connection:
            assert connection.execute("SELECT count(*) FROM run").fetchone() == (0,)
        connection.close()


def test_data_that_cannot_be_read(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank").mkdir()
    (tmp_path / "blank" / "a.txt").write_text(" \n")
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary" / "a.txt").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / "a.md").write_bytes(b"caf\xe9 " * 50)
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.jsonl").write_text('{"text": "one"}\n{"text": \n')
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "a.parquet").write_bytes(b"PAR1 is how it begins")
    for name, words in (
        ("empty", "holds no text files"),
        ("blank", "there is no text in the data"),
        ("binary", "a.txt: is a binary file"),
        ("latin", "a.md: "),
        ("rows", "a.jsonl, row 2: is not valid JSON"),
        ("table", "a.parquet: "),
        ("binary/a.txt", "a.txt: is a binary file"),
        ("tiny.toml", "is none of .txt"),
    ):
        arguments = ("run", study, "--home", tmp_path / "home", "--set", f"data.path={tmp_path / name}")
        assert words in refused(capsys, *arguments), name


def test_study_files_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "binary.toml").write_bytes(os.urandom(500))
    (tmp_path / "broken.toml").write_text("name = ")
    (tmp_path / "folder.toml").mkdir()
    home = ("--home", tmp_path / "home")
    assert "is not a text file" in refused(capsys, "run", tmp_path / "binary.toml", *home)
    assert "is not valid TOML" in refused(capsys, "run", tmp_path / "broken.toml", *home)
    assert "there is no study file" in refused(capsys, "run", tmp_path / "folder.toml", *home)
    assert "there is no study file" in refused(capsys, "plan", tmp_path / "missing.toml", *home)
    assert not (tmp_path / "home").exists()


def test_a_home_in_use_by_another_process(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home"
    holding = (
        "import sys; from pathlib import Path; from engine.lab import Lab\n"
        "with Lab.open(Path(sys.argv[1])): print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holding, str(home)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout and holder.stdout.readline() == "open\n"
        assert "is in use by another Emergence Lab" in refused(capsys, "run", study, "--home", home)
        assert cli.main(["runs", "--home", str(home), "--json"]) == 0, "reading needs no lock"
        holder.communicate("")


def damage(home: Path, how: str) -> bytes:
    """Spoil lab.db; returns what it then holds."""
    file = home / "lab.db"
    content = bytearray(file.read_bytes())
    if how == "other":
        content = bytearray(b"not a database at all " * 100)
    elif how == "cut":
        content = content[: len(content) // 2]
    else:
        for place in range(4096, len(content), 7):
            content[place] ^= 0x5A
    file.write_bytes(content)
    return bytes(content)


@pytest.mark.parametrize("how", ["other", "cut", "spoilt"])
def test_a_damaged_database(
    finished: tuple[Path, Path], tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    home = shutil.copytree(finished[1], tmp_path / "home")
    spoilt = damage(home, how)
    for verb in (("runs",), ("results", "tiny"), ("export", "csv", "tiny", "--out", tmp_path / "x.csv")):
        assert "lab.db is damaged" in refused(capsys, *verb, "--home", home)
    assert "lab.db is damaged" in refused(capsys, "run", finished[0], "--home", home)
    assert (home / "lab.db").read_bytes() == spoilt, "it may still be mended"


def test_a_closed_home_is_one_whole_file(finished: tuple[Path, Path]) -> None:
    log = finished[1] / "lab.db-wal"
    assert not log.exists() or log.stat().st_size == 0
    connection = sqlite3.connect(f"file:{finished[1] / 'lab.db'}?immutable=1", uri=True)
    assert connection.execute("SELECT state FROM run").fetchall() == [("finished",)]
    connection.close()


class Mount:
    """A file system in memory, of a size, that root may put on a folder."""

    def __init__(self, folder: Path, n_bytes: int) -> None:
        self.folder, self._libc = folder, ctypes.CDLL(None, use_errno=True)
        folder.mkdir()
        self._mount(0, f"size={n_bytes}")

    def _mount(self, flags: int, options: str) -> None:
        done = self._libc.mount(b"tmpfs", str(self.folder).encode(), b"tmpfs", ctypes.c_ulong(flags), options.encode())
        if done:
            pytest.skip(f"no file system can be mounted here: {os.strerror(ctypes.get_errno())}")

    def read_only(self) -> None:
        self._mount(1 | 32, "")  # MS_RDONLY | MS_REMOUNT

    def close(self) -> None:
        self._libc.umount2(str(self.folder).encode(), 2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Mount]:
    """A disk of 100 MB."""
    if not sys.platform.startswith("linux") or os.geteuid():
        pytest.skip("only root mounts")
    mount = Mount(tmp_path / "disk", 100 << 20)
    yield mount
    mount.close()


def fill(folder: Path) -> Path:
    """Leave not a byte free."""
    with (folder / "fill").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 20)):
                pass
        except OSError:
            pass
    return folder / "fill"


def test_a_disk_that_is_full_from_the_start(study: Path, small_disk: Mount, capsys: pytest.CaptureFixture[str]) -> None:
    full = fill(small_disk.folder)
    home = small_disk.folder / "home"
    assert "disk" in refused(capsys, "run", study, "--home", home)
    full.unlink()
    assert cli.main(["run", str(study), "--home", str(home), "--json"]) == 0


def test_a_read_only_disk(
    finished: tuple[Path, Path], study: Path, small_disk: Mount, capsys: pytest.CaptureFixture[str]
) -> None:
    home = small_disk.folder / "home"
    shutil.copytree(finished[1], home)
    small_disk.read_only()
    assert "cannot be written: Read-only file system" in refused(capsys, "run", study, "--home", home)
    assert "cannot be written: Read-only file system" in refused(capsys, "run", study, "--home", home / "new")
    assert cli.main(["results", "tiny", "--home", str(home), "--json"]) == 0, "what is there can be read"
    capsys.readouterr()
    out = small_disk.folder / "f.svg"
    figure = ("export", "figure", "tiny", "--home", home, "--figure", "loss-curves")
    assert "cannot be written" in refused(capsys, *figure, "--out", out)
    assert "cannot be written" in refused(capsys, "export", "hf", "1", "--home", home, "--out", out)


@contextlib.contextmanager
def verb(*arguments: object) -> "Iterator[subprocess.Popen[str]]":
    """A verb in a process of its own, which may be sent signals and does not outlive the test."""
    command = [sys.executable, "main.py", *(str(a) for a in arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(path: Path, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.01)


LONG = ("--set", "training.steps=900", "--set", "training.checkpoint_seconds=0.1", "--set", "training.batch_size=2")


@pytest.mark.slow
def test_a_disk_that_fills_up_while_training(study: Path, tmp_path: Path, small_disk: Mount) -> None:
    home = small_disk.folder / "home"
    with verb("run", study, "--home", home, *LONG) as process:
        wait_for(home / "artifacts" / "1" / "last.safetensors")
        full = fill(small_disk.folder)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 2 and "full" in said.splitlines()[-1] and "Traceback" not in said, said
    full.unlink()
    whole = tmp_path / "whole"
    assert cli.main(["run", str(study), "--home", str(home), *LONG, "--json"]) == 0
    assert cli.main(["run", str(study), "--home", str(whole), *LONG, "--json"]) == 0
    same = [(h / "artifacts" / "1" / "weights.safetensors").read_bytes() for h in (home, whole)]
    assert same[0] == same[1]


@pytest.mark.slow
def test_ctrl_c_leaves_everything_resumable_and_a_cut_checkpoint_is_named(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    checkpoint = home / "artifacts" / "1" / "last.safetensors"
    with verb("run", study, "--home", home, *LONG) as process:
        wait_for(checkpoint)
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=60)
    assert process.returncode == 130 and printed == "" and "Traceback" not in said, said
    with Lab.open(home) as lab:
        assert [run.state for run in lab.reader().runs()] == ["interrupted"]
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:2000])
    capsys.readouterr()
    again = ["run", str(study), "--home", str(home), *LONG, "--json"]
    assert cli.main(again) == 1
    said = capsys.readouterr().err
    assert f"{checkpoint} cannot be read" in " ".join(said.split()).replace("- ", "-") and "Traceback" not in said
    checkpoint.write_bytes(whole)
    assert cli.main(again) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("export", "figure", "tiny", "--figure", "loss-curves", "--out", "{tmp}/f.bmp"), "has no known format"),
        (("export", "figure", "tiny", "--figure", "moon", "--out", "{tmp}/f.svg"), "there is no figure 'moon'"),
        (
            ("export", "figure", "tiny", "--figure", "loss-curves", "--style", "x", "--out", "{tmp}/f.svg"),
            "no style 'x'",
        ),
        (("export", "figure", "moon", "--figure", "loss-curves", "--out", "{tmp}/f.svg"), "no study 'moon'"),
        (("export", "figure", "tiny", "--figure", "loss-curves", "--out", "{tmp}/file/f.svg"), "cannot be written"),
        (("export", "csv", "tiny", "--out", "{tmp}/file/f.csv"), "cannot be written"),
        (("export", "parquet", "tiny", "--out", "{tmp}/file/f.parquet"), "cannot be written"),
        (("export", "study", "tiny", "--out", "{tmp}"), "cannot be written: Is a directory"),
        (("export", "hf", "1", "--out", "{tmp}/file"), "cannot be written"),
        (("export", "hf", "99", "--out", "{tmp}/hf"), "there is no run 99"),
        (("export", "hf", "one", "--out", "{tmp}/hf"), "RUN_ID"),
        (("export", "moon"), "moon"),
        (("results", "moon"), "no study 'moon'"),
        (("runs", "--study", "moon"), "no study 'moon'"),
        (("runs", "--colour"), "--colour"),
        (("results",), "STUDY_ID"),
    ],
)
def test_exports_that_cannot_be(
    finished: tuple[Path, Path],
    tmp_path: Path,
    arguments: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("a file")
    home = () if arguments == ("export", "moon") else ("--home", finished[1])
    assert words in refused(capsys, *(a.format(tmp=tmp_path) for a in arguments), *home)
    assert (tmp_path / "file").read_text() == "a file"


def test_figures_of_a_study_with_nothing_finished(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from engine.expand import expand
    from engine.store import Store, mutations
    from engine.study import load_study

    home = tmp_path / "home"
    spec = load_study(str(study))
    with Store.open(home) as store:
        store.writer.call(lambda connection: mutations.add_study(connection, spec, expand(spec))).result()
    for name in ("loss-vs-params", "capability-vs-params", "loss-curves", "residuals"):
        out = tmp_path / f"{name}.svg"
        refused(capsys, "export", "figure", "tiny", "--home", home, "--figure", name, "--out", out)
        assert not out.exists()
    assert "no finished model" in refused(capsys, "export", "hf", "1", "--home", home, "--out", tmp_path / "hf")


def test_a_cuda_device_is_told_from_none() -> None:
    from engine.readiness import check_device
    from engine.study import ExecutionSpec

    machine = Machine(2, 10**9, gpus=("one", "two"), gpu_memory=(1, 1))
    for name in ("auto", "cpu", "cuda", "cuda:1"):
        check_device(ExecutionSpec(device=name), machine)


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.count(".") == 2
