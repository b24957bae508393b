"""Which column of a table is what: a box for every field of the source that names one."""

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QGridLayout, QLabel, QWidget

from engine.i18n import mark, tr
from engine.sources._label_columns import Columns
from engine.sources.base import Source
from lab_app.widgets.basic import text_label
from lab_app.widgets.form import titled_fields

LABEL, SPLIT = "label", "split"
NONE = {SPLIT: mark("split here")}
"""What stands for no column, where it is not plainly none."""
PER_ROW = 2


class ColumnBoxes(QWidget):
    """The fields come from the source, as ``guess`` names them; those that may be empty can be none."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        """Field -> what it is called, in English."""
        self.optional: set[str] = set()
        self.boxes: dict[str, QComboBox] = {}
        self.labels: dict[str, QLabel] = {}
        self._quiet = False
        self.grid = QGridLayout()
        self.grid.setContentsMargins(0, 0, 0, 0)
        self.grid.setHorizontalSpacing(10)
        self.grid.setVerticalSpacing(6)
        for number in range(PER_ROW):
            self.grid.setColumnStretch(2 * number + 1, 1)
        self.setLayout(self.grid)

    def set_source(self, source: Source) -> None:
        """Other fields; none where the source reads no tables."""
        for widget in (*self.boxes.values(), *self.labels.values()):
            widget.deleteLater()
        reads: Any = source
        names = list(reads.guess(Columns((), ()))) if hasattr(source, "guess") else []
        specs = titled_fields(source.Spec)
        names.sort(key=list(specs).index)
        self.fields = {name: specs[name][0] for name in names}
        self.optional = {name for name in names if not specs[name][1]}
        self.boxes, self.labels = {n: QComboBox() for n in names}, {n: text_label() for n in names}
        for place, (name, box) in enumerate(self.boxes.items()):
            box.setMinimumContentsLength(8)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.currentIndexChanged.connect(lambda _: self._quiet or self.changed.emit())
            self.grid.addWidget(self.labels[name], place // PER_ROW, 2 * (place % PER_ROW))
            self.grid.addWidget(box, place // PER_ROW, 2 * (place % PER_ROW) + 1)

    def show_columns(self, names: Sequence[str], guessed: Mapping[str, str], *, guess: bool) -> None:
        """Offer these, with what is guessed chosen, or, without ``guess``, what was chosen before."""
        before = {name: box.currentData() for name, box in self.boxes.items()}
        self._quiet = True
        for name, box in self.boxes.items():
            box.clear()
            if name in self.optional:
                box.addItem(tr(NONE.get(name, mark("none"))), "")
            for column_name in names:
                box.addItem(column_name, column_name)
            kept = before[name] if not guess and before[name] in names else guessed.get(name)
            box.setCurrentIndex(max(box.findData(kept), 0 if name in self.optional else -1))
        self._quiet = False

    def values(self) -> dict[str, str]:
        """Field -> column of what is chosen."""
        return {name: box.currentData() for name, box in self.boxes.items() if box.currentData()}

    def missing(self) -> str:
        """A sentence about the first field that needs a column and has none; empty where all have theirs.

        Where an optional one takes their place, as a text that of prompt and response, none is missed.
        """
        chosen = self.values()
        replaced = any(name in chosen for name in self.optional - {SPLIT})
        lacking = [name for name in self.fields if name not in chosen and name not in self.optional]
        if not lacking or (replaced and len(lacking) == len(self.fields) - len(self.optional)):
            return ""
        return tr("No column looks right for “{role}”. Choose the one that it is.", role=tr(self.fields[lacking[0]]))

    def places(self, names: Sequence[str]) -> list[tuple[int, str]]:
        """Number and title of every chosen column, the label first: texts are long."""
        chosen = self.values()
        ordered = sorted(self.fields, key=lambda name: name != LABEL)
        return [(names.index(chosen[n]), tr(self.fields[n])) for n in ordered if chosen.get(n) in names]

    def speak(self) -> None:
        """Say everything in the language in use."""
        for name, title in self.fields.items():
            self.labels[name].setText(tr(title))
            self.labels[name].setBuddy(self.boxes[name])
            self.boxes[name].setAccessibleName(tr(title))
            if name in self.optional and self.boxes[name].count():
                self.boxes[name].setItemText(0, tr(NONE.get(name, mark("none"))))
