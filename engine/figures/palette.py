"""Colours that keep apart in print, in grey and for the colour-blind."""

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe & Ito 2008, for categories; its yellow and black are left out (one cannot be seen on white, one on black)."""

# viridis at ninths, from matplotlib's table (van der Walt & Smith, CC0); linear between them.
_VIRIDIS = (
    (0x44, 0x01, 0x54),
    (0x48, 0x28, 0x78),
    (0x3E, 0x4A, 0x89),
    (0x31, 0x68, 0x8E),
    (0x26, 0x83, 0x8E),
    (0x1F, 0x9E, 0x89),
    (0x35, 0xB7, 0x79),
    (0x6D, 0xCD, 0x59),
    (0xB4, 0xDE, 0x2C),
    (0xFD, 0xE7, 0x25),
)


def ordered(shade: float, lowest: float = 0.0, highest: float = 0.86) -> str:
    """``#rrggbb`` for ``shade`` in 0..1 on the part of viridis between ``lowest`` and ``highest``."""
    place = (lowest + (highest - lowest) * min(1.0, max(0.0, shade))) * (len(_VIRIDIS) - 1)
    left = min(int(place), len(_VIRIDIS) - 2)
    part = place - left
    mixed = (round(a + (b - a) * part) for a, b in zip(_VIRIDIS[left], _VIRIDIS[left + 1], strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
