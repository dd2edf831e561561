"""Captchas drawn when they are needed, beside the network that reads them.

arrays(drawn, size, config)                 PNG files → batches of arrays
batches(manifest, first_step, config)       as captcha_data.training_batches, and no captcha comes twice
"""

import contextlib
import io
import itertools
import sys
from collections.abc import Generator, Iterator
from dataclasses import replace

from captcha_config import Config, UserError
from captcha_draw import check_fonts, draw_many
from captcha_model import grey

import numpy as np
import tensorflow as tf
from PIL import Image

ORDER = "one for each place in a batch"  # in what order they come; captcha_stream.order has the others


def arrays(drawn: Generator, size: int, config: Config) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Put captchas together, as captcha_draw.draw_many gives them.

    Yields:
      (uint8 [size, height, width, 3], int32 [size, length]); the last batch holds what is left.
    """
    with contextlib.closing(drawn):
        for batch in iter(lambda: list(itertools.islice(drawn, size)), []):
            images = np.stack([np.asarray(Image.open(io.BytesIO(encoded))) for _, encoded in batch])
            labels = [[config.characters.index(character) for character in text] for text, _ in batch]
            yield images, np.array(labels, np.int32)


def batches(
    manifest: dict, first_step: int, config: Config, part: tf.distribute.InputContext | None = None
) -> tf.data.Dataset:
    """Batches for the steps first_step, first_step + 1, … without end, drawn on config.workers processes.

    Captcha number i of the split "train" belongs to step i // batch_size. They are not augmented: each is new anyway.
    Each machine draws its share of a batch.

    Args:
      manifest: of a set like which to draw: its fonts and sizes count.
    Yields:
      As captcha_data.training_batches.
    Raises:
      UserError: the set's images were not drawn; or, with other characters, cannot be.
    """
    if manifest["source"]:
        raise UserError(
            f"endless: the {manifest['split']} set has the images of {manifest['source']}, which cannot be drawn"
        )
    part = part or tf.distribute.InputContext()
    size = config.batch_size // part.num_replicas_in_sync
    like = replace(config, fonts=tuple(manifest["fonts"]), font_sizes=tuple(manifest["font_sizes"]))
    check_fonts(like)
    mine = range(first_step * config.batch_size + part.input_pipeline_id, sys.maxsize, part.num_input_pipelines)
    signature = (
        tf.TensorSpec([size, config.height, config.width, 3], tf.uint8),
        tf.TensorSpec([size, config.length], tf.int32),
    )
    drawn = tf.data.Dataset.from_generator(
        lambda: arrays(draw_many(mine, "train", like), size, config), output_signature=signature
    )
    return drawn.map(lambda images, labels: (tf.cast(grey(images), tf.uint8), labels)).prefetch(tf.data.AUTOTUNE)
