"""What the HTML pages share: each is one file that opens from the disk.

check_target(path, option)      refuse a file that could not be written, before the work for it begins
write(path, template, ...)      a page from a template
embedded(image)                 an image, as a page holds it
embedded_json(values)           values, as a script in a page reads them
"""

import base64
import json
import os
from pathlib import Path
from typing import Any

from captcha_cli import UserError
from captcha_sets.draw import png
from captcha_sets.files import write_text

import jinja2
from markupsafe import Markup
from PIL import Image


def check_target(path: Path | None, option: str = "--report") -> None:
    """Raise UserError where the option names a file that cannot be written."""
    if path is None:
        return
    if path.is_dir():
        raise UserError(f"{option} {path}: is a folder; name a file in it")
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: there is no folder {path.parent}; create it, or name another file")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{option} {path}: nothing can be written to {path.parent}; name another file")


def write(path: Path, template: str | Path, **values: Any) -> None:
    """Write a page, whole or not at all.

    Args:
      template: the name of one in this folder, or the path of another.
    Raises:
      OSError: it cannot be written.
    """
    file = Path(__file__).parent / template  # a path that begins at the root stays as it is
    loader = jinja2.FileSystemLoader([file.parent, Path(__file__).parent])  # the second has what templates share
    environment = jinja2.Environment(loader=loader, autoescape=True)
    write_text(path, environment.get_template(file.name).render(**values))


def embedded_json(values: Any) -> Markup:
    """Values as JSON in a page; no text in them can end the script element."""
    return Markup(json.dumps(values, ensure_ascii=False).replace("<", "\\u003c"))


def embedded(image: Image.Image) -> str:
    """The image as a PNG file, in base64."""
    return base64.b64encode(png(image)).decode()
