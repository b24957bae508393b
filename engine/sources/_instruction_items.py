"""Prompts and responses ready for tuning: what is given, what is to be learnt, and where one turns into the other."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.i18n import mark, tr
from engine.sources._instruction_rows import read_rows
from engine.sources._label_table import Ints
from engine.sources._token_rows import (
    NOTHING,
    TOKENIZER,
    TokenRows,
    cut_note,
    load_tokenizer,
    pad_of,
    report_of,
    save_arrays,
)
from engine.sources.base import Batch, OnProgress, QualityReport

if TYPE_CHECKING:
    from engine.sources.instruction_table import InstructionTableSpec

META = "meta.json"
TOLD_EVERY = 256
_TRIES = 4
"""Cuts of a prompt until it fits: what is cut may be read as other tokens than before."""

Ids = list[int]


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in ``meta.json`` beside the tokens."""

    digest: str
    pad: int
    report: QualityReport


@dataclass(slots=True)
class InstructionItems(TokenRows):
    """Implements ``engine.sources.base.Prepared`` and ``TokenisedText``."""

    folder: Path
    fingerprint: str
    report: QualityReport
    pad: int
    """The id that fills short rows."""
    tokens: NDArray[np.int32]
    """Every row's prompt and response, one row after another."""
    ends: Ints
    """(n,) where each row ends."""
    starts: Ints
    """(n,) tokens of each row before those that are to be learnt, at least 1."""
    parts: Ints
    """(n,) index of ``PARTS``."""
    bytes_per_token: float = math.nan

    def collate(self, rows: Ints) -> Batch:
        """``inputs``, ``mask`` and ``targets`` int64 (batch, longest): the next token where it is of a response."""
        batch = self.inputs(rows)
        targets = np.full_like(batch["inputs"], NOTHING)
        targets[:, :-1] = np.where(batch["mask"][:, 1:] > 0, batch["inputs"][:, 1:], NOTHING)
        targets[np.arange(targets.shape[1]) < self.starts[rows][:, None] - 1] = NOTHING
        return {**batch, "targets": targets}

    def shown(self, tokens: Ints, target: Any) -> Mapping[str, str]:
        """What is given, and what is learnt."""
        start = int((target >= 0).argmax()) + 1
        return {"text": self.decode(tokens[:start]), "target": self.decode(tokens[start:])}

    def plain(self, tokens: NDArray[np.integer[Any]]) -> str:
        """Text of tokens, without the special ones."""
        tokenizer = load_tokenizer(str(self.folder / TOKENIZER))
        return str(tokenizer.decode([int(token) for token in tokens], skip_special_tokens=True)).strip()


