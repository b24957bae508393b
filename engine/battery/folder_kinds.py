"""What can be measured on a folder of plain transformers, by what kind of model it holds.

Every kind says what it is to be given, reads it, and scores the model on all of it: what a folder was trained on is not
known here, and texts, rows or images that it has seen flatter it.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import model_folders
from engine.battery.uses import Use
from engine.capabilities.base import ModelUnderTest, Score
from engine.errors import InputError
from engine.i18n import mark, tr
from engine.importing.folders import Loaded, load_folder
from engine.model_folders import FolderError
from engine.sources import sources
from engine.sources._prepare import clean
from engine.sources._spec import Skipped
from engine.sources.text_folder import documents, list_files
from engine.study import convert

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from engine.sources._label_table import Ints
    from engine.sources.base import Batch

MASKED_SHARE = 0.15
"""Of the tokens, as BERT was trained with (Devlin 2019); a folder does not say."""
ROWS_PER_BATCH, IMAGES_PER_BATCH = 64, 32
MOST_ROWS = 100_000
"""Rows of a table that are measured, from the first on: an accuracy to within 0.2 %."""
Work = Callable[[Use], list[Score]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A folder, what it is measured on, how that is to be read, and where the lab keeps what it prepares."""

    folder: Path
    given: str
    fields: Mapping[str, Any]
    use: Use
    cache: Path


@dataclass(frozen=True, slots=True)
class Kind:
    """Models whose classes end alike. ``ready`` reads what is given; it returns a digest of that, and the work."""

    endings: tuple[str, ...]
    capability: str
    option: str
    """By which it is given: ``--text`` or ``--data``."""
    needs: str
    ready: Callable[[Asked], tuple[str, Work]]


def kind_of(folder: Path, config: Mapping[str, Any]) -> Kind:
    """What can be measured on the model of a configuration; raises ``InputError`` where nothing can."""
    named = config.get("architectures")
    name = str(named[0]) if isinstance(named, list) and named else str(config.get("model_type"))
    for kind in KINDS:
        if name.endswith(kind.endings):
            return kind
    raise InputError(
        tr("{path} holds a {kind}, of which nothing can be measured here.", path=str(folder), kind=name),
        tr("Causal and masked language models and classifiers of texts or images can."),
    )


def texts_of(path: Path, n: int) -> list[str]:
    """At most ``n`` documents, spread evenly, the same every time; raises ``InputError`` for fewer than two."""
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


def digest_of(parts: Sequence[str]) -> str:
    """SHA-256 that tells these from others."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


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


def _opened(folder: Path) -> "tuple[Loaded, torch.device]":
    import torch

    loaded = load_folder(folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded.model.to(device)
    return loaded, device


# What comes next


def _causal(asked: Asked) -> tuple[str, Work]:
    texts = texts_of(Path(asked.given), int(asked.use.options["documents"]))

    def work(use: Use) -> list[Score]:
        import torch

        from engine.capabilities._rolling import Text
        from engine.capabilities.document_perplexity import score_documents

        loaded, device = _opened(asked.folder)
        tokenizer = load_tokenizer(asked.folder)
        tokens = [np.asarray(tokenizer.encode(text, add_special_tokens=False), np.int64) for text in texts]
        found = [Text(text, ids) for text, ids in zip(texts, tokens, strict=True) if len(ids)]
        with torch.no_grad():
            return score_documents(
                lambda ids: loaded.model(ids.to(device)).logits, found, prefix_of(tokenizer), loaded.context
            )

    return digest_of(texts), work


# Hidden tokens


@dataclass(frozen=True, slots=True)
class _Hides:
    """What ``masked-tokens`` asks of a family."""

    mask: int

    def mask_token(self, model: object) -> int:
        return self.mask

    def masked_fraction(self, model: object) -> float:
        return MASKED_SHARE


@dataclass(frozen=True, slots=True)
class _Windows:
    """Texts one after another, cut into windows."""

    tokens: "Ints"

    def validation_batches(self, rows: int, context: int, max_tokens: int) -> "Iterator[Batch]":
        """As ``Prepared`` gives them."""
        n = min(len(self.tokens), max_tokens) // context
        windows = self.tokens[: n * context].reshape(n, context)
        return ({"inputs": windows[first : first + rows]} for first in range(0, n, rows))


def _masked(asked: Asked) -> tuple[str, Work]:
    texts = texts_of(Path(asked.given), MOST_ROWS)

    def work(use: Use) -> list[Score]:
        import torch

        loaded, device = _opened(asked.folder)
        tokenizer = load_tokenizer(asked.folder)
        if tokenizer.mask_token_id is None:
            raise InputError(tr("the tokenizer of {path} has no token to hide others with.", path=str(asked.folder)))
        before, after = _around(tokenizer)
        context = loaded.context - len(before) - len(after)
        ids = [i for text in texts for i in tokenizer.encode(text, add_special_tokens=False)]
        if len(ids) < context:  # short texts are read in two windows, whatever the model could hold
            context = max(8, len(ids) // 2)
        if len(ids) < context:
            raise InputError(tr("{path} holds too little text: {n} tokens.", path=asked.given, n=len(ids)))

        def logits(tokens: "Tensor") -> "Tensor":
            ends = [torch.tensor(some, dtype=torch.int64).expand(len(tokens), -1) for some in (before, after)]
            whole = torch.cat((ends[0], tokens, ends[1]), dim=1).to(device)
            out: Tensor = loaded.model(whole, attention_mask=torch.ones_like(whole)).logits.float()
            return out[:, len(before) : len(before) + tokens.shape[1]]

        hides: Any = _Hides(int(tokenizer.mask_token_id))
        subject = ModelUnderTest(loaded.model, logits, device, context, 0, family=hides)
        data: Any = _Windows(np.asarray(ids, np.int64))
        with torch.no_grad():
            return use.capability.evaluate(use.spec, subject, data)

    return digest_of(texts), work


def _around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and after a text."""
    bare, whole = tokenizer.encode("a", add_special_tokens=False), tokenizer.encode("a")
    for first in range(len(whole) - len(bare) + 1):
        if whole[first : first + len(bare)] == bare:
            return whole[:first], whole[first + len(bare) :]
    return [], []


