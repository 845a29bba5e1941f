"""Identifiers of persons and accounts in folded text.

These are e-mail and IP addresses, cards, IBANs and national ids. A value with check digits is
verified by them. A value without them, or with a wrong one, counts if the words before it name its
kind. National ids are verified by `idnumbers`, and IP addresses are parsed by the standard library.
The patterns take linear time: they are bounded, and start at rare characters.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from graphs.memory.extras import extra
from graphs.memory.redaction.findings import Finding, text_before

with extra("server"):
    from idnumbers.nationalid import (
        BEL,
        BRA,
        CHL,
        CHN,
        ESP,
        FIN,
        FRA,
        IND,
        ITA,
        KOR,
        MEX,
        SWE,
        USA,
    )

_DIGIT = re.compile(r"\d")
_WORD = re.compile(r"\w")

# ── e-mail ────────────────────────────────────────────────────────────────────────────────────────

_AT = re.compile(r"@| ?[\[({<] ?(?:at|arroba) ?[\])}>] ?", re.IGNORECASE)
_LOCAL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}+|\"[^\"\n]{1,62}\"")
_DOT = r"(?:\.| ?[\[({] ?(?:dot|punto) ?[\])}] ?)"
_DOMAIN = re.compile(rf"[\w-]++(?:{_DOT}[\w-]++)++", re.IGNORECASE)
_LABEL = re.compile(rf"{_DOT}[^\W\d_][\w-]", re.IGNORECASE)


def find_emails(text: str) -> Iterator[Finding]:
    """Return the e-mail addresses in a folded text, also `ann [at] example [dot] com`."""
    for at in _AT.finditer(text):
        domain = _DOMAIN.match(text, at.end())
        local = _LOCAL.match(text[max(at.start() - 64, 0) : at.start()][::-1])
        if domain and local and _LABEL.search(text, *domain.span()):  # 3@4.50 is a price
            start = at.start() - local.end()
            start += _prefix(text[start : at.start()])
            name = text[start : at.start()]
            if _WORD.search(name) and name != "git":  # git@host:path names a repository
                yield Finding("email", start, at.end() + len(domain[0].rstrip("_-")))


def _prefix(local: str) -> int:
    """Return the length of the part before an address that does not belong to it.

    It may be the rest of a URL, an assignment or markup.
    """
    if "//" in local or local.startswith(("/", "?", "&")):
        return max(local.rfind(mark) for mark in "/=?&") + 1
    if assigned := re.match(r"\w+=", local):
        return assigned.end()
    return len(local) - len(local.lstrip("'`*{|.")) if local.strip("'`*{|.") else 0


# ── IP ────────────────────────────────────────────────────────────────────────────────────────────

_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)")
_IPV6 = re.compile(
    r"(?<![\w:.])(?=[0-9a-f]{0,4}:)[0-9a-f:]{2,39}+(?:(?<=:)\d{1,3}(?:\.\d{1,3}){3})?"
    r"(?:%\w{1,16})?(?!\w)",
    re.IGNORECASE,
)
_HEX = re.compile(r"[0-9a-f]++", re.IGNORECASE)
_NO_IP = re.compile(
    r"(?:section|secci[oó]n|chapter|cap[ií]tulo|clause|cl[aá]usula|art[ií]c(?:le|ulo)|paragraph"
    r"|p[aá]rrafo|§|version|versi[oó]n|release|build|kernel|firmware|update|v|ver|step|paso|figure"
    r"|figura|table|tabla|item|punto)"
    r"[ s.:#]{0,3}$",
    re.IGNORECASE,
)
_IS_IP = re.compile(
    r"\b(?:ips?|ipv4|host|server|servidor|address|direcci[oó]n|ping|ssh|from|desde)\b|//|@",
    re.IGNORECASE,
)


def find_ips(text: str) -> Iterator[Finding]:
    """Return the IP addresses in a folded text, except loopback and unspecified ones."""
    for match in _IPV4.finditer(text):
        before = text_before(text, match.start(), 40)
        # 4.5.1.2 is more often a section than a host.
        numbered = len(match[0]) == 7 and not _IS_IP.search(before)
        with suppress(AddressValueError):
            if _is_personal(IPv4Address(match[0])) and not numbered and not _NO_IP.search(before):
                yield Finding("ip", *match.span())
    for match in _IPV6.finditer(text):
        value = match[0] if match[0].endswith("::") else match[0].rstrip(":")
        with suppress(AddressValueError):
            # Without a digit it is rather a name, such as abc::def in C++.
            # With one group it is a slice or a network.
            is_short = (not _DIGIT.search(value) and value.count(":") <= 3) or len(
                _HEX.findall(value)
            ) == 1
            if _is_personal(IPv6Address(value)) and not is_short:
                yield Finding("ip", match.start(), match.start() + len(value))


def _is_personal(address: IPv4Address | IPv6Address) -> bool:
    return not (address.is_loopback or address.is_unspecified)


# ── cards and accounts ────────────────────────────────────────────────────────────────────────────

_DIGITS = re.compile(r"\d(?:[ ./-]{0,3}\d)*+")
_GROUP = re.compile(r"\d++")
_CARD = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3(?:0[0-5]|[689])\d{11,16}"
    r"|35\d{14,17}"
    r"|(?:6\d|5[0678])\d{11,17}"
)
"""Issuers' ranges of numbers, by ISO/IEC 7812.

