"""Canonical JSON, exact values in JSON, and digests that do not depend on a file format.

Canonical JSON is ASCII with sorted keys, no spaces and one newline at the end. It has no floating
point numbers: an int beyond 2^53, a rational number or a real end is text. One value has one text,
so the digest of a value is the SHA-256 of its text.

Values of a witness are written as

    int               {"integer": "123"}, hexadecimal ("-0x1f") from 2^12000 on
    Fraction, float   {"rational": ["p", "q"]}, in lowest terms, q > 0
    Enclosure         {"enclosure": {"lo": hex, "hi": hex}}
    array             {"tensor": name, "digest": "sha256:..."}, the array itself lies beside
    list of ints      {"integers": ["1", "2"]}, list of Fractions {"rationals": [["p", "q"], ...]}
    mapping           {"record": {key: encoded value, ...}}
    other lists, text, booleans, None: as they are
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, MutableMapping
from fractions import Fraction
from typing import Any

from verify.enclosure import Enclosure, endpoint_from_hex, hex_of
from verify.errors import CertificateError, EnclosureError

_LARGEST_INTEGER = 2**53 - 1
_DEEPEST = 64
_LARGEST_TEXT = 1 << 28  # bytes
_DECIMAL_BITS = 12_000  # int() and str() refuse decimals of more than 4,300 digits
_DECIMAL = re.compile(r"0|-?[1-9][0-9]*")
_HEXADECIMAL = re.compile(r"-?0x[1-9a-f][0-9a-f]*")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def canonical_bytes(value: Any, *, where: str = "certificate") -> bytes:
    """Return the canonical JSON of None, bools, ints, strings, lists and string-keyed dicts.

    Raises:
        CertificateError: anything else is inside, floating point numbers included.
    """
    _check(value, where, 0)
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return text.encode("ascii") + b"\n"


def _check(value: Any, where: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise CertificateError(f"{where}: expected at most {_DEEPEST} levels, but got more")
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise CertificateError(f"{where}: expected text, but got a lone surrogate in {value!r}")
    elif type(value) is int:
        if abs(value) > _LARGEST_INTEGER:
            raise CertificateError(f"{where}: expected integers below 2^53, but got a larger one")
    elif isinstance(value, list | tuple):
        for k, item in enumerate(value):
            _check(item, f"{where}[{k}]", depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise CertificateError(f"{where}: expected text as keys, but got {key!r}")
            _check(key, where, depth + 1)
            _check(item, f"{where}.{key}", depth + 1)
    else:
        raise CertificateError(
            f"{where}: expected null, booleans, integers, text, lists and objects, "
            f"but got {value!r} of type {type(value).__name__}"
        )


def parse_canonical(text: bytes, *, where: str = "certificate") -> Any:
    """Read canonical JSON and nothing else.

    Raises:
        CertificateError: too large, no JSON, duplicate keys, a floating point number or constant,
            too deep, or not the canonical text of its value.
    """
    if len(text) > _LARGEST_TEXT:
        raise CertificateError(
            f"{where}: expected at most {_LARGEST_TEXT} bytes, but got {len(text)}"
        )

    def refuse(number: str) -> Any:
        raise CertificateError(f"{where}: expected no floating point, but got {number[:40]!r}")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise CertificateError(f"{where}: expected unique keys, but got one twice in an object")
        return found

    try:
        value = json.loads(
            text.decode("ascii"),
            parse_float=refuse,
            parse_constant=refuse,
            object_pairs_hook=unique,
        )
    except RecursionError:
        raise CertificateError(
            f"{where}: expected at most {_DEEPEST} levels, but got more"
        ) from None
    except ValueError as error:
        if isinstance(error, CertificateError):
            raise
        raise CertificateError(f"{where}: expected ASCII JSON, but got {error}") from None
    if canonical_bytes(value, where=where) != text:
        raise CertificateError(
            f"{where}: expected canonical JSON (sorted keys, no spaces, newline at the end), "
            f"but got another text of the same value"
        )
    return value


def digest_bytes(content: bytes) -> str:
    """Return ``sha256:`` and the hexadecimal digest."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def digest_of(value: Any) -> str:
    """Return the digest of the canonical JSON of a value."""
    return digest_bytes(canonical_bytes(value))


