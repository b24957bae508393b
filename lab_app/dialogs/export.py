"""Export a figure: style, formats, folder; what is previewed is what the exporter writes."""

import tempfile
from pathlib import Path

from PySide6.QtCore import QSize, Qt, QUrl
from PySide6.QtGui import QDesktopServices, QPixmap, QResizeEvent
from PySide6.QtWidgets import QCheckBox, QComboBox, QDialog, QFileDialog, QFormLayout, QLabel, QLineEdit, QWidget

from engine.errors import KnownError
from engine.figures.builders import TITLES
from engine.i18n import mark, tr
from lab_app.context import Context
from lab_app.widgets.basic import button, column, row, text_label

FORMATS = {"svg": "SVG", "pdf": "PDF", "png": "PNG (300 dpi)", "csv": "CSV"}
STYLES = {"paper": mark("Paper column"), "slide": mark("Slide"), "dark": mark("Dark slide")}


class ExportDialog(QDialog):
    """Writes one figure in one or more formats, with its provenance inside each file."""

    def __init__(self, context: Context, figure: str, options: dict[str, object], parent: QWidget) -> None:
        super().__init__(parent)
        self._context = context
        self._study = context.selection.study
        self._options = {figure: options}
        self._picture = QPixmap()
        self.setWindowTitle(tr("Export figure"))
        self.figure, self.style_box = QComboBox(), QComboBox()
        for name, title in TITLES.items():
            self.figure.addItem(tr(title), name)
        self.figure.setCurrentIndex(max(0, self.figure.findData(figure)))
        settings = context.settings
        for name in _styles():
            self.style_box.addItem(tr(STYLES.get(name, name)), name)
        self.style_box.setCurrentIndex(max(0, self.style_box.findData(settings.text("export/style", "paper"))))
        self.formats = {suffix: QCheckBox(title) for suffix, title in FORMATS.items()}
        chosen = settings.texts("export/formats") or ["svg", "png"]
        for suffix, box in self.formats.items():
            box.setChecked(suffix in chosen)
        self.folder = QLineEdit(settings.text("export/folder") or str(Path.home()))
        self.file = QLineEdit(self._default_name())
        self.preview = QLabel()
        self.preview.setMinimumSize(380, 270)
        self.preview.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.preview.setAccessibleName(tr("Preview"))
        self.said = text_label("muted", wrap=True, selectable=True)
        self.write, self.close_button, self.show_folder = button(primary=True), button(), button()
        self._lay_out()
        self._render()

    def _lay_out(self) -> None:
        browse = button()
        browse.setText(tr("Choose…"))
        browse.clicked.connect(lambda _: self._browse())
        form = QFormLayout()
        form.addRow(tr("Figure"), self.figure)
        form.addRow(tr("Style"), self.style_box)
        form.addRow(tr("Formats"), row(*self.formats.values(), None))
        form.addRow(tr("Folder"), row(self.folder, browse))
        form.addRow(tr("File name"), self.file)
        for widget, name in ((self.figure, tr("Figure")), (self.style_box, tr("Style")), (self.folder, tr("Folder"))):
            widget.setAccessibleName(name)
        self.file.setAccessibleName(tr("File name"))
        self.write.setText(tr("Export"))
        self.write.setDefault(True)
        self.close_button.setText(tr("Close"))
        self.show_folder.setText(tr("Open folder"))
        self.show_folder.hide()
        buttons = row(self.show_folder, None, self.close_button, self.write)
        self.setLayout(column(self.preview, form, self.said, buttons, spacing=10, margins=(16, 16, 16, 14)))
        self.layout().setStretch(0, 1)
        self.resize(560, 620)
        self.figure.currentIndexChanged.connect(lambda _: self._figure_chosen())
        self.style_box.currentIndexChanged.connect(lambda _: self._render())
        self.write.clicked.connect(lambda _: self._export())
        self.close_button.clicked.connect(self.reject)
        folder = self.folder
        self.show_folder.clicked.connect(lambda _: QDesktopServices.openUrl(QUrl.fromLocalFile(folder.text())))

    def _default_name(self) -> str:
        study = self._study or "study"
        return f"{study}-{self.figure.currentData()}"

    def _figure_chosen(self) -> None:
        self.file.setText(self._default_name())
        self._render()

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, tr("Folder"), self.folder.text())
        if folder:
            self.folder.setText(folder)

    def _making(self) -> "tuple[str, str, dict[str, object], str]":
        name = self.figure.currentData()
        return self._study, name, self._options.get(name, {}), self.style_box.currentData()

    def _render(self) -> None:
        study, name, options, style = self._making()
        reader = self._context.reader()

        def work() -> bytes:
            from engine.figures.builders import build
            from engine.figures.export import export  # loads matplotlib

            with tempfile.TemporaryDirectory() as folder:
                path = export(build(reader, name, study, **options), Path(folder) / "preview.png", style)
                return path.read_bytes()

        self.said.setText(tr("Drawing…"))
        self.write.setEnabled(False)
        self._context.jobs.run(work, self._show_preview, self._failed, slot="export-preview")

    def _show_preview(self, png: bytes) -> None:
        self._picture.loadFromData(png)
        self.said.setText(tr("Each file says inside which study, runs and data it comes from."))
        self.write.setEnabled(True)
        self._fit_preview()

    def _fit_preview(self) -> None:
        if self._picture.isNull():
            return
        ratio = self.devicePixelRatioF()
        room = QSize(round(self.preview.width() * ratio), round(self.preview.height() * ratio))
        modes = (Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation)
        fitted = self._picture.scaled(room, *modes)
        fitted.setDevicePixelRatio(ratio)
        self.preview.setPixmap(fitted)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit_preview()

    def _export(self) -> None:
        study, name, options, style = self._making()
        chosen = [suffix for suffix, box in self.formats.items() if box.isChecked()]
        folder, stem = Path(self.folder.text()).expanduser(), self.file.text().strip() or self._default_name()
        if not chosen:
            self.said.setText(tr("Choose at least one format."))
            return
        for key, value in (("style", style), ("formats", chosen), ("folder", str(folder))):
            self._context.settings.put(f"export/{key}", value)
        reader = self._context.reader()

        def work() -> list[Path]:
            from engine.figures.builders import build
            from engine.figures.export import export

            figure = build(reader, name, study, **options)
            return [export(figure, folder / f"{stem}.{suffix}", style) for suffix in chosen]

        self.write.setEnabled(False)
        self.said.setText(tr("Writing…"))
        self._context.jobs.run(work, self._written, self._failed)

    def _written(self, paths: list[Path]) -> None:
        self.write.setEnabled(True)
        self.show_folder.show()
        self.said.setText(tr("Written: {files}", files=", ".join(path.name for path in paths)))

    def _failed(self, error: Exception) -> None:
        self.write.setEnabled(True)
        self.said.setText(str(error))
        if not isinstance(error, KnownError):
            self._context.operations.report(error)


def _styles() -> list[str]:
    from engine.figures.style import styles

    order = list(STYLES)
    return sorted(styles(), key=lambda name: order.index(name) if name in order else len(order))
