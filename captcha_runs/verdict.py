"""What to do next with images of your own: is the network fine, would more labels help, or did it learn by heart?

verdict(forward, manifests, held_out, config)   one line
"""

from collections.abc import Callable

import captcha_data
import captcha_model
from captcha_config import Config
from captcha_sets.draw import TRAIN
from captcha_sets.manifest import VALIDATION

SAMPLE = 500  # training images that are read
FINE = 0.97  # captcha accuracy on the validation split
LEARNT = 0.9  # character accuracy on the training images, from which on they are known
NEAR_CHANCE = 0.2  # character accuracy beyond that of guessing, as a share of what there is to gain


def verdict(forward: Callable, manifests: dict[str, dict], held_out: dict, config: Config) -> str:
    """Compare what the network reads of the images that it trained on with what it reads of the others.

    Args:
      forward: a function from the images of a batch to its logits.
      held_out: captcha_accuracy and character_accuracy on the validation split.
    """
    records = captcha_data.open_pixels(manifests[TRAIN], config)[:SAMPLE]
    batches = captcha_data.evaluation_batches(records, config.batch_size)
    logits, labels = captcha_model.predict(forward, batches)
    captchas, characters = captcha_model.evaluation(logits, labels, config)
    labelled = sum(manifests[split]["count"] for split in (TRAIN, VALIDATION))
    return in_words(float(captchas.mean()), float(characters.mean()), held_out, labelled, config)


def in_words(captchas: float, characters: float, held_out: dict, labelled: int, config: Config) -> str:
    """The verdict for these accuracies.

    Args:
      captchas, characters: accuracies on training images.
      held_out: as in `verdict`.
      labelled: how many labelled images there are.
    """
    on_validation, chance = held_out["captcha_accuracy"], 1 / len(config.characters)
    if on_validation >= FINE:
        return "fine: it reads the validation captchas nearly as well as it can"
    read = f"it reads {captchas:.0%} of the training captchas and {on_validation:.0%} of the validation captchas"
    if characters < LEARNT:
        more = "" if config.init_from else ", --init_from"
        return f"{read}: it has not learnt them yet; try more steps (--max_steps){more}, and look at the labels"
    if held_out["character_accuracy"] < chance + NEAR_CHANCE * (1 - chance):
        colour = "" if config.input_color else " --input_color,"
        return (
            f"{read}, of whose characters it reads {held_out['character_accuracy']:.0%}: it has learnt its images by"
            f" heart; try --init_from,{colour} --rotate 10 --zoom 0.1, more labels, and look at the labels"
        )
    return f"{read}: more labels would help; you have {labelled}"
