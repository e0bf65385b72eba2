"""How numbers read, the same on pages and in the terminal: 1.33 M weights, 0.24 %, 22.3 GB, 4 min 12 s.

Three significant digits, decimal prefixes (1 GB = 10⁹ bytes), a space before the unit, `–` for what is unknown.
"""

from __future__ import annotations

import math
from typing import TypeGuard

UNKNOWN = "–"
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def weights(count: float | None) -> str:
    """A number of weights: 1,536 up to 9,999, then 73.7 k, 1.33 M, 6.74 G."""
    if not _known(count):
        return UNKNOWN
    return f"{count:,.0f}" if abs(count) < 9_999.5 else _prefixed(count)


def percent(value: float | None) -> str:
    """A share in percent (0.24 → `0.24 %`): two decimals, or two significant digits where it is smaller."""
    if not _known(value):
        return UNKNOWN
    if value == 0 or abs(value) >= 0.1:
        return f"{value:.2f}".rstrip("0").rstrip(".") + " %"
    return f"{_plain(value, 2)} %"


def memory(count: float | None, digits: int = 3) -> str:
    """Bytes: 812 B, 64.2 kB, 22.3 GB."""
    if not _known(count):
        return UNKNOWN
    return f"{count:.0f} B" if abs(count) < 999.5 else f"{_prefixed(count, digits)}B"


def energy(joules: float | None) -> str:
    """Joules: 812 J, 1.24 kJ, 3.60 MJ."""
    if not _known(joules):
        return UNKNOWN
    return f"{joules:.0f} J" if abs(joules) < 999.5 else f"{_prefixed(joules)}J"


def mass(kilograms: float | None) -> str:
    """A mass in grams: 0.12 g, 41.2 g, 3.40 kg."""
    if not _known(kilograms):
        return UNKNOWN
    grams = kilograms * 1000
    return f"{_prefixed(grams)}g" if grams >= 999.5 else f"{_plain(grams, 2) if 0 < grams < 1 else _three(grams)} g"


def duration(seconds: float | None) -> str:
    """A time span: 0.8 s, 42 s, 4 min 12 s, 1 h 03 min, 2 d 4 h."""
    if not _known(seconds):
        return UNKNOWN
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def about(seconds: float | None) -> str:
    """A time that is estimated, rounded to what can be known of it: 10 s, 40 s, 3 min, 25 min, 1 h 20 min, 7 h, 2 d."""
    if not _known(seconds):
        return UNKNOWN
    for most, step, size, unit in ((55, 10, 1, "s"), (585, 60, 60, "min"), (3450, 300, 60, "min")):
        if seconds < most:
            return f"{max(step, step * math.floor(seconds / step + 0.5)) // size} {unit}"
    if seconds < 5 * 3600:
        tens = math.floor(seconds / 600 + 0.5)
        return f"{tens // 6} h" + (f" {tens % 6 * 10} min" if tens % 6 else "")
    return f"{math.floor(seconds / 3600 + 0.5)} h" if seconds < 47.5 * 3600 else f"{math.floor(seconds / 86400 + 0.5)} d"


def number(value: float | None, digits: int = 4) -> str:
    """Any other number with `digits` significant digits: 0.7873, 0.001, 2e-05, 128, 12,345."""
    if not _known(value):
        return UNKNOWN
    if isinstance(value, int) or float(value).is_integer() and abs(value) < 1e9:
        return f"{int(value):,}"
    if 1e-4 <= abs(value) < 1e9:
        return f"{value:,.0f}" if abs(value) >= 10**digits else _plain(value, digits)
    return f"{value:.{digits}g}"


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and (not isinstance(value, float) or math.isfinite(value))


def _prefixed(value: float, digits: int = 3) -> str:
    for size, prefix in _PREFIXES:
        if abs(value) >= size * 0.9995:
            return f"{_three(value / size, digits)} {prefix}"
    return f"{_three(value, digits)} "


def _three(value: float, digits: int = 3) -> str:
    whole = len(str(int(abs(value) + 0.5))) if abs(value) >= 99.95 else len(str(int(abs(value) + 0.05))) if abs(value) >= 9.995 else 1
    return f"{value:.{max(0, digits - whole)}f}"


def _plain(value: float, digits: int) -> str:
    """Significant digits without an exponent and without trailing zeros."""
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
