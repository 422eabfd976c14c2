import copy
import json
import os
import subprocess
import sys
from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest

from verify.canonical import (
    canonical_bytes,
    decode_enclosure,
    decode_value,
    digest_array,
    digest_of,
    encode_enclosure,
    encode_value,
    parse_canonical,
)
from verify.certificate import Certificate, read_certificate, write_certificates
from verify.enclosure import Enclosure
from verify.errors import CertificateError
from verify.verdict import Verdict

W = np.array([[0.5, -0.0], [2.0**-1074, 0.25]])
ETA = np.array([3, 5], dtype=np.int64)


def a_claim(arrays):
    witness = {
        "kind": "positive-vector",
        "data": {
            key: encode_value(value, arrays, f"norm.q.{key}")
            for key, value in {"eta": ETA, "scale": 2**80, "c": Fraction(1, 3)}.items()
        },
    }
    statement = {
        "latex": "q < 1",
        "text": "q < 1",
        "tree": ["<", ["quantity", "q"], ["integer", "1"]],
        "conclusion": "unique",
        "direction": "sufficient",
        "scope": "every bias",
        "source": {"key": "Somebody2020", "where": "Theorem 1"},
        "assumes": [],
        "truth": "proved",
        "margins": [{"relation": "q < 1", "lo": "0x1p-1", "hi": "0x1p-1"}],
    }
    return {
        "schema": "verify/certificate/1",
        "condition": {"name": "well-posedness", "title": "Well-posedness"},
        "goal": {"name": "every bias", "sentence": "one equilibrium for every b"},
        "verdict": "pass",
        "sentence": "proved: one equilibrium for every b",
        "reason": "",
        "scope": "every bias",
        "speaks_about": "the stored weights",
        "network": {
            "family": "equilibrium",
            "equation": "z = relu(W z + b)",
            "activation": "relu",
            "width": 2,
            "parameters": {"gamma": "1/3"},
            "notes": [],
        },
        "tensors": {"weight.W": {"shape": [2, 2], "digest": digest_array(W)}},
        "data": None,
        "settings": {},
        "decided_by": "norm",
        "assumes": [],
        "routes": [
            {
                "name": "norm",
                "title": "Norm",
                "goal": "every bias",
                "direction": "sufficient",
                "cost": "cheap",
                "truth": "proved",
                "why": "",
                "statements": [statement],
                "quantities": {
                    "q": {
                        "meaning": "norm", "latex": "q", "lo": "0x0p+0", "hi": "0x1p-1",
                        "how": "", "why_open": "", "witness": witness,
                    }
                },
                "facts": {},
            }
        ],
        "consequences": [
            {
                "name": "rate", "meaning": "", "formula": "", "by": "norm", "rigorous": True,
                "lo": "0x0p+0", "hi": "inf",
            },
            {
                "name": "speed", "meaning": "", "formula": "", "by": "", "rigorous": False,
                "measured": (0.1).hex(), "spread": None, "how": "sampled",
            },
        ],
        "side_statements": [],
        "samples": None,
    }  # fmt: skip


def a_certificate():
    arrays = {}
    claim = a_claim(arrays)
    return Certificate(claim, {"file": "model.npz"}, ("Scale W.",), arrays, {"weight.W": W})


def rewritten(change):
    """The text of a certificate after ``change(record)``, with digests made to fit again."""
    record = json.loads(a_certificate().to_json())
    change(record)
    claim = record["certificate"]
    with suppress(CertificateError):
        record["digests"]["claim"] = digest_of(claim)
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def set_at(*path, value):
    def change(record):
        place = record["certificate"]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


# --- canonical JSON ----------------------------------------------------------------------------


def test_canonical_json_is_ascii_sorted_and_ends_with_a_newline():
    assert canonical_bytes({"b": [1, "é\n"], "a": None}) == b'{"a":null,"b":[1,"\\u00e9\\n"]}\n'
    assert canonical_bytes(()) == b"[]\n"


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        2**53,
        {1: 2},
        {"a": {1}},
        b"",
        Fraction(1),
        "\ud800",
        np.int64(1),
        object(),
    ],
)
def test_canonical_json_refuses(value):
    with pytest.raises(CertificateError, match=r"expected .*, but got "):
        canonical_bytes({"x": [value]})


