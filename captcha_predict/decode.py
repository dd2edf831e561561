"""From logits to text: what a network predicts, and how certain it is of exactly that.

p = probabilities(logits, captcha)          of each class at each position
labels, confidence = decode(p, captcha)     the text, as labels, and the probability that all of it is correct

`captcha` is anything with the attributes characters and min_length: a Reader, or the trainer's Config. Where lengths
vary (min_length is not 0) there is one class more, the last: nothing. The text ends at the first position where it is
the most probable.
"""

from typing import Any

import numpy as np


def classes(captcha: Any) -> tuple[str, ...]:
    """What the network tells apart: the characters, and, where lengths vary, nothing, written ""."""
    return (*captcha.characters, "") if captcha.min_length else tuple(captcha.characters)


def probabilities(logits: np.ndarray, captcha: Any) -> np.ndarray:
    """The softmax of logits, float [..., length, classes]. "Nothing" is impossible before min_length."""
    if captcha.min_length:
        logits = logits.copy()
        logits[..., : captcha.min_length, len(captcha.characters)] = -np.inf
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def decode(probabilities: np.ndarray, captcha: Any) -> tuple[np.ndarray, np.ndarray]:
    """The most probable character at each position, up to the end of the text.

    Args:
      probabilities: float [..., length, classes].
    Returns:
      labels: int [..., length]; after the end all are len(captcha.characters).
      confidence: float [...], the product of the probabilities of these characters and of the end.
    """
    labels, highest = probabilities.argmax(axis=-1), probabilities.max(axis=-1)
    if captcha.min_length:
        nothing = len(captcha.characters)
        ended = np.logical_or.accumulate(labels == nothing, axis=-1)
        labels[ended] = nothing
        highest[..., 1:][ended[..., :-1]] = 1.0  # after the end, nothing else can come
    return labels, highest.prod(axis=-1)
