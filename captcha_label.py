"""Label pictures in a browser, using only the keyboard.

    python captcha_label.py my_images
    python captcha_label.py my_images --suspects suspects.json

The labels are saved in my_images/labels.csv. Each is on the disk before the next picture appears: stop or kill the
server at any moment, and the next start continues. It needs pip install ".[pages]".
"""

import argparse
from pathlib import Path

import captcha_predict
from captcha_cli import UserError, parse_args, run, start_litert
from captcha_pages import MISSING, NEEDED
from captcha_predict.form import is_unicode
from captcha_predict.images import images_in

try:
    from captcha_pages import checking, labelling, server
    from captcha_pages.pictures import Pictures
    from captcha_sets.files import lock
except ModuleNotFoundError as error:
    if error.name not in NEEDED:
        raise
    server = None  # optional

FIELDS = ()


def labelling_of(folder: Path, model: str | None, suspects: Path | None) -> "labelling.Labelling":
    """The page's state, for labelling the folder's pictures or for checking suspected labels.

    Raises:
      UserError: there are no pictures; there is no such model; or a file is damaged.
    """
    reader = captcha_predict.load(model)
    if suspects:
        listed = checking.read_suspects(suspects)
        if not any((folder / file).exists() for file in listed["labels"]):
            raise UserError(f"{folder}: has none of the images in {suspects}; name the folder that they are in")
        return checking.Checking(folder, Pictures(folder, listed["labels"], reader), reader, listed)
    pictures = Pictures(folder, [path.name for path in images_in(folder) if path.is_file()], reader)
    opened = labelling.Labelling(folder, pictures, reader)
    pictures.examine_in_background()
    return opened


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="folder of images")
    parser.add_argument("--suspects", type=Path, metavar="FILE.json", help="check labels listed by captcha_suspects.py")
    parser.add_argument("--model", help="the model that suggests labels, named as for captcha_predict")
    if server:
        server.add_arguments(parser)


def main() -> None:
    _, args = parse_args(__doc__, FIELDS, add_arguments)
    if not server:
        raise UserError(MISSING)
    if not args.folder.is_dir():
        raise UserError(f"{args.folder}: is not a folder; name the folder that holds the images")
    if not is_unicode(str(args.folder)):
        raise UserError(f"{args.folder}: its name is not UTF-8; rename it")
    start_litert()
    with lock(args.folder, "label", f"{args.folder}: another process is labelling it; use its page, or stop it"):
        print(f"predictions come from {captcha_predict.find(args.model)} (--model names another)")
        server.serve(labelling_of(args.folder, args.model, args.suspects).routes(), args)


if __name__ == "__main__":
    run(main)
