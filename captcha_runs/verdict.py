"""What to do next with images of your own: is the network fine, would more labels help, or does it overfit?

verdict(forward, manifests, held_out, config)   one line
"""

from collections.abc import Callable

import captcha_data
import captcha_model
from captcha_config import Config
from captcha_predict import STARTER
from captcha_runs import metrics
from captcha_sets.draw import TRAIN
from captcha_sets.manifest import VALIDATION

SAMPLE = 500  # training images that are read
FINE = 0.97  # captcha accuracy on the validation split
LEARNT = 0.9  # captcha accuracy on the training images from which the network counts as having learnt them
MEMORIZED = 0.3  # the same from which it counts as memorizing them, if it only guesses the characters of other images
NEAR_CHANCE = 0.2  # character accuracy beyond that of guessing, as a share of what there is to gain
CHECK = "check the labels (captcha_suspects.py)"


def verdict(forward: Callable, manifests: dict[str, dict], held_out: dict, config: Config) -> str:
    """Compare what the network reads of the images that it trained on with what it reads of the others.

    Args:
      forward: a function from the images of a batch to its logits.
      held_out: captcha_accuracy of the best checkpoint and character_accuracy of the last one, on the validation split.
    """
    records = captcha_data.open_pixels(manifests[TRAIN], config)[:SAMPLE]
    batches = captcha_data.evaluation_batches(records, config.batch_size)
    logits, labels = captcha_model.predict(forward, batches)
    captchas, _ = captcha_model.evaluation(logits, labels, config)
    imported = [manifest for manifest in manifests.values() if manifest["source"] is not None]
    labelled = sum(manifest["count"] for manifest in imported) - manifests[TRAIN].get("joined", 0)
    return in_words(float(captchas.mean()), held_out, manifests[VALIDATION]["count"], labelled, config)


def in_words(captchas: float, held_out: dict, count: int, labelled: int, config: Config) -> str:
    """The verdict for these accuracies.

    Args:
      captchas: captcha accuracy on training images.
      held_out: as in `verdict`.
      count: how many images the validation split has.
      labelled: how many labelled images there are.
    """
    on_validation, chance = held_out["captcha_accuracy"], 1 / len(config.characters)
    read = f"captcha accuracy {captchas:.0%} in training, {on_validation:.0%} in validation"
    if on_validation >= FINE:
        least, _ = metrics.wilson_interval(round(on_validation * count), count)
        return f"{read}: fine" if least >= LEARNT else f"{read}: fine, as far as {count} images can tell"
    characters = max(held_out["character_accuracy"], on_validation)  # the best checkpoint's is at least as high
    guessed = characters < chance + NEAR_CHANCE * (1 - chance)
    if guessed and captchas >= MEMORIZED:
        other = "without --init_from" if config.init_from == STARTER else f"--init_from {STARTER}"
        return (
            f"{read} (characters {characters:.0%}): it has memorized its images; {CHECK},"
            f" label more, or train another network ({other}) with another --save_dir"
        )
    if captchas < max(LEARNT, on_validation):
        return f"{read}: it underfits; train for more steps (--max_steps {2 * config.max_steps}), and {CHECK}"
    return f"{read}: more labels would help (you have {labelled})"
