"""HTML: pages from the templates, each in one file: every text is escaped, nothing is loaded from elsewhere."""

import base64
import hashlib
from importlib import resources
from typing import Any

import jinja2


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
    return environment.get_template(template).render(script=script, script_sha256=digest, **values)