def test_canonical_json_refuses_depth():
    deep = "x"
    for _ in range(70):
        deep = [deep]
    with pytest.raises(CertificateError, match="levels"):
        canonical_bytes(deep)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{}", b"{} \n", b" {}\n", b"{}\n\n", b'{"a":1,"a":1}\n', b'{"b":1,"a":1}\n',
        b'{"a": 1}\n', b"1.0\n", b"1e3\n", b"NaN\n", b"Infinity\n", b"-Infinity\n", b"-0\n",
        b"01\n", b"9007199254740993\n", b"1" * 5000 + b"\n", b"[" * 100000, b"[" * 900 + b"]" * 900,
        b'"\\u0041"\n', b'"\xc3\xa9"\n', b'"\\ud800"\n', b"\xef\xbb\xbf{}\n", b"[1,]\n", b"'a'\n",
        b'"\\/"\n', b'"\\u00E9"\n', b"nul\n", b"{}\r\n", b"\x00",
    ],
)  # fmt: skip
def test_only_the_canonical_text_is_read(text):
    with pytest.raises(CertificateError, match=r"^certificate.*: expected "):
        parse_canonical(text)


# --- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (123, {"integer": "123"}),
        (-(2**70), {"integer": "-1180591620717411303424"}),
        (2**12000, {"integer": "0x1" + "0" * 3000}),
        (Fraction(-1, 3), {"rational": ["-1", "3"]}),
        ([1, -2], {"integers": ["1", "-2"]}),
        ([Fraction(1, 2)], {"rationals": [["1", "2"]]}),
        ([1, Fraction(1, 2)], [{"integer": "1"}, {"rational": ["1", "2"]}]),
        ([[1], []], [{"integers": ["1"]}, []]),
        ({"tensor": "a", "digest": [1]},
         {"record": {"tensor": "a", "digest": {"integers": ["1"]}}}),
        (Enclosure(0, 0.5), {"enclosure": {"lo": "0x0p+0", "hi": "0x1p-1"}}),
        (True, True), (None, None), ("text", "text"), ([True, None], [True, None]),
    ],
)  # fmt: skip
def test_values(value, encoded):
    arrays = {}
    assert encode_value(value, arrays, "p") == encoded
    assert not arrays
    assert decode_value(json.loads(json.dumps(encoded)), {}) == value


def test_floats_are_the_rational_numbers_that_they_are():
    assert encode_value(0.5, {}, "p") == {"rational": ["1", "2"]}
    assert encode_value(np.float32(0.1), {}, "p") == encode_value(float(np.float32(0.1)), {}, "p")
    assert encode_value(np.int32(7), {}, "p") == {"integer": "7"}
    assert encode_value(np.bool_(True), {}, "p") is True


def test_arrays_lie_beside():
    arrays = {}
    encoded = encode_value([W, [ETA]], arrays, "route.q")
    assert encoded[0] == {"tensor": "route.q.0", "digest": digest_array(W)}
    assert set(arrays) == {"route.q.0", "route.q.1.0"}
    again = decode_value(encoded, arrays)
    assert again[0].tobytes() == W.tobytes()
    with pytest.raises(CertificateError, match="expected array"):
        decode_value(encoded, arrays | {"route.q.0": W + 1})
    with pytest.raises(CertificateError, match="but got two"):
        encode_value([W + 1], arrays, "route.q")
    big = np.array([2**100, 1], dtype=object)
    assert encode_value(big, {}, "p") == {"integers": [str(2**100), "1"]}


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), {1: 2}, {1}, 1j, object(), np.array([np.nan]), np.array(["a"]),
     np.array([1j]), np.array([2**64 - 1], dtype=np.uint64), np.array([1], dtype=np.longdouble)],
)  # fmt: skip
def test_values_that_are_refused(value):
    with pytest.raises(CertificateError, match=r": expected .*, but got "):
        encode_value(value, {}, "p")


