"""Which encoding a file is in, decided on all of its bytes: strictly, never by replacing what does not fit."""

from __future__ import annotations

import codecs
import io
import re

from safekeel.corpus.sources.streams import Part, readable
from safekeel.errors import DataError, UsageError

CHUNK_BYTES = 1 << 20
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
MIN_GB2312 = 0.9
"""Share of a GB18030 file's non-ASCII characters that must be in GB2312, the 6,763 common characters and their
punctuation. Measured: JADE 1.00, C-Eval's subjects at least 0.987 (formulae), alpaca-demo 0.999; Big5 text that happens
to decode 0.38. Korean in EUC-KR has the same structure as GB2312 and passes: the step `language` refuses such rows."""
MAX_NULS = 0.2
"""Share of zero bytes from which a file without a mark is UTF-16: English text has 0.5 there, Chinese with Latin
punctuation some; text in any other encoding has none."""
_ASCII = re.compile(r"[\x00-\x7f]+")


def find_encoding(part: Part, given: str | None = None) -> str:
    """The codec that decodes the whole stream: by its byte order mark, else UTF-8, else GB18030 (which holds GBK).

    Args:
        given: the user's word; it is checked as well.

    Raises:
        DataError: none fits; with the byte offset of what does not.
        UsageError: `given` is no codec.
    """
    if given is not None:
        return _as_told(part, given)
    with readable(part.where), part.open() as stream:
        head = stream.read(CHUNK_BYTES)
    marked = next((codec for mark, codec in _MARKS if head.startswith(mark)), None)
    if marked is None and head.count(0) > MAX_NULS * len(head):
        raise DataError(
            f"{part.where}: every few bytes are zero, as in UTF-16, but there is no byte order mark. Convert the file "
            "to UTF-8, or say ?encoding=utf-16-le."
        )
    codec = marked or "utf-8"
    failed = _first_wrong_byte(part, codec)
    if failed is None:
        return codec
    if marked:
        raise DataError(f"{part.where}: its mark says {codec}, but byte {failed} is not. Convert it to UTF-8.")
    failed_chinese = _first_wrong_byte(part, "gb18030")
    if failed_chinese is None and _looks_chinese(part):
        return "gb18030"
    why = f"not GB18030 (byte {failed_chinese})" if failed_chinese is not None else "no Chinese text as GB18030"
    raise DataError(
        f"{part.where}: not UTF-8 (byte {failed}), {why}. Convert the file to UTF-8, or name its encoding: "
        "?encoding=latin-1, ?encoding=big5."
    )


def text_stream(part: Part, encoding: str, newline: str) -> io.TextIOWrapper:
    """The stream as text; decoding stays strict."""
    return io.TextIOWrapper(part.open(), encoding=encoding, errors="strict", newline=newline)


def _as_told(part: Part, given: str) -> str:
    try:
        codec = codecs.lookup(given)
        if not codec._is_text_encoding:  # base64, zip and their like are codecs too
            raise LookupError
    except LookupError as error:
        raise UsageError(f"?encoding={given} is no text encoding; expected utf-8, gb18030, utf-16-le, big5.") from error
    name = "utf-8-sig" if codec.name == "utf-8" else codec.name
    if (failed := _first_wrong_byte(part, name)) is not None:
        raise DataError(f"{part.where}: byte {failed} is not {given}. Name another encoding, or leave it out.")
    return name


def _first_wrong_byte(part: Part, codec: str) -> int | None:
    """Offset of the first byte that the codec cannot take; None = the whole stream decodes."""
    decoder = codecs.getincrementaldecoder(codec)("strict")
    offset = 0
    with readable(part.where), part.open() as stream:
        while True:
            chunk = stream.read(CHUNK_BYTES)
            pending = len(decoder.getstate()[0])  # bytes of a character that the last chunk cut
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                return offset - pending + error.start
            if not chunk:
                return None
            offset += len(chunk)


def _looks_chinese(part: Part) -> bool:
    total = common = 0
    with _decoded(part) as text:
        while chunk := text.read(CHUNK_BYTES):
            foreign = _ASCII.sub("", chunk)
            total += len(foreign)
            common += len(foreign.encode("gb2312", "ignore")) // 2
    return common >= MIN_GB2312 * total


def _decoded(part: Part) -> io.TextIOWrapper:
    return text_stream(part, "gb18030", "")
