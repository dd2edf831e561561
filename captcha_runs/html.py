"""What the HTML pages share: each is one file that opens from the disk.

check_target(path)              refuse a page that could not be written, before the work for it begins
write(path, template, ...)      a page from a template in this folder
embedded(image)                 an image, as a page holds it
"""

import base64
from pathlib import Path
from typing import Any

from captcha_cli import UserError
from captcha_sets.draw import png

import jinja2
from PIL import Image


def check_target(path: Path) -> None:
    """Raise UserError where there is no folder for the page of --report."""
    if not path.parent.is_dir():
        raise UserError(f"--report {path}: there is no folder {path.parent}; create it, or name another file")


def write(path: Path, template: str, **values: Any) -> None:
    """Write a page. Raises OSError where it cannot be written."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)
    path.write_text(environment.get_template(template).render(**values), encoding="utf-8")


def embedded(image: Image.Image) -> str:
    """The image as a PNG file, in base64."""
    return base64.b64encode(png(image)).decode()
