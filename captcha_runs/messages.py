"""What the trainer says at its start and at its end, and a picture of what the network misread."""

import shlex

import captcha_model
from captcha_config import Config
from captcha_predict.decode import decode, probabilities, text_of
from captcha_predict.images import open_image
from captcha_runs.checkpoint_files import BEST
from captcha_sets.draw import TRAIN, is_own
from captcha_sets.manifest import VALIDATION
from captcha_sets.replace import belongs
from captcha_sets.sheet import COLUMNS, ROWS, contact_sheet

import keras
import numpy as np
from PIL import Image

MISREAD = COLUMNS * ROWS  # captchas in the picture of what was misread


def introduction(config: Config, manifests: dict, model: keras.Model, devices: str, step: int, cycle_start: int) -> str:
    """What is about to be trained, and from where."""
    images = "on-the-fly" if config.on_the_fly else manifests[TRAIN]["count"]
    what = f"{images} images of {config.width}x{config.height}, {model.count_params()} weights, on {devices}"
    if config.init_from and not step:
        what += f", from the weights of {config.init_from}"
    if 0 < step == cycle_start < config.max_steps:
        where = f"continuing from step {step} to step {config.max_steps}; the learning-rate schedule restarts"
    else:
        where = f"{'resuming from' if step else 'starting at'} step {step}, up to step {config.max_steps}"
    return f"{what}\n{where}"


def summary(config: Config, step: int, seconds: float, best: dict, manifest: dict) -> str:
    """The result, and what one may want to do next."""
    save_dir, sets, images = map(shlex.quote, (config.save_dir, config.tfrecords_dir, config.images_dir))
    captchas = "--fresh 20000" if manifest["source"] is None else f"--tfrecords_dir {sets}"
    if not is_own(config.drawer) and manifest["source"] is None:
        captchas += f" --drawer {config.drawer}"
    rows = [
        ("steps", f"{step}, in {seconds:.0f} s of training"),
        ("best", f"{best['captcha_accuracy']:.2%} of the validation captchas, at step {best['step']}"),
        ("saved", f"{config.save_dir}/{BEST}-{best['step']}"),
        ("next", f"python captcha_evaluate.py --save_dir {save_dir} {captchas}"),
    ]
    if belongs(VALIDATION, config):
        rows.append(("", f"python -m captcha_predict {images}/{VALIDATION} --model {save_dir}"))
    rows.append(("", f"tensorboard --logdir {save_dir}"))
    return "\n".join(f"{name:<5}  {text}" for name, text in rows)


def misread(records: np.ndarray, logits: np.ndarray, config: Config) -> Image.Image | None:
    """A picture of the first captchas that were read incorrectly, each with the caption "truth > prediction", or None.

    Args:
      records: of a split, as captcha_data.open_pixels returns them.
      logits: float32 [count, length, classes].
    """
    correct, _ = captcha_model.evaluation(logits, records["labels"], config)
    wrong = np.flatnonzero(~correct)[:MISREAD]
    if not wrong.size:
        return None
    predicted, _ = decode(probabilities(logits[wrong], config), config)
    pairs = zip(records["labels"][wrong], predicted, strict=True)
    captions = [f"{text_of(truth, config)} > {text_of(found, config)}" for truth, found in pairs]
    return contact_sheet([open_image(image) for image in records["image"][wrong]], COLUMNS, captions)