# --- arrays ----------------------------------------------------------------------------------


def stored_array(array: Any, *, where: str) -> Any:
    """Return the array as little-endian float64 or int64 in C order, exactly, or refuse it.

    Raises:
        CertificateError: a dtype that does not embed, or an entry that is not finite.
    """
    import numpy as np

    given = np.asarray(array)
    kind, size = given.dtype.kind, given.dtype.itemsize
    if kind == "f" and size <= 8:
        if not np.isfinite(given).all():
            raise CertificateError(f"{where}: expected finite entries, but got nan or infinity")
        return np.asarray(given, dtype="<f8", order="C")
    if kind in "ib" or (kind == "u" and (size < 8 or not given.size or int(given.max()) < 2**63)):
        return np.asarray(given, dtype="<i8", order="C")
    raise CertificateError(
        f"{where}: expected real floating-point or integer entries, but got dtype {given.dtype}"
    )


def digest_array(array: Any) -> str:
    """Return the digest of an array, the same whatever file it came from.

    It is the SHA-256 of the line ``<f8`` (floating point of any width up to 64 bits) or ``<i8``
    (integers), the line of the shape (``3,4``), and the 8-byte entries in C order, little-endian.
    The sign of -0.0 counts.

    Raises:
        CertificateError: a dtype that does not embed, or an entry that is not finite.
    """
    exact = stored_array(array, where="digest_array")
    kind = "<f8" if exact.dtype.kind == "f" else "<i8"
    head = f"{kind}\n{','.join(map(str, exact.shape))}\n"
    hashed = hashlib.sha256(head.encode("ascii"))
    hashed.update(exact.reshape(-1))  # the buffer itself: a copy of large samples is slow
    return "sha256:" + hashed.hexdigest()


# --- values of witnesses ---------------------------------------------------------------------


def encode_enclosure(value: Enclosure) -> dict[str, str]:
    """Return the ends as hexadecimal text."""
    return {"lo": hex_of(value.lo), "hi": hex_of(value.hi)}


def decode_enclosure(encoded: Any) -> Enclosure:
    """Read what `encode_enclosure` wrote.

    Raises:
        CertificateError: not two ends in canonical hexadecimal form, or an empty interval.
    """
    try:
        lo, hi = encoded["lo"], encoded["hi"]
        value = Enclosure(endpoint_from_hex(lo), endpoint_from_hex(hi))
    except (KeyError, TypeError, EnclosureError) as error:
        raise CertificateError(f"enclosure: expected lo and hi, but got {error}") from None
    if encode_enclosure(value) != encoded:
        raise CertificateError(f"enclosure: expected canonical hexadecimal, but got {encoded!r}")
    return value


