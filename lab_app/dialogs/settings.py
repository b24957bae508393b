"""Settings: the few things that are not better set where they are used."""

from PySide6.QtWidgets import QComboBox, QDialog, QFormLayout, QWidget

from engine.i18n import LANGUAGES, tr
from lab_app.context import Context
from lab_app.theme import MODES
from lab_app.widgets.basic import button, column, row, text_label


class SettingsDialog(QDialog):
    """Changes take effect at once."""

    def __init__(self, context: Context, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Settings"))
        self.language, self.theme = QComboBox(), QComboBox()
        for name, title in LANGUAGES.items():
            self.language.addItem(title, name)
        for name, title in MODES.items():
            self.theme.addItem(tr(title), name)
        self.language.setCurrentIndex(self.language.findData(context.language.name))
        self.theme.setCurrentIndex(self.theme.findData(context.theme.mode))
        home, file = text_label(wrap=True, selectable=True), text_label(wrap=True, selectable=True)
        home.setText(str(context.lab.home))
        file.setText(str(context.settings.path))
        offline = text_label("muted", wrap=True)
        offline.setText(tr("The program makes no network connection."))
        form = QFormLayout()
        form.addRow(tr("Language"), self.language)
        form.addRow(tr("Appearance"), self.theme)
        form.addRow(tr("Data folder"), home)
        form.addRow(tr("Settings file"), file)
        form.addRow(tr("Network"), offline)
        self.language.setAccessibleName(tr("Language"))
        self.theme.setAccessibleName(tr("Appearance"))
        close = button(primary=True)
        close.setText(tr("Close"))
        close.clicked.connect(self.accept)
        self.setLayout(column(form, None, row(None, close), margins=(18, 16, 18, 14)))
        self.resize(520, 260)
