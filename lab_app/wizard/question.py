"""The question: what to begin from, the study's name and what it asks."""

import re

from PySide6.QtWidgets import QComboBox, QFormLayout, QGroupBox, QLineEdit, QPlainTextEdit

from engine.i18n import mark, tr
from engine.study import StudySpec, builtin_studies, load_study, to_toml_table
from lab_app.context import Context
from lab_app.widgets.basic import column, text_label
from lab_app.wizard import base


class QuestionStep(base.Step):
    """Begin from a built-in study or from a small blank one; everything can be changed afterwards."""

    title = mark("Question")
    icon = "help"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.start = QComboBox()
        self.study_title, self.name = QLineEdit(), QLineEdit()
        self.question = QPlainTextEdit()
        self.question.setTabChangesFocus(True)
        self.question.setMaximumHeight(90)
        self.labels = [text_label() for _ in range(4)]
        self.group = QGroupBox()
        form = QFormLayout()
        for label, editor in zip(self.labels, (self.start, self.study_title, self.name, self.question), strict=True):
            label.setBuddy(editor)
            form.addRow(label, editor)
        self.group.setLayout(form)
        self.setLayout(column(self.group, None))
        self._quiet = True
        self._own_name = False
        self.template: StudySpec | None = None
        for path in builtin_studies():
            self.start.addItem("", path.stem)
        self.start.addItem("", "")
        self.start.insertItem(0, "", None)
        self.study_title.textEdited.connect(self._titled)
        self.name.textEdited.connect(lambda _: self._named())
        self.question.textChanged.connect(self._edited)
        context.language.changed.connect(self._speak)
        self._speak()

    def load(self, table: base.Table) -> None:
        self._quiet = True
        self.study_title.setText(table.get("title", ""))
        self.name.setText(table.get("name", ""))
        self.question.setPlainText(table.get("question", ""))
        self.start.setCurrentIndex(0)
        self._own_name = False
        self._quiet = False

    def store(self, table: base.Table) -> None:
        if self.study_title.text() != table.get("title") or self.question.toPlainText() != table.get("question", ""):
            table.pop("zh_CN", None)  # the translation was of other words
        table["title"] = self.study_title.text()
        table["name"] = self.name.text()
        table["question"] = self.question.toPlainText()

    def table_to_begin_with(self) -> base.Table | None:
        """The table of what is chosen to begin from; None for the draft as it is."""
        chosen = self.start.currentData()
        if chosen is None:
            return None
        return to_toml_table(load_study(chosen)) if chosen else {**base.BLANK}

    def _titled(self, title: str) -> None:
        if not self._own_name:
            self.name.setText(slug(title))
        self._edited()

    def _named(self) -> None:
        self._own_name = True
        self._edited()

    def _edited(self) -> None:
        if not self._quiet:
            self.changed.emit()

    def _speak(self) -> None:
        self.group.setTitle(tr("What do you want to know?"))
        texts = (tr("Begin from"), tr("Title"), tr("Short name"), tr("Question"))
        for label, text in zip(self.labels, texts, strict=True):
            label.setText(text)
            label.buddy().setAccessibleName(text)
        for number in range(self.start.count()):
            name = self.start.itemData(number)
            if name is None:
                self.start.setItemText(number, tr("This draft"))
            elif name:
                self.start.setItemText(number, load_study(name).text("title", self.context.language.name))
            else:
                self.start.setItemText(number, tr("A small blank study"))
        self.name.setToolTip(tr("Lower-case letters, digits and hyphens; it begins the study's id."))


def slug(title: str) -> str:
    """A valid study name from any title; ``study`` where nothing of it can be kept."""
    kept = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return kept[:64].strip("-") or "study"
