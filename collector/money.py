"""Amounts as SDKs send them, in the minor units of their currency: exact, without binary floats."""

import re
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from streams.currencies import CURRENCIES

_WHOLE: Final = ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF")
_THOUSANDTHS: Final = ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")
_TEN_THOUSANDTHS: Final = ("CLF", "UYW")
EXPONENTS: Final[dict[str, int]] = {
    **dict.fromkeys(_WHOLE, 0),
    **dict.fromkeys(_THOUSANDTHS, 3),
    **dict.fromkeys(_TEN_THOUSANDTHS, 4),
}
"""Decimals of a currency by ISO 4217 (https://www.six-group.com/en/products-services/financial-information/data-standards.html); 2 where not listed."""
NUMBER: Final = re.compile(r"\d{1,15}(\.\d{1,40})?")
"""A number written as a text."""
MOST: Final = 10**12


def minor_units(amount: Any, currency: str) -> int | None:
    """An amount in units of a currency (number or text) in its minor units, exactly; half a minor unit and more is rounded up,
    because sums of JavaScript look like 58.230000000000004. None for what is no amount, and for negative ones."""
    if isinstance(amount, str):
        amount = Decimal(amount) if NUMBER.fullmatch(amount) else None
    elif isinstance(amount, float):
        amount = Decimal(repr(amount))
    if isinstance(amount, bool) or not isinstance(amount, int | Decimal) or not 0 <= amount <= MOST:
        return None
    exponent = EXPONENTS.get(currency, 2)
    minor = int(Decimal(amount).quantize(Decimal(1).scaleb(-exponent), ROUND_HALF_UP).scaleb(exponent))
    return minor if minor <= MOST else None


def currency_of(properties: Mapping[str, Any]) -> str | None:
    """Its currency in capitals; None where there is none, or none that is known."""
    said = properties.get("currency")
    currency = said.strip().upper() if isinstance(said, str) else ""
    return currency if currency in CURRENCIES else None
