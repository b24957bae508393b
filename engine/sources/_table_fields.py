"""Fields that every table with training, validation and test rows has: how it is read, split and cut."""

from typing import Annotated, Literal, Protocol

import msgspec

from engine.i18n import mark

SplitColumn = Annotated[
    str,
    msgspec.Meta(
        title=mark("Split column"),
        description=mark("Says train, validation or test for each row; without one the rows are split here"),
    ),
]
GroupColumn = Annotated[
    str,
    msgspec.Meta(
        title=mark("Group column"),
        description=mark(
            "Rows with the same value stay on one side of the split, as parts of one document; in CoNLL files any word "
            "here does that for the documents that -DOCSTART- divides"
        ),
    ),
]
Header = Annotated[
    bool,
    msgspec.Meta(
        title=mark("Header"), description=mark("Whether the first row of .csv and .tsv holds names, not a text")
    ),
]
Encoding = Annotated[
    Literal["utf-8", "gb18030", "big5", "shift_jis", "cp1252"],
    msgspec.Meta(
        title=mark("Encoding"),
        description=mark("Of files that are not UTF-8 and have no byte order mark; UTF-8 stops at them"),
    ),
]
SkipBad = Annotated[
    bool,
    msgspec.Meta(
        title=mark("Skip bad data"),
        description=mark("Leave out files and rows that cannot be read and list them, instead of stopping"),
    ),
]
ValidationShare = Annotated[
    float,
    msgspec.Meta(
        title=mark("Validation share"),
        description=mark("Share of the rows that early stopping and the best model go by"),
        gt=0,
        le=0.4,
    ),
]
TestShare = Annotated[
    float,
    msgspec.Meta(
        title=mark("Test share"),
        description=mark("Share of the rows that results are measured on, and nothing else"),
        gt=0,
        le=0.5,
    ),
]
SplitSeed = Annotated[
    int, msgspec.Meta(title=mark("Split seed"), description=mark("Another seed is another split"), ge=0)
]
LongestText = Annotated[
    int,
    msgspec.Meta(title=mark("Longest text"), description=mark("Tokens that a text is cut to"), ge=4, le=131_072),
]
DocumentStrings = Annotated[
    int,
    msgspec.Meta(
        title=mark("Documentation strings"),
        description=mark("How many where no file is given, as many of each package"),
        ge=160,
        le=8_000,
    ),
]
TokenizerFolder = Annotated[
    str,
    msgspec.Meta(title=mark("Tokenizer"), description=mark("Folder of a tokenizer; by default it is that of the base")),
]


class SplitTable(Protocol):
    """A Spec that has these fields, and a path."""

    @property
    def path(self) -> str: ...

    @property
    def split(self) -> str: ...

    @property
    def header(self) -> bool: ...

    @property
    def encoding(self) -> str: ...

    @property
    def validation_fraction(self) -> float: ...

    @property
    def test_fraction(self) -> float: ...

    @property
    def split_seed(self) -> int: ...
