"""What the HTML pages share: each is one file that opens from the disk.

write(path, template, ...)      a page from a template
embedded(image)                 an image, as a page holds it
"""

import base64
from pathlib import Path
from typing import Any

from captcha_sets.draw import png
from captcha_sets.files import write_text

import jinja2
from PIL import Image


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


def embedded(image: Image.Image) -> str:
    """The image as a PNG file, in base64."""
    return base64.b64encode(png(image)).decode()
