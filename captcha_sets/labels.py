"""What a label may be, and the CSV file of labels. It needs no TensorFlow.

why = wrong(text, config, typed)        why a label cannot be used; "" if it can
for file, label in csv_labels(path):    the rows of a CSV file with the columns file and label
"""

import csv
from collections.abc import Collection, Iterator
from pathlib import Path

from captcha_cli import UserError
from captcha_config import MAX_LENGTH, Config

RARE = 0.01  # a length is rare if at most this share of the labels have it


def wrong(text: str, config: Config, typed: Collection[str] = ()) -> str:
    """Why a label cannot be used; "" if it can.

    Args:
      typed: fields of the config that the label must match: "characters", "length", "min_length".
    """
    blank = [character for character in text if character.isspace() or not character.isprintable()]
    if not 0 < len(text) <= MAX_LENGTH:
        return f"has {len(text)} characters; 1 to {MAX_LENGTH} are possible"
    if blank:
        return f"has {blank[0]!r}, which cannot be seen in an image"
    if "length" in typed and len(text) not in config.lengths:
        return f"has {len(text)} characters, not {config.lengths_in_words}"
    if "min_length" in typed and len(text) < config.lengths[0]:
        return f"has {len(text)} characters, fewer than {config.lengths[0]}"
    outside = sorted(set(text) - set(config.characters)) if "characters" in typed else []
    return f"has {outside[0]!r}, which is not one of the characters" if outside else ""


def csv_labels(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (file, label) of each row. Raises UserError if the file is not a CSV file with these columns."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        try:
            rows = csv.DictReader(file, strict=True)
            if not {"file", "label"} <= set(rows.fieldnames or ()):
                raise UserError(f"{path}: its first line must name the columns: file,label")
            for row in rows:
                if not row["file"] or row["label"] is None or any(row.get(None, ())):  # None: too many fields
                    raise UserError(f"{path}: line {rows.line_num} does not have a file and a label; correct it")
                yield row["file"], row["label"]
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"{path}: is not a CSV file in UTF-8 ({error}); correct it") from error
