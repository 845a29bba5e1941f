"""Phone numbers in folded text, found by `phonenumbers` (Google's libphonenumber) and by words.

Amounts, and numbers of orders and the like, look alike: the characters around them decide.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress

from graphs.memory.extras import extra
from graphs.memory.redaction.findings import Finding, merged, text_before, without

with extra("server"):
    import phonenumbers

REGIONS = phonenumbers.SUPPORTED_REGIONS
"""ISO 3166 codes of the countries whose phone numbers are known."""

_DIGIT = re.compile(r"\d")
_RUN = re.compile(r"\d(?:[ ()./+-]{0,4}\d)*+")
_PHONE_NAMED = re.compile(
    r"""\b(?:(?:tele)?phones?|tel[eé]fonos?|telefone|tels?|fonos?|cel(?:ular(?:es)?|u)?|cell|mobile
      |m[oó]vil(?:es)?|landline|whats?app|wsp|fax|sms|call|ring|dial|ll[aá]m[ae]\w{0,6}
      |(?:contact|my)\ number|n[uú]mero\ de\ contacto)\b
    [^\d\n+(;!?]{0,24}
    (?P<value>\+?\(?\d(?:[ ().-]{0,3}\d){6,14})(?![\w]|[.-]\d)""",
    re.VERBOSE | re.IGNORECASE,
)
_NO_PHONE = re.compile(
    r"""(?:\b(?:orders?|pedidos?|invoices?|facturas?|boletas?|tickets?|ref(?:erence|erencia)?|folio
      |serial|serie|tracking|seguimiento|parts?|sku|id|case|caso|batch|lote|version|total|sum|suma
      |price|precio|amount|monto|loan|pr[eé]stamo|clp|usd|eur|gbp|mxn|cop|ars|brl|r\$|population
      |poblaci[oó]n|zip|postal|c\.?p\.?|timestamp|isbn|gtin|ean|modelo?)\b|[$€£#])
    (?:[ ._]?(?:id|n[uú]m(?:ber|ero)?|no|nr|n[º°]|of|de|del|code|c[oó]digo))?
    [ .:=\#º°-]{0,3}(?:is|es|was)?[ ]?$""",
    re.VERBOSE | re.IGNORECASE,
)
_INTERNATIONAL = re.compile(r"(?<!\w)\+ ?\(?\d(?:[ ().-]{0,3}\d){7,14}(?!\w|[.-]\d)")
_AREA = re.compile(r"\(\d{1,5}\) ?$")
_AMOUNT = re.compile(r"\d{1,3}(?:\.\d{3}){1,4}")
_INCREASE = re.compile(r"\+ ?\d{1,3}(?:([ .])\d{3})(?:\1\d{3}){1,3}")
_UNIT = re.compile(
    r" ?(?:[%€$£]|(?:clp|usd|eur|pesos|euros?|d[oó]lares|dollars?|uf|units?|unidades|pieces|steps"
    r"|pasos|rows|items|people|personas|habitantes|tokens|bytes|[km]?b|k?m|kg|ms|seconds?|segundos"
    r"|years?|a[nñ]os|times|veces|votes|"
    r"votos)\b)",
    re.IGNORECASE,
)


def find_phones(text: str, regions: Sequence[str]) -> Iterator[Finding]:
    """Return the phone numbers in a folded text.

    Args:
        text: the text without values that look like phone numbers, such as cards and dates.
        regions: ISO 3166 codes of the countries whose numbers are recognised without a country
            code.
    """
    runs = [(run.span(), len(_DIGIT.findall(run[0])) >= 7) for run in _RUN.finditer(text)]
    if not any(is_long for _, is_long in runs):
        return
    text = without(text, [span for span, is_long in runs if not is_long])
    for region in (None, *regions):
        found = list(_matches(text, region))
        yield from found
        text = without(text, [(start, end) for (_, start, end), _ in merged(text, found)])
    # Invented and mistyped numbers belong to no country. They count if the words call them phones.
    for match in _INTERNATIONAL.finditer(text):
        if _is_increase(text, *match.span()):
            continue
        if " " in match[0] or not _UNIT.match(text, match.end()):
            yield Finding("phone", *match.span())
    for match in _PHONE_NAMED.finditer(text):
        if not _NO_PHONE.search(text_before(text, match.start("value"), 40)):
            yield Finding("phone", *match.span("value"))


def _matches(text: str, region: str | None) -> Iterator[Finding]:
    """Return numbers with a country code if `region` is None, else numbers of that country."""
    if region is None and "+" not in text:
        return
    leniency = phonenumbers.Leniency.VALID if region else phonenumbers.Leniency.POSSIBLE
    for match in phonenumbers.PhoneNumberMatcher(text, region, leniency, max_tries=len(text)):
        is_other = _is_something_else if region else _is_increase
        if not is_other(text, match.start, match.end):
            area = _AREA.search(text_before(text, match.start, 10))
            yield Finding("phone", match.start - len(area[0] if area else ""), match.end)


def _is_increase(text: str, start: int, end: int) -> bool:
    """Return whether a number after a plus is an amount in thousands, such as `+100 000 000`.

    Phone numbers are written in the same groups. So a unit must follow, or the number ends in
    zeros and belongs to no country.
    """
    if not _INCREASE.fullmatch(text, start, end):
        return False
    if _UNIT.match(text, end):
        return True
    with suppress(phonenumbers.NumberParseException):
        number = phonenumbers.parse(text[start:end])
        return text[end - 3 : end] == "000" and not phonenumbers.is_valid_number(number)
    return True


def _is_something_else(text: str, start: int, end: int) -> bool:
    """Return whether digits are rather an amount or, for example, the number of an order."""
    if _NO_PHONE.search(text_before(text, start, 40)) or _UNIT.match(text, end):
        return True
    return _AMOUNT.fullmatch(text, start, end) is not None


def phone_number(value: str, regions: Sequence[str]) -> str:
    """Return a phone number in E.164 form, or its digits if it belongs to no known country."""
    for region in (None, *regions):
        with suppress(phonenumbers.NumberParseException):
            number = phonenumbers.parse(value, region)
            if region is None or phonenumbers.is_valid_number(number):
                return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return "".join(_DIGIT.findall(value))
