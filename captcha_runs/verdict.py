"""What to do next with images of your own: is the network fine, would more labels help, or does it overfit?

verdict(forward, manifests, held_out, config)   one line
"""

from collections.abc import Callable

import captcha_data
import captcha_model
from captcha_config import Config
from captcha_sets.draw import TRAIN

SAMPLE = 500  # training images that are read
FINE = 0.97  # captcha accuracy on the validation split
LEARNT = 0.9  # captcha accuracy on the training images, from which on they are known
NEAR_CHANCE = 0.2  # character accuracy beyond that of guessing, as a share of what there is to gain
CHECK = "check the labels (captcha_suspects.py)"


def verdict(forward: Callable, manifests: dict[str, dict], held_out: dict, config: Config) -> str:
    """Compare what the network reads of the images that it trained on with what it reads of the others.

    Args:
      forward: a function from the images of a batch to its logits.
      held_out: captcha_accuracy and character_accuracy on the validation split.
    """
    records = captcha_data.open_pixels(manifests[TRAIN], config)[:SAMPLE]
    batches = captcha_data.evaluation_batches(records, config.batch_size)
    logits, labels = captcha_model.predict(forward, batches)
    captchas, _ = captcha_model.evaluation(logits, labels, config)
    labelled = sum(manifest["count"] for manifest in manifests.values() if manifest["source"] is not None)
    return in_words(float(captchas.mean()), held_out, labelled, config)


def in_words(captchas: float, held_out: dict, labelled: int, config: Config) -> str:
    """The verdict for these accuracies.

    Args:
      captchas: captcha accuracy on training images.
      held_out: as in `verdict`.
      labelled: how many labelled images there are.
    """
    on_validation, chance = held_out["captcha_accuracy"], 1 / len(config.characters)
    read = f"captcha accuracy {captchas:.0%} in training, {on_validation:.0%} in validation"
    if on_validation >= FINE:
        return f"{read}: fine"
    if captchas < LEARNT:
        return f"{read}: it underfits; train for more steps (--max_steps {2 * config.max_steps}), and {CHECK}"
    if held_out["character_accuracy"] < chance + NEAR_CHANCE * (1 - chance):
        other = "without --init_from" if config.init_from else "--init_from starter"
        return (
            f"{read} (characters {held_out['character_accuracy']:.0%}): it has memorized its images; {CHECK},"
            f" label more, or train another network ({other}) with another --save_dir"
        )
    return f"{read}: more labels would help (you have {labelled})"
