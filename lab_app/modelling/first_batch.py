"""The first batch as the model reads it: texts with what only fills them up in grey, images at its size."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtWidgets import QStackedWidget, QTextBrowser, QWidget

from engine.i18n import tr
from lab_app.context import Context
from lab_app.theme import mono_font
from lab_app.widgets.basic import Elided, column
from lab_app.widgets.images import ImageGrid
from lab_app.widgets.samples import picture

Seen = Sequence[Mapping[str, Any]]
"""As ``Task.seen`` gives it: ``image`` and ``label``; or ``text`` with its ``label`` or ``target``, and lengths."""


class FirstBatch(QWidget):
    """Empty until there is something to show."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self._seen: Seen = ()
        self.words = Elided("caption")
        self.texts, self.images = QTextBrowser(), ImageGrid()
        self.texts.setFont(mono_font())
        self.stack = QStackedWidget()
        self.stack.setMinimumHeight(48)
        for part in (self.texts, self.images):
            self.stack.addWidget(part)
        self.setLayout(column(self.words, self.stack, margins=(0, 8, 0, 0)))
        self.layout().setStretch(1, 1)
        context.theme.changed.connect(self.speak)
        self.speak()

    def show_seen(self, seen: Seen) -> None:
        """Show these instead."""
        self._seen = seen
        self.speak()

    def speak(self) -> None:
        """Say everything in the language and colours in use."""
        seen = self._seen
        for part in (self.texts, self.images):
            part.setAccessibleName(tr("First batch"))
        self.stack.setVisible(bool(seen))
        if not seen:
            self.words.setText(tr("How the model reads your data is shown as soon as a base is chosen."))
        elif "image" in seen[0]:
            self.images.show_pictures(map(picture, seen))
            self.stack.setCurrentWidget(self.images)
            self.words.setText(
                tr(
                    "The first {n} images of the first batch, in the size and the colours that the model reads.",
                    n=len(seen),
                )
            )
        else:
            self.texts.setHtml("".join(map(self._paragraph, seen)))
            self.stack.setCurrentWidget(self.texts)
            self.words.setText(
                tr(
                    "The first {n} texts of the first batch as the model reads them: its own pieces put together "
                    "again, special tokens shown, what only fills them up in grey.",
                    n=len(seen),
                )
            )

    def _paragraph(self, one: Mapping[str, Any]) -> str:
        colors = self.context.theme.colors
        label, target = (html.escape(str(one.get(name, ""))) for name in ("label", "target"))
        pads = f"{tr('[padding]')} × {one['padding']}" if one.get("padding") else ""
        head = f"<b style='color:{colors.accent}'>{label}</b> " if label else ""
        learnt = f" <b style='color:{colors.accent}'>{target}</b>" if target else ""
        return (
            f"<p style='margin:0 0 9px 0'>{head}"
            f"<span style='color:{colors.muted}'>{html.escape(tr('{n} tokens', n=one['n_tokens']))}</span><br>"
            f"{html.escape(one['text'])}{learnt} <span style='color:{colors.faint}'>{html.escape(pads)}</span></p>"
        )
