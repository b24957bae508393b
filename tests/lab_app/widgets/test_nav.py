"""The chain of pages gives way as the window narrows."""

from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from lab_app.widgets.nav import Nav

PAGES = ("Home", "Data", "Train", "Monitor", "Samples")
BESIDE = Qt.ToolButtonStyle.ToolButtonTextBesideIcon


def nav(qtbot: QtBot) -> Nav:
    made = Nav()
    qtbot.addWidget(made)
    for name in PAGES:
        made.add(name).setText(name)
    made.check("Train")
    made.show()
    return made


def words(made: Nav) -> list[str]:
    return [name for name, button in made.buttons.items() if button.toolButtonStyle() == BESIDE]


def test_arrows_go_first_and_then_words_of_pages_out_of_view(qtbot: QtBot) -> None:
    made = nav(qtbot)
    made.resize(900, 50)
    arrows = made._arrows
    assert all(arrow.isVisible() for arrow in arrows) and words(made) == list(PAGES)
    made.resize(made.sizeHint().width() - 1, 50)
    assert not any(arrow.isVisible() for arrow in arrows) and words(made) == list(PAGES)
    made.resize(made.minimumSizeHint().width() + 40, 50)
    assert words(made) == ["Train"]
    made.check("Home")
    assert words(made) == ["Home"]
    made.resize(900, 50)
    assert words(made) == list(PAGES)
