"""Certificates as JUnit XML: one test case a condition and file, for continuous integration."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from verify_reports import _claims as claims
from verify_reports._claims import Certificate
from verify_reports._text import clean


def render(
    certificates: Sequence[Certificate],
    *,
    problems: Sequence[tuple[str, str]] = (),
    requested: bool = False,
) -> str:
    """Return one XML document.

    ``fail`` and ``undecided`` are failures, since nothing was proved; a file that could not be
    checked is an error. A condition that does not apply is skipped, unless it was ``requested``.
    """
    suite = ElementTree.Element("testsuite", name="verify")
    failed = skipped = 0
    for certificate in certificates:
        claim = certificate.claim
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=claims.file_of(certificate),
            name=clean(claim["condition"]["name"]),
            time=_time(certificate),
        )
        if claim["verdict"] == "not applicable" and not requested:
            skipped += 1
            ElementTree.SubElement(case, "skipped", message=clean(claim["sentence"]))
        elif claim["verdict"] != "pass":
            failed += 1
            detail = ElementTree.SubElement(
                case, "failure", type=clean(claim["verdict"]), message=clean(claim["sentence"])
            )
            detail.text = "\n".join(clean(step) for step in certificate.guidance)
    for file, sentence in problems:
        case = ElementTree.SubElement(suite, "testcase", classname=clean(file), name="read")
        ElementTree.SubElement(case, "error", message=clean(sentence))
    suite.set("tests", str(len(certificates) + len(problems)))
    suite.set("failures", str(failed))
    suite.set("skipped", str(skipped))
    suite.set("errors", str(len(problems)))
    ElementTree.indent(suite)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return head + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _time(certificate: Certificate) -> str:
    cost = certificate.provenance.get("cost") or {}
    try:
        return f"{float(cost['total_s']):.3f}"
    except (KeyError, TypeError, ValueError):
        return "0"