Visa, Mastercard and Mir, American Express, Diners, JCB; Discover, Maestro, UnionPay and others.
"""

_CVV = re.compile(
    r"\b(?:cvv2?|cvc2?|cvn|csc|security code|c[oó]digo de seguridad)\b[ :=.#]{0,3}"
    r"(?:(?:is|es|was|era)[ :]{1,2})?(\d{3,4})\b",
    re.IGNORECASE,
)
_IBAN = re.compile(
    r"(?<![A-Z0-9])(?=([A-Z]{2}\d{2}(?:[ .-]{0,2}[A-Z0-9]){11,30}))[A-Z]{2}", re.IGNORECASE
)
_IBAN_LENGTHS = {
    country: int(length)
    for length, countries in (
        entry.split(":")
        for entry in """15:NO 16:BE 18:DK,FI,FK,FO,GL,NL,SD 19:MK,SI 20:AT,BA,EE,KZ,LT,LU,MN,XK
        21:CH,HR,LI,LV 22:BG,BH,CR,DE,GB,GE,IE,ME,RS,VA 23:AE,GI,IL,IQ,OM,SO,TL
        24:AD,CZ,DZ,ES,MD,PK,RO,SA,SE,SK,TN,VG
        25:LY,PT,ST 26:IS,TR 27:BI,DJ,FR,GR,IT,MC,MR,SM 28:AL,AZ,BY,CY,DO,GT,HN,HU,LB,NI,PL,SV
        29:BR,EG,PS,QA,UA 30:JO,KW,MU,YE 31:MT,SC 32:LC 33:RU""".split()
    )
    for country in countries.split(",")
}
"""Length by country, from SWIFT's IBAN registry."""


def find_cards(text: str) -> Iterator[Finding]:
    """Return the payment cards in a folded text, and their security codes.

    Cards are found by issuer, length and Luhn's check digit.
    """
    for match in _CVV.finditer(text):
        yield Finding("card", *match.span(1))
    for run in _DIGITS.finditer(text):
        if len(run[0]) >= 13:
            yield from _cards_of(
                text, [group.span() for group in _GROUP.finditer(text, *run.span())]
            )


def _cards_of(text: str, groups: Sequence[tuple[int, int]]) -> Iterator[Finding]:
    """Return the cards among groups of digits.

    A card starts and ends with a group, and has at most 19 digits.
    """
    first = 0
    while first < len(groups):
        digits, last, card = "", first, None
        start = groups[first][0]
        while last < len(groups) and len(digits) + (groups[last][1] - groups[last][0]) <= 19:
            digits += text[slice(*groups[last])]
            last += 1
            fraction = last == first + 1 and re.search(r"\d[.,]$", text[max(start - 2, 0) : start])
            if _CARD.fullmatch(digits) and _luhn(digits) and not fraction:
                card = last
        if card:
            yield Finding("card", start, groups[card - 1][1])
        first = card or first + 1


def _luhn(digits: str) -> bool:
    """Return whether the check digit is right (Luhn's algorithm, ISO/IEC 7812-1, annex B)."""
    doubled = (2 * int(digit) for digit in digits[-2::-2])
    return (
        sum(map(int, digits[-1::-2])) + sum(two - 9 if two > 9 else two for two in doubled)
    ) % 10 == 0


def find_ibans(text: str) -> Iterator[Finding]:
    """Return the IBANs in a folded text, by their country's length and ISO 7064's check digits."""
    for match in _IBAN.finditer(text):
        length = _IBAN_LENGTHS.get(match[0].upper(), 0)
        end, characters = match.start(), ""
        for end, char in enumerate(match[1], match.start() + 1):  # noqa: B007
            characters += char if char.isalnum() else ""
            if len(characters) == length:
                break
        if len(characters) == length and not text[end : end + 1].isalnum():
            number = "".join(str(int(char, 36)) for char in characters[4:] + characters[:4])
            if int(number) % 97 == 1:
                yield Finding("iban", match.start(), end)


# ── national ids ──────────────────────────────────────────────────────────────────────────────────


def _rut(value: str) -> bool:
    digits, check = value[:-1], value[-1]
    return CHL.NationalID.validate(f"{int(digits):,}".replace(",", ".") + "-" + check)


def _nie(value: str) -> bool:
    return ESP.NationalID.validate(f"{'XYZ'.index(value[0])}{value[1:]}")


