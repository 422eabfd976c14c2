"""The record of a check: what is claimed, where it came from, and the arrays that prove it.

A certificate file ``<stem>.<condition>.json`` is one object in canonical JSON::

    {"certificate": claim,           depends on tensors, data and settings only (`verify._schema`)
     "digests": {"claim": sha256,    of the canonical JSON of the claim
                 "network": sha256 | null,   of the object {array name: array digest} of the
                 "witness": sha256 | null},  files beside it; null if there is no such file
     "guidance": [sentence, ...],
     "provenance": {...}}            file, time, machine, versions, cost; nothing is proved by it

``<stem>.<condition>.witness.safetensors`` beside it holds the arrays of its witnesses, and
``<stem>.network.safetensors`` the exact tensors and data of all conditions. The claim names the
digest of every array, so the digest of the claim binds all of them, in whatever container they lie.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from verify._schema import SCHEMA, check_claim, witnesses
from verify.canonical import (
    canonical_bytes,
    decode_enclosure,
    decode_value,
    digest_array,
    digest_of,
    encode_enclosure,
    encode_value,
    parse_canonical,
    stored_array,
    tensors_named_in,
)
from verify.errors import CertificateError
from verify.verdict import Verdict

__all__ = [
    "SCHEMA",
    "Certificate",
    "decode_enclosure",
    "decode_value",
    "digest_array",
    "encode_enclosure",
    "encode_value",
    "read_certificate",
    "write_certificates",
]

_LARGEST_ARRAYS = 1 << 34  # bytes


@dataclass(frozen=True, eq=False)
class Certificate:
    """What was decided about one network by one condition.

    Args:
        claim: the fields of `verify._schema`; equal tensors and settings give an equal claim.
        provenance: file, time, machine, versions, cost.
        guidance: what would help, one sentence each.
        arrays: the arrays of the witnesses, by the names in the claim.
        network: the exact tensors and data, by role.
    """

    claim: dict[str, Any]
    provenance: dict[str, Any] = field(default_factory=dict)
    guidance: tuple[str, ...] = ()
    arrays: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """Pass, fail, undecided or not applicable."""
        return Verdict(self.claim["verdict"])

    @property
    def sentence(self) -> str:
        """What a person reads first."""
        return str(self.claim["sentence"])

    @property
    def condition(self) -> str:
        """The name of the condition."""
        return str(self.claim["condition"]["name"])

    @property
    def digest(self) -> str:
        """The digest of the claim."""
        return digest_of(self.claim)

    def to_json(self) -> str:
        """Return the file as text.

        Raises:
            CertificateError: the claim does not have the fields of its schema.
        """
        check_claim(self.claim)
        record = {
            "certificate": self.claim,
            "digests": _digests(self.claim),
            "guidance": list(self.guidance),
            "provenance": self.provenance,
        }
        return canonical_bytes(record).decode("ascii")

    @classmethod
    def from_json(
        cls,
        text: str | bytes,
        *,
        arrays: Mapping[str, Any] | None = None,
        network: Mapping[str, Any] | None = None,
    ) -> Self:
        """Read a certificate strictly, and check the arrays that are given against it.

        Raises:
            CertificateError: not canonical, of another version, unknown or malformed fields, or
                something does not fit its digest.
        """
        content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        record = parse_canonical(content)
        fields = {"certificate", "digests", "guidance", "provenance"}
        if not isinstance(record, dict) or set(record) != fields:
            raise CertificateError(
                f"certificate: expected an object with the fields {sorted(fields)}, "
                f"but got {sorted(record) if isinstance(record, dict) else type(record).__name__}"
            )
        claim, guidance, provenance = (
            record[key] for key in ("certificate", "guidance", "provenance")
        )
        check_claim(claim)
        if not isinstance(provenance, dict) or not isinstance(guidance, list):
            raise CertificateError("certificate: expected provenance {...} and guidance [...]")
        if not all(isinstance(sentence, str) for sentence in guidance):
            raise CertificateError("certificate.guidance: expected sentences")
        if record["digests"] != _digests(claim):
            raise CertificateError(
                f"certificate.digests: expected {_digests(claim)}, but got {record['digests']!r}; "
                f"the certificate was changed after it was written"
            )
        if arrays is not None:
            _check_arrays(arrays, _witness_digests(claim), "witness")
        if network is not None:
            _check_arrays(network, _network_digests(claim), "network")
        return cls(claim, provenance, tuple(guidance), arrays or {}, network or {})


def _witness_digests(claim: dict[str, Any]) -> dict[str, str]:
    named: dict[str, str] = {}
    for witness in witnesses(claim):
        for name, digest in tensors_named_in(list(witness["data"].values())):
            if named.setdefault(name, digest) != digest:
                raise CertificateError(f"witness: expected one digest of {name!r}, but got two")
    return named


def _network_digests(claim: Mapping[str, Any]) -> dict[str, str]:
    stored = {**claim["tensors"], **(claim["data"] or {})}
    return {role: entry["digest"] for role, entry in stored.items()}


def _digests(claim: dict[str, Any]) -> dict[str, str | None]:
    witness, network = _witness_digests(claim), _network_digests(claim)
    return {
        "claim": digest_of(claim),
        "network": digest_of(network) if network else None,
        "witness": digest_of(witness) if witness else None,
    }


def _check_arrays(arrays: Mapping[str, Any], digests: Mapping[str, str], where: str) -> None:
    if set(arrays) != set(digests):
        raise CertificateError(
            f"{where}: expected the arrays {sorted(digests)}, but got {sorted(arrays)}"
        )
    for name, digest in digests.items():
        if digest_array(arrays[name]) != digest:
            raise CertificateError(
                f"{where}: expected array {name!r} with {digest}, but got another array"
            )


# --- files -----------------------------------------------------------------------------------


def write_certificates(
    certificates: Sequence[Certificate], folder: str | Path, stem: str
) -> list[Path]:
    """Write the certificates of one network with their arrays: all files or none.

    Args:
        certificates: one a condition, all about the same tensors and data.
        folder: created if it does not exist.
        stem: the begin of every file name, usually the model's.

    Returns:
        The certificate files, in the order of ``certificates``.

    Raises:
        CertificateError: not writable, a bad stem, certificates about different networks, or arrays
            that are not those of the claim.
    """
    if not re.fullmatch(r"[^/\\\0.][^/\\\0]*", stem):
        raise CertificateError(f"write_certificates: expected a file stem, but got {stem!r}")
    contents: dict[str, bytes | None] = {}
    files = []
    for certificate in certificates:
        name = f"{stem}.{certificate.condition}"
        if f"{name}.json" in contents:
            raise CertificateError(
                f"write_certificates: expected one certificate for each condition, "
                f"but got two for {certificate.condition!r}"
            )
        check_claim(certificate.claim)
        _check_arrays(certificate.arrays, _witness_digests(certificate.claim), "witness")
        _check_arrays(certificate.network, _network_digests(certificate.claim), "network")
        network = _saved(certificate.network)
        if contents.setdefault(f"{stem}.network.safetensors", network) != network:
            raise CertificateError("write_certificates: expected certificates about one network")
        contents[f"{name}.witness.safetensors"] = _saved(certificate.arrays)
        contents[f"{name}.json"] = certificate.to_json().encode("ascii")
        files.append(Path(folder) / f"{name}.json")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        _replace_all(Path(folder), contents)
    except OSError as error:
        raise CertificateError(
            f"write_certificates: expected to write into {str(folder)!r}, but got {error}"
        ) from error
    return files


def _saved(arrays: Mapping[str, Any]) -> bytes | None:
    """Return the bytes of a safetensors file, or None if there is nothing to store."""
    if not arrays:
        return None
    from safetensors.numpy import save

    return bytes(save({name: stored_array(array, where=name) for name, array in arrays.items()}))


def _replace_all(folder: Path, contents: Mapping[str, bytes | None]) -> None:
    """Write all files beside their places, then swap them in; undo everything on an error.

    None removes a file that an earlier check left.
    """
    tag = secrets.token_hex(8)
    fresh = {name: folder / f".{tag}.{k}.new" for k, name in enumerate(contents)}
    old = {name: folder / f".{tag}.{k}.old" for k, name in enumerate(contents)}
    swapped: list[str] = []
    try:
        for name, content in contents.items():
            if content is not None:
                fresh[name].write_bytes(content)
        for name, content in contents.items():
            swapped.append(name)
            if (folder / name).is_file() or (folder / name).is_symlink():
                os.replace(folder / name, old[name])
            if content is not None:
                os.replace(fresh[name], folder / name)
    except BaseException:
        for name in reversed(swapped):
            with suppress(OSError):
                if contents[name] is not None and not fresh[name].exists():
                    (folder / name).unlink()
                if old[name].exists() or old[name].is_symlink():
                    os.replace(old[name], folder / name)
        raise
    finally:
        for path in [*fresh.values(), *old.values()]:
            with suppress(OSError):
                path.unlink()


def read_certificate(path: str | Path) -> Certificate:
    """Read a certificate and the arrays beside it, and check every digest.

    The names of the files beside it follow from its own, so it cannot point elsewhere.

    Raises:
        CertificateError: a file is missing, a link, malformed or does not fit its digest.
    """
    path = Path(path)
    certificate = Certificate.from_json(_read(path, 1 << 28))
    suffix = f".{certificate.condition}.json"
    if not path.name.endswith(suffix) or path.name == suffix:
        raise CertificateError(
            f"read_certificate: expected a file <stem>{suffix}, but got {path.name!r}; "
            f"the files beside a certificate are found by its name"
        )
    stem = path.name.removesuffix(suffix)
    arrays, network = {}, {}
    if _witness_digests(certificate.claim):
        arrays = _loaded(path.with_name(f"{stem}.{certificate.condition}.witness.safetensors"))
        _check_arrays(arrays, _witness_digests(certificate.claim), "witness")
    if _network_digests(certificate.claim):
        network = _loaded(path.with_name(f"{stem}.network.safetensors"))
        _check_arrays(network, _network_digests(certificate.claim), "network")
    return Certificate(
        certificate.claim, certificate.provenance, certificate.guidance, arrays, network
    )


def _read(path: Path, largest: int) -> bytes:
    """Return the bytes of a regular file that is no link and not too large."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        if path.is_symlink():
            raise CertificateError(f"{path.name}: expected a file, but got a symbolic link")
        with open(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode) or about.st_size > largest:
                raise CertificateError(
                    f"{path.name}: expected a file of at most {largest} bytes, "
                    f"but got {about.st_size} bytes of mode {stat.filemode(about.st_mode)}"
                )
            return file.read(largest + 1)
    except OSError as error:
        raise CertificateError(f"{path.name}: expected a readable file, but got {error}") from None


def _loaded(path: Path) -> dict[str, Any]:
    """Return the arrays of a safetensors file of float64 and int64."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    content = _read(path, _LARGEST_ARRAYS)
    try:
        arrays = dict(load(content))
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CertificateError(f"{path.name}: expected safetensors, but got {error}") from None
    for name, array in arrays.items():
        if array.dtype.str not in ("<f8", "<i8"):
            raise CertificateError(
                f"{path.name}: expected float64 or int64, but got {array.dtype} for {name!r}"
            )
    return arrays
