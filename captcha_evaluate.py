"""Score the best checkpoint, exactly: over the validation split, or over captchas drawn for the purpose.

python captcha_evaluate.py
python captcha_evaluate.py --fresh 20000 --seed 7
"""

import contextlib
import dataclasses
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

import captcha_data
import captcha_model
import captcha_save
from captcha_config import Config, UserError, parse_args, run
from captcha_draw import draw_many, track

import numpy as np
from PIL import Image

FIELDS = ("seed", "workers", "tfrecords_dir", "save_dir", "memory_budget")
FRESH = "fresh/captchas"  # no folder can have this name, so no split was ever drawn with it
BATCH_SIZE = 256


def evaluate(config: Config, fresh: int = 0) -> dict:
    """Score the best checkpoint in config.save_dir. Characters and size are those it was trained with.

    Args:
      config: save_dir, tfrecords_dir and workers; and seed, with `fresh`.
      fresh: captchas to draw, which training cannot have seen; 0: the validation split.
    Returns:
      captcha_accuracy and character_accuracy (0 to 1), interval (of the former, 95 %), count, source, checkpoint.
    Raises:
      UserError: there is no checkpoint, or no validation split like those it was trained with.
    """
    folder = Path(config.save_dir)
    commit = captcha_save.newest(folder, captcha_save.BEST)
    if not commit:
        raise UserError(f"{folder.absolute()}: there is no checkpoint; train one: python captcha_train.py")
    own = {name: getattr(config, name) for name in FIELDS}
    drawn_with = commit["drawn_with"]
    if fresh and drawn_with["source"]:
        raise UserError(
            f"--fresh: the network was trained on the images of {drawn_with['source']}/, which cannot be drawn; leave"
            " it out to score the validation split"
        )
    fonts = {name: tuple(drawn_with[name]) for name in ("fonts", "font_sizes")}
    trained = dataclasses.replace(captcha_save.saved_config(commit), **own, **fonts)
    model = captcha_model.build(trained, channels=3 if fresh else 1)
    captcha_save.restore(commit, model)

    if fresh:
        batches, source = fresh_batches(fresh, trained), f"fresh captchas, seed {config.seed}"
    else:
        batches = captcha_data.evaluation_batches(*captcha_data.load("validation", trained), BATCH_SIZE)
        source = "validation split"
    captchas, characters, count = captcha_model.score(model, batches)
    return {
        "captcha_accuracy": captchas / count,
        "character_accuracy": characters / (count * trained.length),
        "interval": wilson_interval(captchas, count),
        "count": count,
        "source": source,
        "checkpoint": str(commit["path"].with_suffix("")),
    }


def fresh_batches(count: int, config: Config) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw captchas that no split holds, on config.workers processes.

    Yields:
      (uint8 [batch, height, width, 3], int32 [batch, length]).
    """
    images, labels = [], []
    with contextlib.closing(track(draw_many(count, FRESH, config), count, "fresh captchas")) as drawn:
        for i, (text, encoded) in enumerate(drawn, 1):
            images.append(np.asarray(Image.open(io.BytesIO(encoded))))
            labels.append([config.characters.index(character) for character in text])
            if len(images) == BATCH_SIZE or i == count:
                yield np.stack(images), np.array(labels, np.int32)
                images, labels = [], []


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """Where the true share lies with a confidence of 95 %, `right` of `count` having been seen.

    Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953: sound near 100 % too, where the common one is not.
    """
    z = 1.959964  # 95 % of a normal distribution lie within so many deviations
    share, spread = right / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def main() -> None:
    def extras(parser):
        parser.add_argument("--fresh", type=int, default=0, metavar="N", help="score N captchas drawn now, by --seed")
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")

    config, args = parse_args(__doc__, FIELDS, extras)
    if not 0 <= args.fresh <= 10**9:
        raise UserError(f"--fresh {args.fresh} is out of range; it must be from 0 to {10**9}")
    score = evaluate(config, args.fresh)
    if args.json:
        print(json.dumps(score))
        return
    low, high = score["interval"]
    print(f"{score['checkpoint']} on {score['count']} captchas ({score['source']})")
    print(f"captcha accuracy    {score['captcha_accuracy']:7.2%}  (95 % interval {low:.2%} to {high:.2%})")
    print(f"character accuracy  {score['character_accuracy']:7.2%}")


if __name__ == "__main__":
    run(main)
