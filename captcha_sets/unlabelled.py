"""Images without labels: what a network reads in them with confidence becomes their label (self-training).

Lee (2013), "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks".
"""

from pathlib import Path

import captcha_predict
from captcha_cli import UserError, track
from captcha_config import Config
from captcha_predict.images import digest, images_in, open_image
from captcha_sets.labelled import LabelledImage
from captcha_sets.labels import wrong
from captcha_sets.manifest import CAPTCHA_FIELDS

MIN_CONFIDENCE = 0.9  # of a prediction that becomes a label


def pseudo_labelled(
    folder: Path, model: str, labelled: list[LabelledImage], config: Config
) -> tuple[list[LabelledImage], list[str]]:
    """Read a folder of images, without those that are labelled already.

    Args:
      model: as captcha_predict.read takes it.
      labelled: images that have a label.
    Returns:
      The images that the network reads with a confidence of at least MIN_CONFIDENCE, as a captcha that the config
      allows; and one line for each file that cannot be read.
    Raises:
      UserError: the folder has no files; there is no such model; or it reads none of the images with confidence.
    """
    reader, paths = captcha_predict.load(model), images_in(folder)
    known = {digest(open_image(image.path)) for image in labelled}

    def read(path: Path) -> LabelledImage | UserError | None:
        try:
            image = open_image(path)
        except UserError as error:
            return error
        prediction = reader.read(image)
        certain = prediction.confidence >= MIN_CONFIDENCE and not wrong(prediction.text, config, CAPTCHA_FIELDS)
        return LabelledImage(path, prediction.text, image.size) if certain and digest(image) not in known else None

    found = list(track(captcha_predict.parallel_map(read, paths), len(paths), f"reading {folder}"))
    good = [image for image in found if isinstance(image, LabelledImage)]
    if not good:
        raise UserError(
            f"{folder}: {model} reads none of its images with a confidence of {MIN_CONFIDENCE}; label more images first"
        )
    return good, [str(error) for error in found if isinstance(error, UserError)]
