"""HTML: pages from the templates, each in one file: every text is escaped, nothing is loaded from elsewhere."""

import base64
import hashlib
import re
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup, escape


def render(template: str, **values: Any) -> str:
    """The page of a template with its style and its script; the policy of the page allows this script alone."""
    script = (resources.files("vision_attn") / "templates" / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vision_attn", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["codes"] = codes
    return environment.get_template(template).render(script=script, script_sha256=digest, **values)


def codes(text: str) -> Markup:
    """A sentence, escaped, with what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  # escaped just now
