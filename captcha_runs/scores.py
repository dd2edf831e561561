"""What a network predicts for a set of captchas, measured.

results = Results(logits, labels, ...)
score(results)                          accuracies, calibration, confusions, as plain values
gallery(results)                        captchas to look at: misread, uncertain
"""

import collections
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import captcha_model
from captcha_config import Config
from captcha_predict.decode import classes, decode, probabilities, text_of
from captcha_runs import metrics

import numpy as np
from PIL import Image

MAX_MISREAD, MAX_UNCERTAIN = 40, 20  # captchas that the report shows


@dataclass
class Results:
    """What a network predicts for a set of captchas."""

    logits: np.ndarray  # float32 [count, length, classes], calibrated
    labels: np.ndarray  # int32 [count, length]
    images: Callable[[Sequence[int]], list[Image.Image]]  # from indices to captchas
    config: Config  # the network's, with the caller's folders and seed
    model: str  # the network's file
    source: str  # where the captchas are from, in words
    trained_with: dict  # the config that the network was trained with
    look: Callable | None = None  # images → (logits, position weights); None for an exported model
    probabilities: np.ndarray = field(init=False)  # float32 [count, length, classes]
    predicted: np.ndarray = field(init=False)  # int [count, length], labels
    confidence: np.ndarray = field(init=False)  # float32 [count], the probability that the predicted text is correct
    correct: np.ndarray = field(init=False)  # bool [count], which captchas are read correctly
    correct_characters: np.ma.MaskedArray = field(init=False)  # bool [count, length], as captcha_model.evaluation masks

    def __post_init__(self) -> None:
        self.probabilities = probabilities(self.logits, self.config)
        self.predicted, self.confidence = decode(self.probabilities, self.config)
        self.correct, self.correct_characters = captcha_model.correct(self.predicted, self.labels, self.config)


def score(results: Results) -> dict:
    """The measures, as plain values.

    Returns:
      captcha_accuracy and character_accuracy (0 to 1), interval (of the former, 95 %), calibration_error (0 to 1),
      calibration and thresholds (see captcha_runs.metrics), by_position and by_character (accuracies of characters;
      None at a position that no captcha has), by_length (captcha accuracy),
      confusions ([truth, prediction, count], the most frequent first), count, source, model.
    """
    correct, names = results.correct, classes(results.config)
    labels, wrong = results.labels, ~results.correct_characters.filled(True)
    confusions = collections.Counter(zip(labels[wrong].tolist(), results.predicted[wrong].tolist(), strict=True))
    by_character = {
        character: float(results.correct_characters[labels == label].mean())
        for label, character in enumerate(results.config.characters)
        if (labels == label).any()
    }
    return {
        "captcha_accuracy": float(correct.mean()),
        "character_accuracy": float(results.correct_characters.mean()),
        "interval": metrics.wilson_interval(int(correct.sum()), len(correct)),
        "calibration_error": metrics.calibration_error(results.confidence, correct),
        "calibration": metrics.calibration(results.confidence, correct),
        "thresholds": metrics.thresholds(results.confidence, correct),
        "by_position": results.correct_characters.mean(axis=0).tolist(),
        "by_length": _by_length(results),
        "by_character": by_character,
        "confusions": [[names[a], names[b], count] for (a, b), count in confusions.most_common()],
        "count": len(correct),
        "source": results.source,
        "model": results.model,
    }


def _by_length(results: Results) -> dict[int, dict]:
    """For each length of a captcha: how many have it, and the share of these that is correct."""
    lengths = (results.labels < len(results.config.characters)).sum(axis=-1)
    parts = {length: results.correct[lengths == length] for length in results.config.lengths}
    return {
        length: {"count": len(part), "captcha_accuracy": float(part.mean())}
        for length, part in parts.items()
        if len(part)
    }


def gallery(results: Results) -> dict[str, list[dict]]:
    """Captchas to look at, by heading: truth, prediction, confidence, probabilities of what was predicted, image;
    of a checkpoint also weights, float32 [length, columns]."""
    by_confidence = np.argsort(results.confidence, kind="stable")
    wrong = by_confidence[~results.correct[by_confidence]][::-1]
    misread = wrong[:MAX_MISREAD]
    uncertain = by_confidence[results.correct[by_confidence]][:MAX_UNCERTAIN]
    images = results.images([*misread, *uncertain])
    entries = [_entry(results, *pair) for pair in zip([*misread, *uncertain], images, strict=True)]
    if results.look and entries:
        _, weights = results.look(np.stack([np.asarray(image) for image in images]))
        entries = [{**entry, "weights": of_image} for entry, of_image in zip(entries, weights, strict=True)]
    return {
        f"Misread, the most certain first ({len(misread)} of {len(wrong)})": entries[: len(misread)],
        "Read correctly, the least certain first": entries[len(misread) :],
    }


def _entry(results: Results, index: int, image: Image.Image) -> dict:
    prediction = text_of(results.predicted[index], results.config)
    return {
        "truth": text_of(results.labels[index], results.config),
        "prediction": prediction,
        "confidence": float(results.confidence[index]),
        "probabilities": results.probabilities[index].max(axis=-1)[: len(prediction)].tolist(),
        "image": image,
    }
