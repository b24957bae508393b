"""The battery on a folder of plain transformers: how well a causal model predicts texts of the user's own."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import model_folders
from engine.battery import cache
from engine.battery.uses import resolve
from engine.capabilities.base import Score
from engine.errors import InputError
from engine.files import sha256
from engine.i18n import tr
from engine.importing.folders import load_folder, read_config, require_safetensors
from engine.model_folders import FolderError
from engine.sources import sources
from engine.sources._prepare import clean
from engine.sources._spec import Skipped
from engine.sources.text_folder import documents, list_files
from engine.study import convert

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.store import Store

CAPABILITY = "document-perplexity"
"""What can be measured on a folder: a model of what comes next, and texts."""


@dataclass(frozen=True, slots=True)
class FolderMeasurement:
    """What was measured, and whether it had been before."""

    folder: Path
    capability: str
    scores: tuple[Score, ...]
    known: bool


def evaluate_folder(
    store: "Store", folder: Path, text: Path, options: "Mapping[str, str] | None" = None
) -> FolderMeasurement:
    """Perplexity and bits per byte of a causal model over the texts of a file or folder, as the harness counts them.

    Documents are files, or rows of tables (the column ``text``). ``options`` are those of ``document-perplexity``.

    Raises:
        InputError: the folder holds no causal model or no tokenizer, or there is no text.
    """
    read_config(folder)
    require_safetensors(folder)
    (use,) = resolve([CAPABILITY], options or {}, {})
    chosen = _texts(text, int(use.options["documents"]))
    digest = hashlib.sha256("\0".join(chosen).encode()).hexdigest()
    values = cache.inputs(use.capability, use.options, _weights(folder), digest)
    scores, known = cache.measure(store, values, lambda: _scores(folder, chosen))
    return FolderMeasurement(folder, use.title, tuple(scores), known)


def _texts(path: Path, n: int) -> list[str]:
    """At most ``n`` documents, spread evenly, the same every time."""
    source = sources["text-folder"]
    spec = convert({"path": str(path)}, source.Spec, "data")

    def texts() -> Iterator[str]:
        found = (clean(d.text).decode("utf-8", "replace") for d in documents(spec, list_files(spec.path), Skipped()))
        return (text for text in found if text.strip())

    total = sum(1 for _ in texts())
    if total < 2:
        raise InputError(tr("{path} holds fewer than two texts.", path=str(path)))
    places = set(np.linspace(0, total - 1, min(n, total)).round().astype(int).tolist())
    return [text for place, text in enumerate(texts()) if place in places]


def _weights(folder: Path) -> str:
    """SHA-256 over the weights and what decides how they are used, file by file."""
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt")
    files = [*sorted(folder.glob("*.safetensors")), *(folder / name for name in names if (folder / name).is_file())]
    return hashlib.sha256("".join(f"{file.name} {sha256(file)}\n" for file in files).encode()).hexdigest()


def _scores(folder: Path, texts: Sequence[str]) -> list[Score]:
    import torch

    from engine.capabilities._rolling import Text
    from engine.capabilities.document_perplexity import score_documents

    loaded = load_folder(folder)
    if not type(loaded.model).__name__.endswith(("CausalLM", "LMHeadModel")):
        raise InputError(
            tr(
                "{path} holds a {kind}, which does not predict what comes next.",
                path=str(folder),
                kind=type(loaded.model).__name__,
            ),
            tr("Perplexity is of causal language models."),
        )
    tokenizer = load_tokenizer(folder)
    tokens = [np.asarray(tokenizer.encode(text, add_special_tokens=False), np.int64) for text in texts]
    documents = [Text(text, ids) for text, ids in zip(texts, tokens, strict=True) if len(ids)]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = loaded.model.to(device)
    with torch.no_grad():
        return score_documents(
            lambda ids: model(ids.to(device)).logits, documents, prefix_of(tokenizer), loaded.context
        )


def load_tokenizer(folder: Path) -> Any:
    """The folder's own tokenizer; raises ``InputError`` where it has none."""
    try:
        return model_folders.load_tokenizer(folder)
    except FolderError as error:
        raise InputError(
            tr("{path} has no tokenizer that can be read: {why}.", path=str(folder), why=str(error))
        ) from None


def prefix_of(tokenizer: Any) -> int:
    """What stands before a text: the token that begins or ends one, as the harness takes it, else id 0."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0
