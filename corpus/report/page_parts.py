"""What the pages of this project have in common: one look, one file each, no network needed.

A page's template extends `base.html.jinja` (head, style, Plotly's library) and fills its blocks:
`title`, `header`, `content`, `footer`, and `skip`, what its first link skips to. Charts and tables
come from the macros of `parts.html.jinja`.
"""

from base64 import b64encode
from pathlib import Path

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

_HERE = Path(__file__).parent


def rendered(template: Path, **values: object) -> str:
    """A page of its own, with nothing left to load.

    Args:
        template: its file; beside it and here are looked up what it extends and imports.
        values: what the template names. Text is escaped, MP3 bytes go through `sound`, whole
            numbers through `thousands`.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader((template.parent, _HERE)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    environment.filters |= {"sound": _sound, "thousands": lambda number: f"{number:,}"}
    return environment.get_template(template.name).render(library=Markup(get_plotlyjs()), **values)


def _sound(data: bytes) -> str:
    return "data:audio/mpeg;base64," + b64encode(data).decode("ascii")
