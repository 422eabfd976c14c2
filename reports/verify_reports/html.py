"""Certificates as one HTML page: no script, nothing loaded from anywhere, readable in print."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

from verify_reports import _claims as claims
from verify_reports import _figures, _samples, _trend
from verify_reports import _witness as witnesses
from verify_reports._claims import Certificate
from verify_reports._mathml import mathml, wrapped
from verify_reports._text import capitalised, clean, counted, shorten

_MOST_SAMPLES = 200


def render(
    certificates: Sequence[Certificate],
    *,
    problems: Sequence[tuple[str, str]] = (),
    title: str = "",
) -> str:
    """Return the page.

    Args:
        certificates: what was decided.
        problems: (file, sentence) for each file that could not be checked.
        title: heading of a page with several certificates.
    """
    style = _template_text("style.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    page = _environment().get_template("report.html.j2")
    text: str = page.render(
        certificates=list(certificates),
        problems=list(problems),
        title=title or _title(certificates),
        style=style,
        style_digest=digest,
        most_samples=_MOST_SAMPLES,
    )
    return text


def _title(certificates: Sequence[Certificate]) -> str:
    if len(certificates) == 1:
        return str(certificates[0].claim["condition"]["title"])
    return counted(len(certificates), "certificate")


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        return value if isinstance(value, Markup | int | float) else clean(value)

    environment = Environment(
        loader=PackageLoader("verify_reports"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "math": lambda latex: Markup(mathml(str(latex))),
        "wrapped_math": lambda latex: Markup(wrapped(str(latex))),
        "shorten": shorten,
        "capitalised": capitalised,
        "counted": counted,
        "position": lambda value: f"{value:.2f}",
    }
    environment.globals |= {
        "claims": claims,
        "sample_records": _samples,
        "bars": _figures.bars,
        "axis": _figures.WIDTH,
        "trends": _trend.trends,
        "trend_size": (_trend.WIDTH, _trend.HEIGHT),
        "witnesses_of": witnesses.of_route,
        "witness_shown": witnesses.shown,
        "Safe": Markup,
    }
    return environment


def _template_text(name: str) -> str:
    from importlib.resources import files

    return files("verify_reports").joinpath("templates", name).read_text(encoding="utf-8")
