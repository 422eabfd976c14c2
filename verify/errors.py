"""Every exception of the project; each carries the exit code of the command.

Wording: ``<where>: expected <what>, but got <value>[; <what to do>]``, one sentence.
"""

from __future__ import annotations


class VerifyError(Exception):
    """Root of all errors that this project raises on purpose."""

    exit_code = 2


class InputError(VerifyError, ValueError):
    """The caller's data is not what the function needs."""


class SettingsError(InputError):
    """A setting that nothing may guess is missing, unknown or malformed."""


class StatementError(VerifyError, ValueError):
    """A statement is ill-formed: inexact numbers, no free symbols, unbound symbols."""


class EnclosureError(VerifyError, ValueError):
    """An enclosure would be empty, NaN or not dyadic."""


class CertificateError(VerifyError, ValueError):
    """A certificate is not canonical, of another version, or does not fit its digests."""


class UnsafeFileError(VerifyError, ValueError):
    """The file asks for something that would execute code; it was refused."""

    exit_code = 4


class BackendError(VerifyError, RuntimeError):
    """A backend is missing, or its arithmetic failed the self-test."""

    exit_code = 5


class MissingBackendError(BackendError):
    """The backend that was asked for is not installed; another one would do."""

    exit_code = 2


class ContradictionError(VerifyError, RuntimeError):
    """Two rigorous routes disagree: a defect of this program, never an answer."""

    exit_code = 5


class PluginError(VerifyError, RuntimeError):
    """A plug-in could not be loaded, or two plug-ins claim one name."""