@pytest.mark.parametrize(
    "encoded",
    [
        1, {}, {"integer": 1}, {"integer": "1.0"}, {"integer": "01"}, {"integer": "-0"},
        {"integer": "+1"}, {"integer": " 1"}, {"integer": "0x1f"}, {"integer": "9" * 4400},
        {"integer": "1", "more": 1}, {"integers": []}, {"integers": "12"},
        {"rational": ["1", "0"]}, {"record": []}, {"record": {"a": 1}},
        {"rational": ["2", "4"]}, {"rational": ["1", "-2"]}, {"rational": ["1"]},
        {"rational": "12"},
        {"rationals": []}, {"tensor": "a", "digest": "sha256:00"}, {"tensor": 1, "digest": ""},
        {"enclosure": {"lo": "0x1p+0", "hi": "0x0p+0"}}, {"enclosure": {"lo": "nan", "hi": "nan"}},
        {"enclosure": {"lo": "0x2p+0", "hi": "0x2p+0"}}, {"enclosure": {"lo": "0x0p+0"}},
        {"enclosure": ["0x0p+0", "0x0p+0"]}, {"integer": "١"}, [{"integer": None}],
    ],
)  # fmt: skip
def test_encodings_that_are_refused(encoded):
    with pytest.raises(CertificateError, match=r"^(witness|enclosure): expected "):
        decode_value(encoded, {})


def test_enclosures_of_any_exponent():
    for value in (Enclosure(Fraction(1, 2**3544), float("inf")), Enclosure.unbounded()):
        assert decode_enclosure(encode_enclosure(value)) == value


def test_digest_of_an_array_is_that_of_its_numbers():
    assert digest_array(W) == digest_array(np.asfortranarray(W))
    assert digest_array(W) == digest_array(W.astype(">f8"))
    assert digest_array(np.float32([0.1])) == digest_array(np.float64(np.float32([0.1])))
    assert digest_array(W) != digest_array(np.abs(W))  # the sign of -0.0 counts
    assert digest_array(W) != digest_array(W.reshape(4))
    assert digest_array(np.array([1])) != digest_array(np.array([1.0]))
    assert digest_array(np.zeros((0, 3))) != digest_array(np.zeros((3, 0)))
    # written down once: the format must not drift
    assert digest_array(np.array([[1.0, -0.0]])) == (
        "sha256:3f16152273ab241d1553101a6920db868022e2b2d1ea5af0c8902ec62f380c12"
    )


# --- certificates ------------------------------------------------------------------------------


def test_round_trip():
    certificate = a_certificate()
    again = Certificate.from_json(
        certificate.to_json(), arrays=certificate.arrays, network=certificate.network
    )
    assert again.to_json() == certificate.to_json()
    assert again.verdict is Verdict.PASS
    assert again.sentence == "proved: one equilibrium for every b"
    assert again.condition == "well-posedness"
    assert again.digest == certificate.digest
    assert again.guidance == ("Scale W.",)


def test_letters_of_a_statement_are_kept():
    certificate = a_certificate()
    statement = certificate.claim["routes"][0]["statements"][0]
    statement["where"] = ["h = \\beta r"]
    again = Certificate.from_json(
        certificate.to_json(), arrays=certificate.arrays, network=certificate.network
    )
    assert again.claim["routes"][0]["statements"][0]["where"] == ["h = \\beta r"]
    statement["where"] = "h"
    with pytest.raises(CertificateError, match="expected a list"):
        certificate.to_json()


def test_provenance_is_not_part_of_the_claim():
    certificate = a_certificate()
    later = Certificate(certificate.claim, {"time": "later"}, (), certificate.arrays, {})
    assert later.digest == certificate.digest
    assert later.to_json() != certificate.to_json()


