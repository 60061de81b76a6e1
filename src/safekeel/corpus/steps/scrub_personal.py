"""Personal data that `scrub` looks for, each kind with its source and with what rules out accidents.

A pattern proposes; a checksum or an issuer's table decides (python-stdnum, phonenumbers), and what is an operand, has
a unit or is round is a quantity, so that prices, years, ISBNs, versions and sums stay as they are.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from safekeel.corpus.steps.scrub_kinds import Accept, Kind, always
from safekeel.errors import UsageError

# Minus and slash only with spaces and digits around them, and not between two numbers of 11 digits: people write
# "Tel - 138…", "138…/139…" and "138… / 139…".
_OPERAND_BEFORE = re.compile(
    r"(?:[\d)\]}]|(?<![a-z])[a-z])\s*[+*=^<>×÷·]\s*\Z|(?<!\d{10})[\d)\]}]\s+[-/]\s+\Z|\\\w+\s*\Z|[$¥￥€£]\s*\Z",
    re.IGNORECASE,
)
_OPERAND_AFTER = re.compile(
    r"\s*[+*=^<>×÷%]\s*(?:[\d(\[\\$?_]|[a-z](?![a-z]))|\s+[-/]\s+(?!1[3-9]\d{9})[\d(]|\s*\\[a-z]|\s*[?!]?=|\s*mod\b",
    re.IGNORECASE,
)
_UNIT_AFTER = re.compile(
    r"\s*(?:[元万亿米克吨个]|公里|千米|公斤|字节|美元|欧元|(?:dollars?|euros?|people|miles?|km|kg|bytes?|years?|times)\b)",
    re.IGNORECASE,
)
_VERSION_BEFORE = re.compile(
    r"(?:\bv|version|release|build|firmware|section|table|figure|chapter|版本|版|第|图|表|节|§)[^\w]{0,3}\Z",
    re.I | re.A,
)
_KNOWN_RESOLVERS = frozenset({"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "114.114.114.114", "223.5.5.5"})
_RESERVED_HOSTS = re.compile(r"(?:\A|\.)(?:example\.(?:com|net|org)|example|test|invalid|localhost)\Z", re.I)
_FILE_ENDINGS = re.compile(r"\.(?:png|jpe?g|gif|svg|webp|css|js|ts|py|json|html?|md|txt|pdf)\Z", re.I)  # icon@2x.png
_IIN = re.compile(
    r"62\d{14,17}|4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|35(?:2[89]|[3-8]\d)\d{12}|6(?:011|5\d\d|4[4-9]\d)\d{12}"
)


def is_quantity(value: str, before: str, after: str) -> bool:
    """Whether a number is an operand, carries a unit, or is round: then it identifies nobody."""
    return bool(
        value.endswith("00000")
        or _OPERAND_BEFORE.search(before)
        or _OPERAND_AFTER.match(after)
        or _UNIT_AFTER.match(after)
    )


def _resident_id(value: str, before: str, after: str) -> bool:
    from stdnum.cn import ric

    try:
        ric.get_birth_date(value)
        return bool(ric.calc_check_digit(value.upper()) == value[-1].upper()) and not is_quantity(value, before, after)
    except ValueError:  # stdnum's errors are ValueErrors
        return False


def _bank_card(value: str, before: str, after: str) -> bool:
    from stdnum import luhn

    number = re.sub(r"[ -]", "", value)
    return bool(_IIN.fullmatch(number) and luhn.is_valid(number)) and not is_quantity(number, before, after)


def _social_security(value: str, before: str, after: str) -> bool:
    from stdnum.us import ssn

    return bool(ssn.is_valid(value)) and not is_quantity(value, before, after)


def _personal_phone(region: str | None) -> Accept:
    """A number somebody has been given; toll-free, shared-cost and short numbers (helplines) are nobody's."""

    def accept(value: str, before: str, after: str) -> bool:
        found, number = _parsed_phone(value, region)
        if found is None or is_quantity(value, before, after):
            return False
        kinds = found.PhoneNumberType
        personal = (kinds.MOBILE,) if region == "CN" else (kinds.MOBILE, kinds.FIXED_LINE_OR_MOBILE, kinds.FIXED_LINE)
        return found.is_valid_number(number) and found.number_type(number) in personal

    return accept


def _parsed_phone(value: str, region: str | None) -> tuple[Any, Any]:
    import phonenumbers

    try:
        return phonenumbers, phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        return None, None


def _address(value: str, before: str, after: str) -> bool:
    """A public address. Four small numbers are a section or a version; private and reserved ranges are nobody's."""
    if value in _KNOWN_RESOLVERS or _VERSION_BEFORE.search(before):
        return False
    try:
        parsed = ipaddress.ip_address(value)
    except ValueError:
        return False
    if parsed.version == 4 and sum(int(part) >= 10 for part in value.split(".")) < 2:
        return False
    return parsed.is_global