# Classes


def _class_numbers(config: Any, labels: Sequence[str], where: Sequence[str]) -> "Ints":
    """Which class of the model each label is; raises ``InputError`` naming the first that is none of them."""
    names = [str(config.id2label[number]) for number in range(config.num_labels)]
    if config.num_labels < 2 or getattr(config, "problem_type", None) in ("regression", "multi_label_classification"):
        raise InputError(
            tr("{path} does not choose one of several classes.", path=str(config.name_or_path)),
            tr("Classifiers of one class to an item are measured."),
        )
    known = {name: number for number, name in enumerate(names)}
    if all(name == f"LABEL_{number}" for name, number in known.items()):
        known |= {str(number): number for number in range(len(names))}  # a folder that does not name its classes
    for label, place in zip(labels, where, strict=True):
        if label not in known:
            raise InputError(
                tr("{where}: {label!r} is no class of the model ({known}).", where=place, label=label,
                   known=", ".join(names[:8]) + (", …" if len(names) > 8 else "")),
                tr("Name the classes as its config.json does under id2label, or by number where it names none."),
            )  # fmt: skip
    return np.asarray([known[label] for label in labels], np.int64)


def _scored(use: Use, config: Any, targets: "Ints", logits: "Sequence[Tensor]") -> list[Score]:
    import torch

    from engine.capabilities._classification import Classified
    from engine.capabilities.classification import scores_of

    log_probabilities = torch.cat(list(logits)).double().log_softmax(-1).cpu().numpy()
    names = [str(config.id2label[number]) for number in range(config.num_labels)]
    return scores_of(use.spec, Classified(targets, log_probabilities), names)


def _texts_by_class(asked: Asked) -> tuple[str, Work]:
    from engine.sources._label_table import first_rows

    spec = convert({"path": asked.given, **asked.fields}, sources["labelled-table"].Spec, "data")
    rows = first_rows(spec, MOST_ROWS)
    rows = [row for row in rows if row.part == 2] or rows
    if len(rows) < 2:
        raise InputError(tr("{path} holds fewer than two labelled rows.", path=asked.given))

    def work(use: Use) -> list[Score]:
        import torch

        loaded, device = _opened(asked.folder)
        targets = _class_numbers(loaded.model.config, [row.label for row in rows], [row.where for row in rows])
        tokenizer = load_tokenizer(asked.folder)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        together = ROWS_PER_BATCH if tokenizer.pad_token is not None else 1
        order = np.argsort([sum(map(len, row.texts)) for row in rows], kind="stable")
        found: list[Tensor] = []
        with torch.no_grad():
            for first in range(0, len(rows), together):
                some = [rows[place].texts for place in order[first : first + together]]
                parts = [list(part) for part in zip(*some, strict=True)]
                batch = tokenizer(*parts, truncation=True, max_length=loaded.context, padding=together > 1,
                                  return_tensors="pt").to(device)  # fmt: skip
                found.append(loaded.model(**batch).logits)
        return _scored(use, loaded.model.config, targets[order], found)

    return digest_of([text for row in rows for text in (*row.texts, row.label)]), work