def _cuit(value: str) -> bool:
    """Return whether an Argentine CUIT or CUIL is valid: its weighted sum is 0 modulo 11."""
    total = sum(
        int(digit) * weight
        for digit, weight in zip(value, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1), strict=True)
    )
    return total % 11 == 0


_NATIONAL: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...] = tuple(
    (re.compile(rf"(?<![\w])(?<!\d[.-])(?:{shape})(?!\w|[.-]\d)", re.IGNORECASE), validate)
    for shape, validate in (
        (r"\d{1,2}\.\d{3}\.\d{3} ?- ?[\dk]|\d{7,8}-[\dk]|\d{7,8}k", _rut),
        (r"\d{8}-?[a-z]", ESP.NationalID.validate),
        (r"[xyz]-?\d{7}-?[a-z]", _nie),
        (
            r"\d{3}-\d{2}-\d{4}|\d{3} \d{2} \d{4}",
            lambda v: USA.NationalID.validate(f"{v[:3]}-{v[3:5]}-{v[5:]}"),
        ),
        (r"\d{3}\.\d{3}\.\d{3}-\d{2}", BRA.NationalID.validate),
        (r"\d{2}-\d{8}-\d", _cuit),
        (r"[a-z]{4}\d{6}[hmx][a-z]{5}[0-9a-z]\d", MEX.NationalID.validate),
        (r"[a-ceghj-prtw-z]{2} ?\d{2} ?\d{2} ?\d{2} ?[a-d]", lambda _: True),
        (r"[a-z]{6}\d{2}[a-ehlmprst]\d{2}[a-z]\d{3}[a-z]", ITA.NationalID.validate),
        (r"[1278]\d{14}|[1278] \d\d \d\d \d\d \d{3} \d{3} \d\d", FRA.NationalID.validate),
        (r"\d{4}([ -])\d{4}\1\d{4}", IND.NationalID.validate),
        (r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", BEL.NationalID.validate),
        (r"\d{6}[-+a]\d{3}[0-9a-z]", lambda v: FIN.NationalID.validate(v[:6] + "-" + v[-4:])),
        (r"\d{6}[-+]\d{4}", SWE.NationalID.validate),
        (r"\d{17}[\dx]", CHN.NationalID.validate),
        (r"\d{6}-\d{7}", lambda v: KOR.NationalID.validate(v[:6] + "-" + v[6:])),
    )
)
"""Forms that are recognisable as an id, and the check of a value.

The check gets the value without separators and in capitals.
"""

_NATIONAL_NAMED = re.compile(
    r"""(?:\b(?i:rut|dni|d\.n\.i\.|nif|nie|cpf|curp|cui[tl]|nino|ssn|social\ security
      |seguro\ social|aadhaar|bsn|pesel|c[eé]dulas?|passport|pasaporte|passaporte
      |national\ insurance|social\ insurance|codice\ fiscale|steuer-?id
      |(?:national|identity|personal|tax)[ ](?:id|card|number)
      |documento\ de\ identidad|carn[eé]t?\ de\ identidad)\b
      |\b(?:RUN|RFC|CC|C\.C\.|CI|C\.I\.|SIN|PAN|NIT|INE|ID\ card)(?!\w))
    [^\d\n.;!?]{0,24}?[ .:\#ºo]{0,4}
    (?P<value>(?<!\w)(?i:[a-z]{1,4}-?)?\d(?:[ .-]?\d){5,17}
        (?i:-?[a-z]|[a-z][0-9a-z]{0,2}|[ ]?\d{2,5}x)?(?!\w)
      |(?<!\w)(?=(?:[A-Z]{0,8}\d){3})[A-Z0-9]{6,12}(?!\w))""",
    re.VERBOSE,
)
_SOCIAL = re.compile(
    r"\bsocial(?:'s)?(?: (?:security|number|no|num|is|was)){0,3}[ :=.#]{1,4}(?P<value>\d{9})"
    r"(?!\w|[.-]\d)",
    re.IGNORECASE,
)
"""A US social security number without separators, after the word that people use for it."""
_NOT_ALNUM = re.compile(r"[^0-9a-z]++", re.IGNORECASE)


def find_national_ids(text: str) -> Iterator[Finding]:
    """Return the national ids and tax numbers of persons in a folded text.

    They are found by form and check digits, or by the words before them.
    """
    for form, validate in _NATIONAL:
        for match in form.finditer(text):
            if validate(_NOT_ALNUM.sub("", match[0]).upper()):
                yield Finding("national_id", *match.span())
    for match in _SOCIAL.finditer(text):
        digits = match["value"]
        if USA.NationalID.validate(f"{digits[:3]}-{digits[3:5]}-{digits[5:]}"):
            yield Finding("national_id", *match.span("value"))
    for match in _NATIONAL_NAMED.finditer(text):
        yield Finding("national_id", *match.span("value"))