class Form:
    """How a tokenizer's model is asked: by its own chat template, or plainly, the prompt and a new line.

    A response ends with the tokenizer's end of text, or a new line where it has none.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.chat = bool(tokenizer.chat_template)
        end = tokenizer.eos_token_id
        self.end: Ids = self._ids("\n") if end is None else [int(end)]

    def parts(self, prompt: str, response: str) -> tuple[Ids, Ids]:
        """Tokens that are given, and those to be learnt."""
        if not prompt:
            begin = self.tokenizer.bos_token_id
            return ([] if begin is None else [int(begin)]), [*self._ids(response), *self.end]
        if self.chat:
            return self._chatted(prompt, response)
        given = list(self.tokenizer(f"{prompt}\n")["input_ids"])
        while given and given[-1] in (self.tokenizer.eos_token_id, self.tokenizer.sep_token_id):
            given.pop()  # a text ends there, and this one goes on
        return given, [*self._ids(response), *self.end]

    def fitted(self, prompt: str, response: str, longest: int) -> tuple[Ids, Ids, bool]:
        """The same in at most ``longest`` tokens, and whether it was cut: the end of the prompt, else the response."""
        given, learnt = self.parts(prompt, response)
        cut = False
        for _ in range(_TRIES):
            over = len(given) + len(learnt) - longest
            if over <= 0 or not prompt:
                break
            ids = self._ids(prompt)
            prompt = self.tokenizer.decode(ids[: max(0, len(ids) - over)], skip_special_tokens=True)
            given, learnt = self.parts(prompt or " ", response)
            cut = True
        if not given:  # the first token of a text is not predicted
            given, learnt = learnt[:1], learnt[1:]
        given = given[: longest - 1]
        return given, learnt[: longest - len(given)], cut or len(given) + len(learnt) > longest

    def _chatted(self, prompt: str, response: str) -> tuple[Ids, Ids]:
        from jinja2 import TemplateError

        question, answer = {"role": "user", "content": prompt}, {"role": "assistant", "content": response}
        try:
            given = self.tokenizer.apply_chat_template([question], tokenize=False, add_generation_prompt=True)
            whole = self.tokenizer.apply_chat_template([question, answer], tokenize=False)
        except (TemplateError, ValueError, TypeError) as error:
            raise _unusable(str(error).partition("\n")[0].rstrip(".")) from None
        if not whole.startswith(given):
            given = whole[: max(0, whole.rfind(response))]
        if response not in whole[len(given) :]:
            raise _unusable(tr("the response is not in what it makes"))
        return self._ids(given), self._ids(whole[len(given) :])

    def _ids(self, text: str) -> Ids:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def _unusable(why: str) -> InputError:
    return InputError(
        tr("data.tokenizer: its chat template cannot be used ({why}).", why=why),
        tr("Correct it, or remove it to have prompts asked plainly."),
    )


def make(spec: "InstructionTableSpec", folder: Path, on_progress: OnProgress) -> None:
    """Fill a folder of the cache: tokens, where responses begin, split, the tokenizer and the report.

    Raises ``InputError`` where the table cannot be used or there is no tokenizer to read it with.
    """
    tokenizer = load_tokenizer(spec.tokenizer)
    on_progress(mark("reading"), 0.0)
    table, form = read_rows(spec), Form(tokenizer)
    given: list[Ids] = []
    whole: list[Ids] = []
    n_cut = 0
    for number, row in enumerate(table.rows):
        head, learnt, cut = form.fitted(row.texts[0], row.texts[1], spec.max_length)
        given.append(head)
        whole.append(head + learnt)
        n_cut += cut
        if number % TOLD_EVERY == 0:
            on_progress(mark("writing tokens"), number / len(table.rows))
    lengths = np.asarray([len(ids) for ids in whole], np.int64)
    arrays: dict[str, NDArray[Any]] = {
        "tokens": np.concatenate([np.asarray(ids, np.int32) for ids in whole]),
        "ends": np.cumsum(lengths),
        "starts": np.asarray([len(ids) for ids in given], np.int64),
        "parts": table.parts,
    }
    tokenizer.save_pretrained(folder / TOKENIZER)
    asked = tr("Prompts are put as the chat template of the tokenizer says.")
    if not form.chat:
        asked = tr("The tokenizer has no chat template: a prompt is followed by a new line and the response.")
    notes = [cut_note(n_cut, len(lengths), spec.max_length), *([] if spec.text else [asked])]
    report = report_of(table, lengths, *notes)
    meta = Meta(digest=save_arrays(folder, arrays), pad=pad_of(spec.tokenizer), report=report)
    (folder / META).write_bytes(msgspec.json.encode(meta))


def opened(folder: Path) -> InstructionItems | None:
    """The entry of the cache, None where there is none."""
    try:
        meta = msgspec.json.decode((folder / META).read_bytes(), type=Meta)
        arrays = {name: np.load(folder / f"{name}.npy") for name in ("tokens", "ends", "starts", "parts")}
    except (OSError, ValueError, msgspec.DecodeError):
        return None
    return InstructionItems(folder, meta.digest, meta.report, meta.pad, **arrays)
