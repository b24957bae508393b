"""Pairs of texts out of the CLDR data that come with ``babel``: what one locale writes, and what another does.

Names are entries of CLDR as they stand. Dates, numbers, amounts and quantities are values drawn here and formatted by
the rules and words of each locale.
"""

import datetime
import itertools
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import numpy as np
from babel import Locale
from babel.dates import format_date, format_skeleton
from babel.numbers import format_compact_decimal, format_currency, format_decimal, format_percent
from babel.units import format_unit

Language = Literal["en", "zh", "fr", "de", "es", "it", "pt", "ru", "ja", "ko"]
KINDS = ("dates", "numbers", "currencies", "units", "names")

DATE_STYLES = ("full", "long", "medium", "weekday")
"""Of September 24, 2025: Wednesday, September 24, 2025; September 24, 2025; Sep 24, 2025; Wed, Sep 24, 2025."""
CURRENCIES = (
    "USD EUR CNY JPY GBP CHF CAD AUD NZD SEK NOK DKK INR KRW BRL MXN RUB ZAR TRY PLN CZK HUF ILS THB SGD HKD TWD IDR "
    "MYR PHP VND SAR AED EGP NGN KES ARS CLP COP PEN"
).split()
"""Whose amounts are written; their names are never held out, since amounts hold them too."""
AMOUNT_STYLES: tuple[Literal["name", "standard"], ...] = ("standard", "name")
OOD_YEARS = 50
"""Years before the first and after the last of training that are asked out of distribution."""
OOD_DIGITS = 2
"""Digits that numbers have more out of distribution."""
PROBES = tuple(Decimal(text) for text in ("0", "1", "2", "5", "11", "21", "1.5", "1234567.89", "3000000", "2e9"))
"""Values that bring out every separator and plural form."""


class Pair(NamedTuple):
    """One pair. Pairs of one ``key`` are always in one split."""

    kind: int
    key: str
    source: str
    target: str


Draw = Callable[[np.random.Generator, int, bool], Iterator[Pair]]
"""Pairs from a generator of random numbers, how many, and whether out of distribution."""