HOSTILE = {
    "another schema": set_at("schema", value="verify/certificate/2"),
    "no schema": lambda record: record["certificate"].pop("schema"),
    "unknown field": set_at("more", value=1),
    "missing field": lambda record: record["certificate"].pop("scope"),
    "unknown top field": lambda record: record.update(more=1),
    "missing provenance": lambda record: record.pop("provenance"),
    "a list": lambda record: record.update(certificate=[]),
    "unknown verdict": set_at("verdict", value="PASS"),
    "undecided with a deciding route": set_at("verdict", value="undecided"),
    "fail by a proved route": set_at("verdict", value="fail"),
    "pass by no route": set_at("decided_by", value=None),
    "pass by an unknown route": set_at("decided_by", value="other"),
    "pass by a necessary route": set_at("routes", 0, "direction", value="necessary"),
    "pass by an undecided route": set_at("routes", 0, "truth", value="undecided"),
    "a truth that its statement lacks": set_at(
        "routes", 0, "statements", 0, "truth", value="undecided"
    ),
    "unknown route field": set_at("routes", 0, "more", value=""),
    "unknown truth": set_at("routes", 0, "truth", value="true"),
    "number as text": set_at("sentence", value=1),
    "bad hex": set_at("routes", 0, "quantities", "q", "lo", value="0.5"),
    "hex that is not canonical": set_at("routes", 0, "quantities", "q", "hi", value="0x1.0p-1"),
    "nan": set_at("routes", 0, "quantities", "q", "lo", value="nan"),
    "empty interval": set_at("routes", 0, "quantities", "q", "lo", value="0x1p+0"),
    "a float": set_at("network", "width", value=2.5),
    "a negative width": set_at("network", "width", value=-1),
    "a boolean width": set_at("network", "width", value=True),
    "bad digest": set_at("tensors", "weight.W", "digest", value="sha256:0"),
    "digest of another kind": set_at("tensors", "weight.W", "digest", value="md5:" + "0" * 64),
    "negative shape": set_at("tensors", "weight.W", "shape", value=[-1]),
    "upper-case condition": set_at("condition", "name", value="../x"),
    "tree of numbers": set_at("routes", 0, "statements", 0, "tree", value=["<", 1]),
    "empty tree": set_at("routes", 0, "statements", 0, "tree", value=[]),
    "measured as rigorous": set_at("consequences", 1, "rigorous", value=True),
    "rigorous as measured": set_at("consequences", 0, "rigorous", value=False),
    "rigorous as text": set_at("consequences", 0, "rigorous", value="yes"),
    "measured nan": set_at("consequences", 1, "measured", value="nan"),
    "witness of numbers": set_at(
        "routes", 0, "quantities", "q", "witness", "data", "scale", value=7
    ),
    "witness without kind": lambda record: record["certificate"]["routes"][0]["quantities"]["q"][
        "witness"
    ].pop("kind"),
    "twice the same route": lambda record: record["certificate"]["routes"].append(
        copy.deepcopy(record["certificate"]["routes"][0])
    ),
    "more certified than samples": set_at(
        "samples",
        value={
            "summary": "",
            "certified": 2,
            "total": 1,
            "rows": [],
            "witness": None,
            "unit": "sample",
        },
    ),
    "digest of another claim": lambda record: record["digests"].update(
        network="sha256:" + "0" * 64
    ),
    "no digest of the witness": lambda record: record["digests"].update(witness=None),
    "guidance as text": lambda record: record.update(guidance="text"),
    "provenance as text": lambda record: record.update(provenance="text"),
    "provenance with a float": lambda record: record["provenance"].update(seconds=0.5),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_malformed_certificates_get_one_sentence(change):
    with pytest.raises(CertificateError, match=r"^[^\n]+: expected [^\n]+$"):
        Certificate.from_json(rewritten(change))


def test_a_changed_claim_does_not_fit_its_digest():
    text = a_certificate().to_json().replace("one equilibrium", "two equilibria")
    with pytest.raises(CertificateError, match="changed after it was written"):
        Certificate.from_json(text)


def test_a_malformed_claim_is_not_written():
    certificate = a_certificate()
    certificate.claim["verdict"] = "fail"
    with pytest.raises(CertificateError, match="carries the verdict fail"):
        certificate.to_json()


def test_a_record_with_the_keys_of_an_array_is_no_array():
    certificate = a_certificate()
    data = certificate.claim["routes"][0]["quantities"]["q"]["witness"]["data"]
    data["odd"] = encode_value({"tensor": "a", "digest": "b"}, {}, "p")
    again = Certificate.from_json(certificate.to_json(), arrays=certificate.arrays)
    assert again.digest == certificate.digest


def test_wrong_arrays_are_refused():
    certificate = a_certificate()
    with pytest.raises(CertificateError, match="witness: expected the arrays"):
        Certificate.from_json(certificate.to_json(), arrays={})
    with pytest.raises(CertificateError, match=r"network: expected array 'weight\.W'"):
        Certificate.from_json(certificate.to_json(), network={"weight.W": W + 1})


# --- files -------------------------------------------------------------------------------------


def test_files(tmp_path):
    certificate = a_certificate()
    (path,) = write_certificates([certificate], tmp_path / "out", "model")
    names = ["model.network.safetensors", "model.well-posedness.json"]
    names.append("model.well-posedness.witness.safetensors")
    assert sorted(os.listdir(tmp_path / "out")) == names
    first = {name: (tmp_path / "out" / name).read_bytes() for name in names}
    write_certificates([certificate], tmp_path / "out", "model")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in names} == first
    again = read_certificate(path)
    assert again.to_json() == certificate.to_json()
    assert again.network["weight.W"].tobytes() == W.tobytes()
    assert again.arrays["norm.q.eta"].tolist() == [3, 5]


