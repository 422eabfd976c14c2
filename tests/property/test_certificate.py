import json
from contextlib import suppress
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from verify.canonical import (
    canonical_bytes,
    decode_value,
    digest_array,
    digest_of,
    encode_value,
    parse_canonical,
)
from verify.enclosure import Enclosure
from verify.errors import CertificateError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=20,
)
stored = st.one_of(
    arrays(
        np.float64,
        array_shapes(max_side=3),
        elements=st.floats(allow_nan=False, allow_infinity=False),
    ),
    arrays(np.int64, array_shapes(max_side=3)),
)
exact_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), texts, st.integers(), st.integers(-(2**14000), 2**14000),
        st.fractions(), st.floats(allow_nan=False, allow_infinity=False).map(Enclosure.exact),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=12,
)  # fmt: skip


@given(json_values)
def test_canonical_json_round_trip(value):
    text = canonical_bytes(value)
    assert parse_canonical(text) == value
    assert canonical_bytes(parse_canonical(text)) == text
    assert text.isascii()
    assert digest_of(value) == digest_of(json.loads(text))


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_canonical_or_one_error(text):
    with suppress(CertificateError):
        assert canonical_bytes(parse_canonical(text)) == text


@given(json_values, st.data())
def test_no_other_text_of_the_value_is_read(value, data):
    text = canonical_bytes(value)
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.sampled_from([b" ", b"\n", b"\t", b",", b""])) + text[at:]
    with suppress(CertificateError):
        assert canonical_bytes(parse_canonical(changed)) == changed


@given(exact_values)
def test_values_come_back_exactly(value):
    encoded = encode_value(value, {}, "p")
    canonical_bytes(encoded)
    assert decode_value(encoded, {}) == value


@given(st.lists(st.one_of(stored, st.integers(), st.fractions()), max_size=4))
def test_arrays_come_back_bit_by_bit(values):
    beside = {}
    encoded = encode_value(values, beside, "p")
    again = decode_value(json.loads(json.dumps(encoded)), beside)
    for before, after in zip(values, again, strict=True):
        if isinstance(before, np.ndarray):
            assert before.tobytes() == after.tobytes()
            assert before.shape == after.shape
        else:
            assert before == after


@given(stored)
def test_a_digest_depends_on_the_numbers_alone(array):
    digest = digest_array(array)
    assert digest_array(np.asfortranarray(array)) == digest
    assert digest_array(array.astype(array.dtype.newbyteorder())) == digest
    assert digest_array(array.copy()) == digest
    if array.size:
        changed = array.copy()
        first = changed.flat[0]
        changed.flat[0] = first + 1 if -(2**50) < first < 2**50 else 0
        assert digest_array(changed) != digest


@given(st.fractions())
def test_a_fraction_is_written_in_lowest_terms(value):
    encoded = encode_value(value, {}, "p")
    assert [int(part) for part in encoded["rational"]] == [value.numerator, value.denominator]
    assert decode_value(encoded, {}) == Fraction(value)
