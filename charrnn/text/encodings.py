"""Encodings: check their names, refuse bytes that are no text, and advise which encoding or file they may be."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Any

from charrnn.errors import TextError

CONTROL = re.compile(r"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f]")
"""A control character that is no white space, nor the escape that begins the color of a terminal."""
CONTROL_BYTES = bytes(n for n in range(128) if CONTROL.match(chr(n)))
TOO_MANY_CONTROLS = 0.1
"""The share of control characters from which on a text is refused."""
CONTROL_SAMPLE = 1 << 14
"""Characters at the start of a text in which control characters are counted."""
LEAST_SAMPLE = 32
"""Bytes from which on the encoding of a sample is guessed, and characters from which on control characters are counted:
guesses about less are often wrong."""
MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
"""Byte order marks of UTF-16 and UTF-32. (That of UTF-32 in little-endian order begins with that of UTF-16.)"""
HEAD = 4096
"""Bytes at the start of a file that tell whether a folder or an archive counts it among its texts."""
DOCUMENTS = {b"%PDF-": "a PDF: extract its text first", rb"{\rtf": "a Rich Text document: save it as plain text first"}
"""Formats whose files need have no byte that is not ASCII, by their first bytes."""
OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
KINDS = {
    "image/": "an image, not a text",
    "audio/": "a sound file, not a text",
    "video/": "a video, not a text",
    "font/": "a font, not a text",
    "application/x-tar": "a tar archive: extract its files first",
    "application/vnd.rar": "a rar archive: extract its files first",
    "application/x-7z-compressed": "a 7z archive: extract its files first",
    "application/zip": "an archive in an archive: extract it first",
    "application/gzip": "an archive in an archive: extract it first",
    "application/x-sqlite3": "a database: export its texts as JSON Lines first",
    "application/vnd.apache.": "a table of binary data: export its texts as JSON Lines first",
}
"""Kinds of files by the beginning of their MIME type."""


def check_encoding(encoding: str) -> None:
    """Raise `TextError` unless Python has this text encoding and can read it piece by piece."""
    try:
        if not codecs.lookup(encoding)._is_text_encoding:
            raise LookupError
        codecs.getincrementaldecoder(encoding)("strict")
    except (LookupError, ValueError):
        raise TextError(f"there is no text encoding {encoding!r}; try utf-8, latin-1, cp1252 or utf-16") from None


def is_utf8(encoding: str) -> bool:
    """Return whether `encoding`, which Python has, is UTF-8 under any of its names, with a byte order mark or not."""
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


@cache
def is_single_byte(encoding: str) -> bool:
    """Return whether each byte is a character in `encoding`: so any file is a text in it."""
    make = codecs.getincrementaldecoder(encoding)
    try:
        return all(make("replace").decode(bytes([byte])) for byte in range(256))
    except UnicodeError:  # IDNA and the like replace nothing
        return False


def decoding_error(name: str, encoding: str, offset: int, error: UnicodeError, sample: bytes) -> TextError:
    """Return the error for bytes that are not in `encoding`, with the likely encoding if there is one.

    Args:
        name: the source.
        encoding: the encoding that it was read in.
        offset: the position of the decoded bytes in the source.
        error: what the decoder raised.
        sample: bytes of the source to guess by; `error` is about some of them.
    """
    where = f"after byte {offset}"
    if isinstance(error, UnicodeDecodeError):
        where = f"byte {offset + error.start} (0x{error.object[error.start]:02X})"
    remedy = f"if you know the encoding of the text, {advice('NAME')}"
    return not_text(name, encoding, sample, f"{where} is not {encoding}", remedy)


def check_text(name: str, encoding: str, content: bytes | str, *, first: bool) -> None:
    """Raise `TextError` for a piece of a source that is no text, although it can be decoded.

    Args:
        name: the source.
        encoding: the encoding that it was read in.
        content: characters, or ASCII bytes.
        first: whether it is the first piece, at whose start control characters are counted. NULs are found anywhere.
    """
    has_nul = b"\0" in content if isinstance(content, bytes) else "\0" in content
    if has_nul or (first and (has_controls(content) or document(content))):
        what = "NUL characters" if has_nul else "many control characters"
        text = content.decode("ascii") if isinstance(content, bytes) else content
        try:
            sample = text.encode(encoding, "replace")
        except UnicodeError:  # as above
            sample = text.encode()
        remedy = "remove them" + (f", or if they are meant, {advice('latin-1')}" if sample.isascii() else "")
        raise not_text(name, encoding, sample, f"it has {what} as {encoding}", remedy)


def not_text(name: str, encoding: str, sample: bytes, problem: str, remedy: str) -> TextError:
    """Return the error for a source with a `problem` in `encoding`: what it is, or which encoding it is likely to have.

    The error ends with `remedy` if neither is known.
    """
    kind, likely = kind_of(sample), likely_encoding(sample, encoding)
    if kind is not None:
        return TextError(f"{name}: this is {kind}")
    return TextError(f"{name}: {problem}; {f'it is probably {likely}: {advice(likely)}' if likely else remedy}")


def advice(encoding: str) -> str:
    """Return how to name an encoding."""
    return f"add --encoding {encoding} (data.encoding in Python and in TOML files)"


def has_controls(content: bytes | str) -> bool:
    """Return whether a tenth of the start of `content` or more are control characters. A few are no sample."""
    content = content[:CONTROL_SAMPLE]
    if len(content) < LEAST_SAMPLE:
        return False
    if isinstance(content, bytes):
        count = len(content) - len(content.translate(None, CONTROL_BYTES))
    else:
        count = len(CONTROL.findall(content))
    return count >= TOO_MANY_CONTROLS * len(content)


def document(content: bytes | str) -> str | None:
    """Return the kind of a document that may be all ASCII, by its first characters."""
    head = content[:8] if isinstance(content, bytes) else content[:8].encode("utf-8", "replace")
    return next((kind for start, kind in DOCUMENTS.items() if head.startswith(start)), None)


def seems_text(head: bytes) -> bool:
    """Return whether a file in a folder or an archive counts as text: no document, and no NUL unless it has a mark."""
    return not document(head) and (b"\0" not in head or head.startswith(MARKS))


def kind_of(sample: bytes) -> str | None:
    """Return what a file is that begins with `sample` and is no text, and what to do with it; None if unknown."""
    if sample.startswith(OLD_OFFICE):
        return "an Office document: save it as plain text first"
    mime = detect(sample).get("mime_type") if b"\0" in sample else None  # all of these formats have NULs
    return document(sample) or next((kind for start, kind in KINDS.items() if (mime or "").startswith(start)), None)


def likely_encoding(sample: bytes, encoding: str) -> str | None:
    """Return Python's name of the encoding that `sample` is probably in, other than `encoding`; None if unknown."""
    if len(sample) < LEAST_SAMPLE and not sample.startswith(MARKS):
        return None
    guess = detect(sample).get("encoding")
    if guess is None and b"\0" not in sample:  # a text may begin as a binary format does, such as "BMW"
        guess = detect(b"\n" + sample).get("encoding")
    # UTF-16 of Chinese or Japanese, without a mark, is not detected.
    candidates = [guess] if guess else [] if decoded(sample, encoding) else ["utf-16-le", "utf-16-be"]
    for candidate in candidates:
        text, likely = decoded(sample, candidate), codecs.lookup(candidate).name
        if text and is_plausible(text) and likely not in ("ascii", codecs.lookup(encoding).name):
            return likely
    return None


def decoded(sample: bytes, encoding: str) -> str | None:
    """Return the characters that `sample` begins with, perhaps without its last one; None if `encoding` forbids it."""
    try:
        return codecs.getincrementaldecoder(encoding)("strict").decode(sample)
    except UnicodeError:
        return None


def is_plausible(text: str) -> bool:
    """Return whether a decoded sample may be a text: no NUL, no C1 control, and no code point without a character."""
    return not (
        has_controls(text)
        or re.search(r"[\0\x80-\x84\x86-\x9f\ue000-\uf8ff]", text)
        or any(unicodedata.category(character) == "Cn" for character in set(text))
    )


def detect(sample: bytes) -> Mapping[str, Any]:
    """Return what chardet detects: `encoding` and `mime_type`, either of which may be None."""
    try:
        import chardet
    except ImportError:  # a dependency, but only for advice
        return {}
    eras = chardet.EncodingEra
    era = eras.MODERN_WEB | eras.LEGACY_ISO | eras.LEGACY_MAC | eras.DOS
    return chardet.detect(sample, encoding_era=era, max_bytes=len(sample))