def _email(value: str, before: str, after: str) -> bool:
    local, _, host = value.rpartition("@")
    return local != "git" and not _RESERVED_HOSTS.search(host) and not _FILE_ENDINGS.search(host)


_ROWS: tuple[tuple[str, str, str, str, str, Accept], ...] = (
    (
        "email",
        "电子邮箱",
        "email",
        r"(?<![\w.+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w@:])",
        "RFC 5321 without quoted local parts; RFC 2606 names stay",
        _email,
    ),
    (
        "resident_id",
        "身份证号",
        "ID number",
        r"(?<![\w.])[1-9]\d{5}(?:18|19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?!\w|\.\d)",
        "GB 11643-1999, ISO 7064 MOD 11-2",
        _resident_id,
    ),
    (
        "bank_card",
        "银行卡号",
        "card number",
        r"(?<![\w.])(?:\d{13,19}|\d{4}(?:[ -]\d{4}){3}(?:[ -]\d{1,3})?|\d{4}[ -]\d{6}[ -]\d{5})(?!\w|[.-]\d)",
        "ISO/IEC 7812-1 (Luhn); IINs of UnionPay, Visa, Mastercard, Amex, JCB, Discover",
        _bank_card,
    ),
    (
        "mobile",
        "手机号",
        "phone number",
        r"(?<![\w.])(?:(?:\+|00)?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}(?!\w|[.,-]\d)",
        "MIIT numbering plan as in libphonenumber (CN, mobile)",
        _personal_phone("CN"),
    ),
    (
        "social_security",
        "社会保障号",
        "social security number",
        r"(?<![\w.-])\d{3}-\d\d-\d{4}(?!\w|-)",
        "SSA numbering as in python-stdnum us.ssn",
        _social_security,
    ),
    (
        "phone",
        "电话号码",
        "phone number",
        r"(?<![\w.-])(?:\+?1[-. ]?\(?\d{3}\)?[-. ]\d{3}[-. ]\d{4}|\(\d{3}\) ?\d{3}[-. ]\d{4}"
        r"|\d{3}([-.])\d{3}\1\d{4})(?!\w|[.-]\d)",
        "NANP as in libphonenumber (US, CA)",
        _personal_phone("US"),
    ),
    (
        "phone",
        "电话号码",
        "phone number",
        r"(?<![\w.+])\+[1-9]\d{0,2}[ .-]?\(?\d[\d().\x20-]{5,16}\d(?!\w|[.-]\d)",
        "ITU-T E.164 as in libphonenumber",
        _personal_phone(None),
    ),
    (
        "ip_address",
        "IP地址",
        "IP address",
        r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)",
        "RFC 791; IANA special-purpose registry as in ipaddress",
        _address,
    ),
    (
        "ip_address",
        "IP地址",
        "IP address",
        r"(?<![\w:.])[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){2,6}[0-9A-Fa-f]{0,4}(?![\w:])",
        "RFC 4291; global unicast 2000::/3",
        _address,
    ),
    (
        "passport",
        "护照号",
        "passport number",
        r"(?:护照(?:号码?|编号)?|[Pp]assport(?:\s+(?:[Nn]umber|[Nn]o\.?|#))?)\s*(?:是|为|is)?\s*[:：]?\s*"
        r"(?P<value>[A-Z]{1,2}\d{7,8}|\d{9})(?!\w)",
        "ICAO 9303 (9 characters); told from other codes by the word before it only",
        always,
    ),
    (
        "im_account",
        "社交账号",
        "account",
        r"(?:QQ号?|扣扣号?|微信号?|[Ww]e[Cc]hat(?:\s+ID)?)\s*[:：]\s*(?P<value>[1-9]\d{4,10}|[A-Za-z][\w-]{5,19})(?!\w)",
        "Tencent: QQ 5 to 11 digits, WeChat id 6 to 20 characters; only after its name and a colon",
        always,
    ),
    (
        "licence_plate",
        "车牌号",
        "licence plate",
        r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z][·• ]?"
        r"(?=[A-HJ-NP-Z]{0,5}\d)[A-HJ-NP-Z0-9]{4,5}[A-HJ-NP-Z0-9挂学警港澳](?!\w)",
        "GA 36-2018",
        always,
    ),
)
PERSONAL_KINDS: tuple[Kind, ...] = tuple(
    Kind(name, zh, en, re.compile(pattern, re.ASCII), source, accept) for name, zh, en, pattern, source, accept in _ROWS
)
"""In the order they are replaced: what has a checksum before what may be a part of it."""


def require_libraries() -> None:
    """
    Raises:
        UsageError: a library of the extra `corpus` is not installed.
    """
    try:
        import phonenumbers  # noqa: F401
        import stdnum  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError(
            f"The step `scrub` needs {error.name}, which is not installed: pip install 'safekeel[corpus]'."
        ) from error
