"""Where a network looks for each position: the integrate-and-fire weights over the columns of an image.

looking = with_weights(network)             the network, with its position weights as a second output
tinted(image, weights)                      the image, with each position's columns in a colour of its own
"""

import keras
import numpy as np
from PIL import Image

COLORS = np.array([(53, 132, 228), (230, 97, 0), (46, 160, 67), (163, 71, 186)])  # of positions, in turn
OPACITY = 0.55  # of the colour where a position's weight is largest


def with_weights(network: keras.Model) -> keras.Model:
    """The same network, with two outputs.

    Returns:
      A model of images with the outputs logits, float32 [batch, length, classes], and position weights, float32 [batch,
      length, columns]. A position's weights add up to 1, or to less where the text ends in it.
    """
    values = network.get_layer("values").output
    pairs = (one.input for one in network.operations if isinstance(one.input, list) and len(one.input) == 2)
    weights = next(first for first, second in pairs if second is values)  # of the product of the two
    return keras.Model(network.input, [network.output, weights])


def tinted(image: Image.Image, weights: np.ndarray) -> Image.Image:
    """The image, with the columns that belong to each position in that position's colour.

    Args:
      image: RGB.
      weights: float [length, columns].
    """
    column = np.arange(image.width) * weights.shape[1] // image.width  # of each pixel
    shares = (weights / max(weights.max(), 1e-9))[:, column] * OPACITY  # [length, width]
    colors = COLORS[np.arange(len(shares)) % len(COLORS)]  # [length, 3]
    left = np.clip(1 - shares.sum(axis=0), 0, 1)  # of the image's own colour
    pixels = np.asarray(image) * left[None, :, None] + (shares.T @ colors)[None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
