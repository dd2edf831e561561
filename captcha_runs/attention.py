"""Where a network looks for each position: the integrate-and-fire weights over the columns of an image.

with_weights(network)                       the network, with its position weights as a second output
tinted(image, weights)                      the image, with the columns of each position in its own colour
"""

import keras
import numpy as np
from PIL import Image

COLORS = np.array([(53, 132, 228), (230, 97, 0), (46, 160, 67), (163, 71, 186)])  # of positions, in turn
OPACITY = 0.55  # of the colour at the largest weight


def with_weights(network: keras.Model) -> keras.Model:
    """The same network, with two outputs.

    Returns:
      A model with two outputs: logits, float32 [batch, length, classes], and position weights, float32 [batch, length,
      columns]. The weights of a position add up to 1, or to less if the text ends there.
    """
    return keras.Model(network.input, [network.output, network.get_layer("position_weights").output])


def tinted(image: Image.Image, weights: np.ndarray) -> Image.Image:
    """The image, with the columns of each position tinted in its own colour.

    Args:
      image: RGB.
      weights: float [length, columns].
    """
    column = np.arange(image.width) * weights.shape[1] // image.width  # of each pixel
    shares = (weights / max(weights.max(), 1e-9))[:, column] * OPACITY  # [length, width]
    colors = COLORS[np.arange(len(shares)) % len(COLORS)]  # [length, 3]
    left = np.clip(1 - shares.sum(axis=0), 0, 1)  # the share of the image's own colour
    pixels = np.asarray(image) * left[None, :, None] + (shares.T @ colors)[None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