def _images_by_class(asked: Asked) -> tuple[str, Work]:
    if asked.given in sources and not Path(asked.given).exists():
        return _images_of_source(asked)
    from engine.files import sha256
    from engine.sources import _image_files
    from engine.sources._readers import stop_or_skip

    spec = convert({"path": asked.given, **asked.fields}, sources["image-folder"].Spec, "data")
    on_bad = stop_or_skip(spec.skip_bad, Skipped())
    listing = _image_files.find(spec.path, spec.columns, on_bad)

    def work(use: Use) -> list[Score]:
        from engine.sources._images import normalised

        loaded, device = _opened(asked.folder)
        config = loaded.model.config
        shape = _image_shape(asked.folder, config, spec.size)
        side = max(int(shape["image_height"]), int(shape["image_width"]))
        names = [name for name, _ in listing.files]
        targets = _class_numbers(config, [listing.classes[place] for _, place in listing.files], names)
        found, kept = [], []
        for first in range(0, len(names), IMAGES_PER_BATCH):
            read = []
            for place in range(first, min(first + IMAGES_PER_BATCH, len(names))):
                image = _image_files.read(
                    listing.root / names[place], side, 3, "crop" if shape["image_crop"] else "stretch"
                )
                if isinstance(image, str):
                    on_bad(names[place], image)
                else:
                    read.append(image.pixels)
                    kept.append(place)
            if read:
                found.append(_image_logits(loaded.model, normalised(np.stack(read)), shape, device))
        return _scored(use, config, targets[kept], found)

    digests = (f"{name} {sha256(listing.root / name)} {listing.classes[place]}" for name, place in listing.files)
    return digest_of(sorted(digests)), work


def _images_of_source(asked: Asked) -> tuple[str, Work]:
    """Held-out images of a source of the lab: the test split, or where it has none the validation split."""
    from engine.capabilities.classification import MOST_IMAGES
    from engine.sources._images import ImageData

    source = sources[asked.given]
    data = source.prepare(convert(dict(asked.fields), source.Spec, "data"), asked.cache, lambda *_: None)
    if not isinstance(data, ImageData):
        raise InputError(tr("the source {name} has no labelled images.", name=asked.given))
    batch = data.held_out("test", MOST_IMAGES)
    if not len(batch["inputs"]):
        batch = data.held_out("validation", MOST_IMAGES)

    def work(use: Use) -> list[Score]:
        loaded, device = _opened(asked.folder)
        config = loaded.model.config
        shape = _image_shape(asked.folder, config, batch["inputs"].shape[2])
        unnamed = str(config.id2label[0]) == "LABEL_0"
        names = [str(number) for number in range(len(data.class_names))] if unnamed else data.class_names
        labels = [names[number] for number in batch["targets"].tolist()]
        targets = _class_numbers(config, labels, [asked.given] * len(labels))
        found = [
            _image_logits(loaded.model, batch["inputs"][first : first + IMAGES_PER_BATCH], shape, device)
            for first in range(0, len(labels), IMAGES_PER_BATCH)
        ]
        return _scored(use, config, targets, found)

    return data.fingerprint, work


def _image_shape(folder: Path, config: Any, side: int) -> Mapping[str, Any]:
    """How the folder wants its images; ``side`` where it does not say how large."""
    from engine.families._image_inputs import read_inputs

    return read_inputs(folder, config, side, side)


def _image_logits(
    model: Any, images: "NDArray[np.float32]", shape: Mapping[str, Any], device: "torch.device"
) -> "Tensor":
    import torch

    from engine.families._image_inputs import pixel_values

    with torch.no_grad():
        out: Tensor = model(pixel_values=pixel_values(torch.from_numpy(images).to(device), shape)).logits
    return out


KINDS = (
    Kind(("CausalLM", "LMHeadModel"), "document-perplexity", "--text", mark("texts"), _causal),
    Kind(("ForMaskedLM",), "masked-tokens", "--text", mark("texts"), _masked),
    Kind(("ForSequenceClassification",), "classification", "--data", mark("a labelled table"), _texts_by_class),
    Kind(("ForImageClassification",), "classification", "--data", mark("images by class"), _images_by_class),
)
"""Kinds of models, by the ends of their classes' names in transformers."""
