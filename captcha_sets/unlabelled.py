"""Images without labels: what a network reads in them with confidence becomes their label (self-training).

Lee (2013), "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks".
"""

from pathlib import Path

import captcha_predict
from captcha_cli import UserError, track
from captcha_config import Config
from captcha_predict.images import digest, images_in, open_image
from captcha_sets.labelled import LabelledImage, one_case
from captcha_sets.labels import wrong
from captcha_sets.manifest import CAPTCHA_FIELDS

MIN_CONFIDENCE = 0.9  # of a prediction that becomes a label


def pseudo_labelled(
    folder: Path, model: str, labelled: list[LabelledImage], config: Config, ignore_case: bool
) -> tuple[list[LabelledImage], list[str], str]:
    """Read a folder of images, each of them once.

    Args:
      folder: of the images.
      model: as captcha_predict.read takes it.
      labelled: images that have a label. They are left out.
      config: the captchas that a label may be, by their characters and lengths.
      ignore_case: whether a and A are the same character. The label then has the one that the config has.
    Returns:
      The images that are read with a confidence of at least MIN_CONFIDENCE; one line for each file that cannot be read;
      and the number of other images, in words.
    Raises:
      UserError: the folder has no files; or there is no such model.
      OSError: there is no such folder.
    """
    reader, paths = captcha_predict.load(model), images_in(folder)

    def read(path: Path) -> tuple[LabelledImage, float] | UserError:
        try:
            image = open_image(path)
        except UserError as error:
            return error
        prediction = reader.read(image)
        text = one_case(prediction.text, config.characters) if ignore_case else prediction.text
        return LabelledImage(path, text, image.size, digest(image)), prediction.confidence

    good, problems, uncertain, other, twice = [], [], 0, 0, 0
    known = {image.pixels for image in labelled}
    for found in track(captcha_predict.parallel_map(read, paths), len(paths), f"reading {folder}"):
        if isinstance(found, UserError):
            problems.append(str(found))
            continue
        image, confidence = found
        if image.pixels in known:
            twice += 1
        elif confidence < MIN_CONFIDENCE:
            uncertain += 1
        elif wrong(image.text, config, CAPTCHA_FIELDS):
            other += 1
        else:
            good.append(image)
        known.add(image.pixels)
    counts = f"{uncertain} with a confidence below {MIN_CONFIDENCE}, {other} as another captcha, {twice} not new"
    return good, problems, counts
