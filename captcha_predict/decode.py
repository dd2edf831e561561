"""From logits to text: what a network predicts, and how certain it is of exactly that.

p = probabilities(logits, captcha)          of each class at each position
labels, confidence = decode(p, captcha)     the text, as labels, and the probability that all of it is correct
prediction_of(logits, captcha)              all of this for one captcha, as a Prediction

`captcha` is anything with the attributes characters, min_length and one_alphabet: a Reader, or the trainer's Config.
Where lengths vary (min_length is not 0) there is one extra class, the last: the end. The text ends at the first
position where it is the most probable.
"""

import functools
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

KINDS = (str.isdigit, str.islower, str.isupper)  # of characters
BLOCK = 1000  # texts whose alphabets are weighed at a time: each takes 60 kB on the way
LEAST = 1e-12  # smaller probabilities count as this one, so that logarithms are finite


@dataclass(frozen=True)
class Prediction:
    """What the network reads in an image."""

    text: str
    confidence: float  # the probability that exactly this is the text, 0 to 1
    positions: tuple[dict[str, float], ...]  # for each position, the probability of each character; "" is the end


def prediction_of(logits: np.ndarray, captcha: Any) -> Prediction:
    """What a network reads in one image: logits, float [length, classes] → a Prediction."""
    predicted, names = probabilities(logits, captcha), classes(captcha)
    labels, confidence = decode(predicted, captcha)
    positions = tuple(dict(zip(names, row, strict=True)) for row in predicted.tolist())
    return Prediction(text_of(labels, captcha), float(confidence), positions)


def classes(captcha: Any) -> tuple[str, ...]:
    """The classes: the characters and, where lengths vary, the end, as ""."""
    return (*captcha.characters, "") if captcha.min_length else tuple(captcha.characters)


def text_of(labels: np.ndarray, captcha: Any) -> str:
    """The text of labels, int [length]."""
    names = classes(captcha)
    return "".join([names[label] for label in labels])


def probabilities(logits: np.ndarray, captcha: Any) -> np.ndarray:
    """The softmax of logits, float [..., length, classes]. The end is impossible before min_length.

    With captcha.one_alphabet, a position's probabilities also depend on the other positions: see `_of_one_alphabet`.
    """
    if captcha.min_length:
        logits = logits.copy()
        logits[..., : captcha.min_length, len(captcha.characters)] = -np.inf
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    independent = powers / powers.sum(axis=-1, keepdims=True)
    if not captcha.one_alphabet:
        return independent
    texts = independent.reshape(-1, *independent.shape[-2:])
    blocks = np.array_split(texts, len(texts) // BLOCK + 1)
    return np.concatenate([_of_one_alphabet(block, captcha.characters) for block in blocks]).reshape(independent.shape)


def _of_one_alphabet(independent: np.ndarray, characters: str) -> np.ndarray:
    """The probabilities, if a text has the characters of one alphabet, and all alphabets are equally probable.

    The network was trained on texts whose characters were drawn independently of each other. So by Bayes' rule, the
    evidence for an alphabet is, at each position, the mean probability of its characters.

    Args:
      independent: float [..., length, classes].
    Returns:
      float [..., length, classes], the mean over the alphabets, weighted by the evidence of the whole text.
    """
    count, members = len(characters), alphabets(characters)
    known, end = independent[..., None, :, :count], independent[..., None, :, count:]
    possible = (known > 0).any(axis=-2, keepdims=True) & members[:, None]  # [..., alphabets, 1, characters]
    of_alphabet = known * possible * (count / np.maximum(possible.sum(axis=-1, keepdims=True, dtype=np.float32), 1))
    scaled = np.concatenate([of_alphabet, np.broadcast_to(end, (*of_alphabet.shape[:-1], end.shape[-1]))], -1)
    evidence = scaled.sum(axis=-1, keepdims=True).clip(LEAST)  # [..., alphabets, length, 1]
    weights = np.log(evidence).sum(axis=-2, keepdims=True)
    weights = np.exp(weights - weights.max(axis=-3, keepdims=True))
    return (weights * scaled / evidence).sum(axis=-3) / weights.sum(axis=-3)


@functools.lru_cache
def alphabets(characters: str) -> np.ndarray:
    """Digits, lower case and upper case, as far as they occur, and their mixtures: bool [alphabets, characters]."""
    kinds = np.array([[is_kind(character) for character in characters] for is_kind in KINDS])
    kinds = kinds[kinds.any(axis=1)]
    others = ~kinds.any(axis=0)  # belong to all alphabets
    numbers = range(len(kinds))
    mixtures = itertools.chain.from_iterable(itertools.combinations(numbers, n + 1) for n in numbers)
    return np.array([kinds[list(mixture)].any(axis=0) | others for mixture in mixtures] or [others])


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
        end = len(captcha.characters)
        ended = np.logical_or.accumulate(labels == end, axis=-1)
        labels[ended] = end
        highest[..., 1:][ended[..., :-1]] = 1.0  # after the end, nothing else can come
    return labels, highest.prod(axis=-1)