def test_a_witness_of_an_earlier_check_is_removed(tmp_path):
    write_certificates([a_certificate()], tmp_path, "model")
    plain = a_certificate()
    plain.claim["routes"][0]["quantities"]["q"]["witness"] = None
    write_certificates([Certificate(plain.claim, network=plain.network)], tmp_path, "model")
    assert sorted(os.listdir(tmp_path)) == [
        "model.network.safetensors",
        "model.well-posedness.json",
    ]


def test_all_files_or_none(tmp_path, monkeypatch):
    write_certificates([a_certificate()], tmp_path, "model")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    changed = a_certificate()
    changed.provenance["file"] = "other.npz"
    replace, calls = os.replace, []

    def failing(source, target):
        calls.append(target)
        if len(calls) == 6:  # three old files aside, then the last of the new ones
            raise OSError("no space left")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(CertificateError, match="no space left"):
        write_certificates([changed], tmp_path, "model")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_arrays_that_are_not_those_of_the_claim_are_not_written(tmp_path):
    certificate = a_certificate()
    other = Certificate(certificate.claim, {}, (), certificate.arrays, {"weight.W": W + 1})
    with pytest.raises(CertificateError, match="network: expected array"):
        write_certificates([other], tmp_path, "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stem", ["", ".", "..", "a/b", "../a", ".a", "a\0", "a\\b"])
def test_a_stem_is_one_plain_name(tmp_path, stem):
    with pytest.raises(CertificateError, match="expected a file stem"):
        write_certificates([a_certificate()], tmp_path, stem)


def test_one_certificate_a_condition_and_one_network(tmp_path):
    with pytest.raises(CertificateError, match="but got two"):
        write_certificates([a_certificate(), a_certificate()], tmp_path, "model")
    other = a_certificate()
    other.claim["condition"]["name"] = "villani"
    other.claim["tensors"]["weight.W"]["digest"] = digest_array(W + 1)
    other = Certificate(other.claim, {}, (), other.arrays, {"weight.W": W + 1})
    with pytest.raises(CertificateError, match="one network"):
        write_certificates([a_certificate(), other], tmp_path, "model")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificateError, match="expected to write into"):
        write_certificates([a_certificate()], tmp_path / "file", "model")


@pytest.mark.parametrize("kind", ["network", "well-posedness.witness"])
@pytest.mark.parametrize("damage", ["missing", "changed", "truncated", "link", "folder", "float32"])
def test_the_files_beside_a_certificate_are_checked(tmp_path, kind, damage):
    from safetensors.numpy import load_file, save_file

    (path,) = write_certificates([a_certificate()], tmp_path, "model")
    beside = tmp_path / f"model.{kind}.safetensors"
    arrays = load_file(beside)
    if damage == "missing":
        beside.unlink()
    elif damage == "changed":
        save_file({name: array + 1 for name, array in arrays.items()}, beside)
    elif damage == "truncated":
        beside.write_bytes(beside.read_bytes()[:-3])
    elif damage == "link":
        beside.rename(tmp_path / "elsewhere")
        beside.symlink_to(tmp_path / "elsewhere")
    elif damage == "folder":
        beside.unlink()
        beside.mkdir()
    else:
        save_file({name: array.astype(np.float32) for name, array in arrays.items()}, beside)
    with pytest.raises(CertificateError, match=r"^[^\n]+: expected [^\n]+$"):
        read_certificate(path)


def test_a_certificate_file_has_its_own_name_and_is_no_link(tmp_path):
    (path,) = write_certificates([a_certificate()], tmp_path, "model")
    link = tmp_path / "link.well-posedness.json"
    link.symlink_to(path)
    with pytest.raises(CertificateError, match="symbolic link"):
        read_certificate(link)
    link.unlink()
    path.rename(tmp_path / "other.json")
    with pytest.raises(CertificateError, match="expected a file <stem>"):
        read_certificate(tmp_path / "other.json")
    with pytest.raises(CertificateError, match="expected a readable file"):
        read_certificate(tmp_path / "nothing.json")


def test_importing_loads_nothing_heavy():
    code = (
        "import sys, verify.certificate, verify.environment;"
        "print(sorted({'numpy', 'sympy', 'flint', 'safetensors', 'numba'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert found.stdout == "[]\n", found.stderr