def encode_value(value: Any, arrays: MutableMapping[str, Any], prefix: str) -> Any:
    """Return a witness value as JSON; arrays go to ``arrays`` under names that begin with prefix.

    Raises:
        CertificateError: a value of another type, or a number that is not finite.
    """
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return _encode_array(value, arrays, prefix)
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return {"integer": _integer_text(value)}
    if isinstance(value, Fraction) or (isinstance(value, float) and math.isfinite(value)):
        return {"rational": _rational_text(Fraction(value))}
    if isinstance(value, Enclosure):
        return {"enclosure": encode_enclosure(value)}
    if isinstance(value, list | tuple):
        if value and all(type(item) is int for item in value):
            return {"integers": [_integer_text(item) for item in value]}
        if value and all(type(item) is Fraction for item in value):
            return {"rationals": [_rational_text(item) for item in value]}
        return [encode_value(item, arrays, f"{prefix}.{k}") for k, item in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        inner = {key: encode_value(item, arrays, f"{prefix}.{key}") for key, item in value.items()}
        return {"record": inner}
    raise CertificateError(
        f"witness {prefix}: expected exact numbers, text, lists, mappings and arrays, "
        f"but got {value!r} of type {type(value).__name__}"
    )


def _encode_array(value: Any, arrays: MutableMapping[str, Any], prefix: str) -> Any:
    if value.dtype.kind == "O":
        return encode_value(value.tolist(), arrays, prefix)
    if value.shape == () and not hasattr(value, "__setitem__"):  # a NumPy scalar
        return encode_value(value.item(), arrays, prefix)
    digest = digest_array(value)
    if prefix in arrays and digest_array(arrays[prefix]) != digest:
        raise CertificateError(f"witness {prefix}: expected one array of this name, but got two")
    arrays[prefix] = stored_array(value, where=f"witness {prefix}")
    return {"tensor": prefix, "digest": digest}


def decode_value(encoded: Any, arrays: Mapping[str, Any] | None) -> Any:
    """Read what `encode_value` wrote; floats come back as the Fractions that they are.

    Without arrays (None) an array is given as its name, and only the form is checked.

    Raises:
        CertificateError: malformed, or an array is missing or does not fit its digest.
    """
    if encoded is None or isinstance(encoded, bool | str):
        return encoded
    if isinstance(encoded, list):
        return [decode_value(item, arrays) for item in encoded]
    match encoded:
        case {"integer": text, **rest} if not rest:
            return _integer(text)
        case {"record": dict(inner), **rest} if not rest:
            return {key: decode_value(item, arrays) for key, item in inner.items()}
        case {"integers": list(texts), **rest} if not rest and texts:
            return [_integer(text) for text in texts]
        case {"rational": pair, **rest} if not rest:
            return _rational(pair)
        case {"rationals": list(pairs), **rest} if not rest and pairs:
            return [_rational(pair) for pair in pairs]
        case {"enclosure": ends, **rest} if not rest:
            return decode_enclosure(ends)
        case {"tensor": str(name), "digest": str(digest), **rest} if not rest:
            if not DIGEST.fullmatch(digest):
                raise CertificateError(f"witness: expected a digest, but got {digest!r}")
            if arrays is None:
                return name
            if name not in arrays or digest_array(arrays[name]) != digest:
                raise CertificateError(f"witness: expected array {name!r} with digest {digest}")
            return arrays[name]
    raise CertificateError(f"witness: expected an encoded value, but got {encoded!r}")


def _integer_text(value: int) -> str:
    return str(int(value)) if abs(value).bit_length() <= _DECIMAL_BITS else hex(value)


def _rational_text(value: Fraction) -> list[str]:
    return [_integer_text(value.numerator), _integer_text(value.denominator)]


def _integer(text: Any) -> int:
    if isinstance(text, str) and len(text) <= 4000 and _DECIMAL.fullmatch(text):
        value = int(text)
    elif isinstance(text, str) and _HEXADECIMAL.fullmatch(text):
        value = int(text, 16)
    else:
        raise CertificateError(f"witness: expected an integer as text, but got {text!r}")
    if _integer_text(value) != text:
        raise CertificateError(f"witness: expected the canonical text of an integer, got {text!r}")
    return value


def _rational(pair: Any) -> Fraction:
    if not (isinstance(pair, list) and len(pair) == 2):
        raise CertificateError(f"witness: expected numerator and denominator, but got {pair!r}")
    p, q = _integer(pair[0]), _integer(pair[1])
    if q <= 0 or math.gcd(p, q) != 1:
        raise CertificateError(f"witness: expected lowest terms and q > 0, but got {pair!r}")
    return Fraction(p, q)


def tensors_named_in(value: Any) -> Iterator[tuple[str, str]]:
    """Yield (name, digest) of every array that an encoded value refers to."""
    if isinstance(value, dict) and "tensor" in value:
        yield value["tensor"], value["digest"]
    elif isinstance(value, dict):
        value = list(value.get("record", {}).values())
    for item in value if isinstance(value, list) else ():
        yield from tensors_named_in(item)