class Cldr:
    """Pairs of two languages. Values are drawn up to ``digits`` digits and from ``first_year`` to ``last_year``."""

    def __init__(self, source: str, target: str, first_year: int, last_year: int, digits: int) -> None:
        self._locales = (Locale.parse(source), Locale.parse(target))
        self._years = (first_year, last_year)
        self._digits = digits
        self.drawn: dict[str, Draw] = {
            "dates": self.dates,
            "numbers": self.numbers,
            "currencies": self.currencies,
            "units": self.units,
        }

    def dates(self, rng: np.random.Generator, n: int, ood: bool) -> Iterator[Pair]:
        """Days in four styles; out of distribution of years beside those of training."""
        first, last = (datetime.date(y, 1, 1).toordinal() for y in (self._years[0], self._years[1] + 1))
        before, after = (datetime.date(y, 1, 1).toordinal() for y in self._far_years())
        days = rng.integers(first, last, n)
        if ood:
            # The days outside, as if nothing lay between them.
            days = rng.integers(before, after - (last - first), n)
            days = np.where(days >= first, days + last - first, days)
        for number, style in zip(days, rng.integers(0, len(DATE_STYLES), n), strict=True):
            day = datetime.date.fromordinal(int(number))
            yield self._pair("dates", day.isoformat(), date_text, day, DATE_STYLES[style])

    def numbers(self, rng: np.random.Generator, n: int, ood: bool) -> Iterator[Pair]:
        """Plain, in words (three digits that count: 1.23 million), and per cent."""
        for value, way in zip(self._values(rng, n, ood), rng.integers(0, 3, n), strict=True):
            yield self._number(value, ("plain", "words", "per cent")[way])

    def currencies(self, rng: np.random.Generator, n: int, ood: bool) -> Iterator[Pair]:
        """Amounts of money with the currency's name or its sign."""
        which, styles = rng.integers(0, len(CURRENCIES), n), rng.integers(0, 2, n)
        for value, code, style in zip(self._values(rng, n, ood), which, styles, strict=True):
            yield self._pair("currencies", _key(value), amount_text, value, CURRENCIES[code], AMOUNT_STYLES[style])

    def units(self, rng: np.random.Generator, n: int, ood: bool) -> Iterator[Pair]:
        """Quantities with the names of their units."""
        known = self.unit_names()
        for value, which in zip(self._values(rng, n, ood), rng.integers(0, len(known), n), strict=True):
            yield self._pair("units", _key(value), quantity_text, value, known[which])

    def names(self) -> Iterator[Pair]:
        """Names of countries, regions, languages and currencies, each entry once."""
        a, b = self._locales
        for table in ("territories", "languages", "currencies"):
            there, here = getattr(a, table), getattr(b, table)
            for code in sorted(set(there) & set(here)):
                key = "" if code in CURRENCIES else there[code].lower()
                yield Pair(KINDS.index("names"), key, there[code], here[code])

    def unit_names(self) -> list[str]:
        """Units that both locales have long words for, in every plural form."""
        return [u for u in sorted(self._locales[0].unit_display_names) if all(self._has(u, x) for x in self._locales)]

    def probe(self, kinds: Iterable[str]) -> Iterator[Pair]:
        """A few pairs that together hold every character that pairs of these kinds can have."""
        for kind in kinds:
            if kind == "dates":
                new_year = datetime.date(self._years[0], 1, 1).toordinal()
                days = (datetime.date.fromordinal(new_year + n) for n in range(366))
                yield from (self._pair(kind, "", date_text, *both) for both in itertools.product(days, DATE_STYLES))
            elif kind == "numbers":
                values = [Decimal(m * 10**e) for m in (1, 2, 5, 21, 123) for e in range(13)]
                yield from (self._pair(kind, "", compact_text, value) for value in values)
                for write in (plain_text, percent_text):
                    yield from (self._pair(kind, "", write, value) for value in PROBES)
            elif kind == "currencies":
                for all_three in itertools.product(PROBES, CURRENCIES, AMOUNT_STYLES):
                    yield self._pair(kind, "", amount_text, *all_three)
            elif kind == "units":
                for both in itertools.product(PROBES, self.unit_names()):
                    yield self._pair(kind, "", quantity_text, *both)
            else:
                yield from self.names()

    def _far_years(self) -> tuple[int, int]:
        return max(1, self._years[0] - OOD_YEARS), min(9_998, self._years[1] + OOD_YEARS) + 1

    def _values(self, rng: np.random.Generator, n: int, ood: bool) -> Iterator[Decimal]:
        """Numbers of evenly many digits before the point and up to two after it."""
        low, high = (self._digits + 1, self._digits + OOD_DIGITS) if ood else (1, self._digits)
        for digits, places in zip(rng.integers(low, high + 1, n), rng.integers(0, 3, n), strict=True):
            scale = 10 ** int(places)
            yield Decimal(int(rng.integers(10 ** (int(digits) - 1) * scale, 10 ** int(digits) * scale))) / scale

    def _number(self, value: Decimal, way: str) -> Pair:
        whole = int(value)
        if way == "words" and whole >= 1_000:
            value = Decimal(int(f"{whole}"[:3]) * 10 ** (len(f"{whole}") - 3))
            return self._pair("numbers", _key(value), compact_text, value)
        if way == "per cent":
            return self._pair("numbers", _key(Decimal(whole)), percent_text, Decimal(whole))
        return self._pair("numbers", _key(value), plain_text, value)

    def _pair(self, kind: str, key: str, write: Callable[..., str], *what: Any) -> Pair:
        source, target = (write(locale, *what) for locale in self._locales)
        return Pair(KINDS.index(kind), key, source, target)

    def _has(self, unit: str, locale: Locale) -> bool:
        patterns = locale._data["unit_patterns"].get(unit, {}).get("long", {})  # noqa: SLF001 - as format_unit reads it
        return "other" in patterns


def date_text(locale: Locale, day: datetime.date, style: str) -> str:
    """A day as the locale writes it in one of ``DATE_STYLES``."""
    if style == "weekday":
        return str(format_skeleton("yMMMEd", day, locale=locale))
    return str(format_date(day, style, locale=locale))


def plain_text(locale: Locale, value: Decimal) -> str:
    """A number in digits."""
    return str(format_decimal(value, locale=locale))


def percent_text(locale: Locale, value: Decimal) -> str:
    """So many per cent."""
    return str(format_percent(value / 100, locale=locale))


def compact_text(locale: Locale, value: Decimal) -> str:
    """A number in words where CLDR has them, else with the short sign: East Asian locales have only one of the two."""
    kind: Literal["long", "short"] = "long" if "long" in locale.compact_decimal_formats else "short"
    return str(format_compact_decimal(value, format_type=kind, locale=locale, fraction_digits=2))


def amount_text(locale: Locale, value: Decimal, code: str, style: Literal["name", "standard"]) -> str:
    """An amount of money with the name of the currency or its sign."""
    return str(format_currency(value, code, locale=locale, format_type=style))


def quantity_text(locale: Locale, value: Decimal, unit: str) -> str:
    """A number and the long name of a unit."""
    return str(format_unit(value, unit, "long", locale=locale))


def _key(value: Decimal) -> str:
    return f"{value.normalize():f}"
