"""Step 1: which model to begin with, from what this machine holds, with a card of what it is."""

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFileDialog, QListWidget, QListWidgetItem, QWidget

from engine.errors import KnownError
from engine.i18n import mark, tr
from lab_app import words
from lab_app.context import Context
from lab_app.modelling.draft import Draft, task_named
from lab_app.widgets.basic import button, clear, column, frame, restyle, row, scrolled, text_label
from lab_app.widgets.cards import FactRow
from lab_app.widgets.table import Column, RowsModel, Table

if TYPE_CHECKING:
    from engine.base_cards import BaseCard, Choice

GROUPS = {
    "package": mark("Installed packages"),
    "folder": mark("Folders"),
    "study": mark("Ladders of this home"),
    "run": mark("Models of this home"),
}
KINDS = {True: "BERT, RoBERTa, DistilBERT, GPT-2, Llama", False: "ViT, DeiT, ResNet, ConvNeXT, Swin"}
"""Architectures that one may have, of bases that read text and of those that read images."""
LIST_WIDTH = 250
REMEMBERED = 6
FOLDERS = "models/folders"
BASE_ROLE = Qt.ItemDataRole.UserRole


class BaseStep(QWidget):
    """A list on the left, a card on the right. What is chosen is looked at at once, off the window's thread."""

    changed = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.task = Draft().task
        self.base, self.base_title = "", ""
        self.cards: tuple[BaseCard, ...] = ()
        self.problem = ""
        """Why the chosen base cannot be used."""
        self._choices: list[Choice] | None = None
        self._looking = False
        self.list = QListWidget()
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.choose_folder = button()
        self.hint = text_label("caption", wrap=True)
        self.name = text_label("heading", wrap=True, selectable=True)
        self.verdict, self.facts = text_label(wrap=True, selectable=True), column(spacing=6)
        self.model = RowsModel()
        self.table = Table(self.model)
        self.table.setMinimumHeight(150)
        self.table.horizontalHeader().setStretchLastSection(False)
        inside = QWidget()
        inside.setLayout(
            column(self.name, self.verdict, self.facts, self.table, None, spacing=10, margins=(16, 14, 16, 14))
        )
        held = frame("plain", column(self.list, margins=(4, 4, 4, 4)))
        held.setFixedWidth(LIST_WIDTH)
        self.hint.setMaximumWidth(LIST_WIDTH)
        left = column(held, self.choose_folder, self.hint, spacing=6)
        left.setStretch(0, 1)
        both = row(left, frame("plain", column(scrolled(inside))), spacing=12)
        both.setStretch(1, 1)
        self.setLayout(column(both))
        self.list.currentItemChanged.connect(lambda item, _: self._picked(item))
        self.choose_folder.clicked.connect(lambda _: self._ask())
        context.language.changed.connect(self.speak)
        self.speak()

    def load(self) -> None:
        """Look for what there is: models of the home may have come since."""
        reader, task = self.context.reader(), self.task

        def work() -> "list[Choice]":
            from engine.base_cards import choices

            return choices(reader, task_named(task))

        self.context.jobs.run(work, self._show_choices, slot="base-choices")

    def set_task(self, task: str) -> None:
        """What the base is to be for: others come into question, and the chosen one is looked at again."""
        self.task = task
        self.load()
        if self.base:
            self._look()

    def take(self, path: Path) -> None:
        """Look at a folder that was chosen or dropped, and remember it."""
        folder = str(path if path.is_dir() else path.parent)
        kept = [folder, *(one for one in self._folders() if one != folder)]
        self.context.settings.put(FOLDERS, kept[:REMEMBERED])
        self._fill()
        self.choose(folder)

    def choose(self, base: str) -> None:
        """Choose what stands in the list."""
        for number in range(self.list.count()):
            if self.list.item(number).data(BASE_ROLE) == base:
                self.list.setCurrentRow(number)
                self._picked(self.list.item(number))

    @property
    def ready(self) -> bool:
        """Whether the chosen base loads."""
        return bool(self.cards)

    @property
    def chosen_words(self) -> str:
        """What was chosen, for the bar of steps."""
        if not self.base:
            return tr("none chosen yet")
        if not self.cards:
            return self.base_title
        sizes = [words.count(card.n_params) for card in self.cards]
        return f"{self.base_title} · {sizes[0] if len(sizes) == 1 else f'{sizes[0]} – {sizes[-1]}'}"

    def _folders(self) -> list[str]:
        return self.context.settings.texts(FOLDERS)

    def _show_choices(self, found: "list[Choice]") -> None:
        if found != self._choices:
            self._choices = found
            self._fill()

    def _fill(self) -> None:
        entries: dict[str, list[tuple[str, str, tuple[int, ...]]]] = {kind: [] for kind in GROUPS}
        for choice in self._choices or ():
            entries[choice.kind].append((choice.base, choice.title, choice.sizes))
        entries["folder"] = [(folder, Path(folder).name, ()) for folder in self._folders()]
        self.list.blockSignals(True)
        self.list.clear()
        for kind, rows in entries.items():
            if rows:
                self._add_heading(tr(GROUPS[kind]))
            for base, title, sizes in rows:
                self._add(base, title, sizes)
        self.list.blockSignals(False)
        self._say_hint()

    def _add_heading(self, text: str) -> None:
        item = QListWidgetItem(text)
        item.setFlags(Qt.ItemFlag.NoItemFlags)
        font = item.font()
        font.setBold(True)
        item.setFont(font)
        self.list.addItem(item)

    def _add(self, base: str, title: str, sizes: tuple[int, ...]) -> None:
        shown = " – ".join(words.count(size) for size in dict.fromkeys((*sizes[:1], *sizes[-1:])))
        item = QListWidgetItem(f"{title}  {shown}".strip())
        item.setData(BASE_ROLE, base)
        item.setData(BASE_ROLE + 1, title)
        item.setToolTip(base if not shown else f"{title}\n{base}")
        self.list.addItem(item)
        if base == self.base:
            self.list.setCurrentItem(item)

    def _ask(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, tr("Choose a model folder"))
        if folder:
            self.take(Path(folder))

    def _picked(self, item: QListWidgetItem | None) -> None:
        base = item.data(BASE_ROLE) if item is not None else None
        if not base or (base == self.base and (self.cards or self._looking)):
            return
        assert item is not None
        self.base, self.base_title = base, item.data(BASE_ROLE + 1)
        self._look()

    def _look(self) -> None:
        base, task = self.base, self.task
        self.cards, self.problem, self._looking = (), "", True
        self._show()
        self.changed.emit()
        home = self.context.lab.home

        def work() -> "tuple[BaseCard, ...]":
            from engine.base_cards import describe

            return describe(base, home, task_named(task))

        run = lambda: self.context.jobs.run(work, self._described, self._failed, slot="base-card")  # noqa: E731
        self.context.warmth.when_warm(run)

    def _described(self, cards: "tuple[BaseCard, ...]") -> None:
        self.cards, self._looking = cards, False
        self._show()
        self.changed.emit()

    def _failed(self, error: Exception) -> None:
        self._looking = False
        self.problem = str(error) if isinstance(error, KnownError) else tr("This failed.")
        self._show()
        self.changed.emit()
        if not isinstance(error, KnownError):
            self.context.operations.report(error)

    def show_problem(self, text: str) -> None:
        """Say why the base cannot be used for what is asked of it."""
        self.problem = text
        self._show()

    def _show(self) -> None:
        clear(self.facts)
        self.name.setText(self.base_title or tr("What to begin with"))
        restyle(self.verdict, "role", "bad" if self.problem else "good" if self.cards else "muted")
        if self.problem:
            self.verdict.setText(self.problem)
        elif self._looking:
            self.verdict.setText(tr("Looking at it…"))
        elif not self.base:
            self.verdict.setText(
                tr(
                    "Choose a model on the left, or drop a folder here that save_pretrained wrote: {kinds} or another "
                    "that transformers knows. Its weights are read here and never changed.",
                    kinds=KINDS[task_named(self.task).reads_text],
                )
            )
        else:
            n = len(self.cards)
            self.verdict.setText(
                tr("It loads.") if n == 1 else tr("A ladder of {n} models, and every one of them loads.", n=n)
            )
        if len(self.cards) == 1:
            for name, value in facts(self.cards[0]):
                line = FactRow()
                line.show_fact(name, value)
                self.facts.addWidget(line)
        self.table.setVisible(len(self.cards) > 1)
        self.model.set_rows(self.cards if len(self.cards) > 1 else ())
        self.table.fit()

    def _say_hint(self) -> None:
        nothing = self._choices == [] and not self._folders()
        self.hint.setText(
            tr("No model for this task was found on this machine yet. Choose a folder, or train a ladder first.")
            if nothing
            else tr("A folder may also be dropped here.")
        )

    def speak(self) -> None:
        """Say everything in the language in use."""
        self.list.setAccessibleName(tr("Models on this machine"))
        self.choose_folder.setText(tr("Choose a folder…"))
        self.table.setAccessibleName(tr("Models of the ladder"))
        self.model.set_columns(
            [
                Column(tr("Architecture"), lambda c: c.architecture),
                Column(tr("Parameters"), lambda c: f"{c.n_params:,}", number=True),
                Column(tr("Layers"), lambda c: str(c.n_layers), number=True),
                Column(tr("Width"), lambda c: str(c.d_model), number=True),
                Column(tr("On disk"), lambda c: words.size(c.n_bytes), number=True),
            ]
        )
        self._fill()
        self._show()


def facts(card: "BaseCard") -> list[tuple[str, str]]:
    """Name and value of what a card tells of one model."""
    longest = tr("{n:,} tokens", n=card.longest) if card.longest else tr("not limited")
    reads = [(tr("Vocabulary"), tr("{n:,} tokens", n=card.vocab_size)), (tr("Longest text"), longest)]
    if card.image is not None:
        channels, height, width = card.image
        colours = tr("grey") if channels == 1 else tr("colour")
        reads = [(tr("Images"), tr("{h} × {w} pixels, {colours}", h=height, w=width, colours=colours))]
    return [
        (tr("Architecture"), card.architecture),
        (tr("Parameters"), f"{card.n_params:,}"),
        (tr("without embeddings"), f"{card.n_params_non_embedding:,}"),
        (tr("Layers and width"), f"{card.n_layers} × {card.d_model}"),
        *reads,
        (tr("On disk"), words.size(card.n_bytes)),
        (tr("Folder"), _short(card.folder)),
    ]


def _short(folder: Path) -> str:
    """The end of a path that is long."""
    text = str(folder)
    return text if len(text) <= 48 else "…" + text[-47:]
