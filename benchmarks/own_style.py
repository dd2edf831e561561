"""How few images of your own are enough? A style that no shipped model has seen, with and without --init_from.

    python benchmarks/own_style.py

Draws 2,300 pictures of a made-up counter (another font, stripes, scratches, specks, blur) into own_style/: 300 labelled
ones to learn from, of which a fifth is for validation, and 2,000 that are held out. Then it runs the commands of the
guide to images of your own, with another seed each time, and scores each result on the 2,000.
"""

import argparse
import random
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import captcha_predict
from captcha_cli import UserError, run, start_litert

from PIL import Image, ImageDraw, ImageFilter, ImageFont
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
WIDTH, HEIGHT = 150, 50  # pixels; the producer resizes


def picture(text: str, rng: random.Random) -> Image.Image:
    """Four slanted digits, in the font that comes with Pillow (Aileron), on stripes, under scratches and specks."""
    ink = tuple(rng.randrange(20, 120) for _ in range(3))
    image = Image.new("RGB", (WIDTH, HEIGHT), tuple(rng.randrange(170, 255) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for x in range(rng.randrange(9), WIDTH, 9):  # stripes
        draw.line((x, 0, x - 12, HEIGHT), fill=(170, 180, 200), width=2)
    for i, character in enumerate(text):
        tile = Image.new("L", (44, 44))
        font = ImageFont.load_default(rng.randrange(24, 40))
        ImageDraw.Draw(tile).text((22, 22), character, fill=255, font=font, anchor="mm")
        tile = tile.rotate(rng.uniform(-25, 25), Image.Resampling.BICUBIC)
        image.paste(ink, (6 + 31 * i + rng.randrange(-5, 6), 3 + rng.randrange(-6, 7)), tile)
    for _ in range(2):  # scratches
        draw.line([rng.randrange(size) for size in (WIDTH, HEIGHT) * 2], fill=ink)
    for _ in range(150):  # specks
        draw.point((rng.randrange(WIDTH), rng.randrange(HEIGHT)), fill=ink)
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.1)))


def draw_pictures(folder: Path, count: int, seed: str) -> None:
    """Fill a folder with pictures, named as the producer takes them."""
    folder.mkdir(parents=True)
    rng = random.Random(seed)
    for i in range(count):
        text = "".join(rng.choices("0123456789", k=4))
        picture(text, rng).save(folder / f"{i:05}_{text}.png")


def script(name: str, *args: object, stdout: int | None = None) -> None:
    """Run a script of the project; its errors end this one. Its output goes to `stdout`, as subprocess.run takes it."""
    words = [sys.executable, str(ROOT / name), *map(str, args)]
    done = subprocess.run(words, stdout=stdout, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise UserError(f"{name} failed:\n{done.stderr}")


def accuracy(model: str, folder: Path) -> float:
    """The share of a folder's images that are read as their names say."""
    read = captcha_predict.read(folder, model=model)
    return sum(name.endswith(f"_{text}.png") for name, text in read.items()) / len(read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--labelled", type=int, default=300, help="images to learn from")
    parser.add_argument("--held_out", type=int, default=2000, help="images to score on")
    parser.add_argument("--max_steps", type=int, help="steps to train for; default: as many as the trainer chooses")
    args = parser.parse_args()
    base = Path("own_style")
    if base.exists():
        raise UserError(f"{base.absolute()}: is left from an earlier run; move it away, or run in another folder")
    start_litert()
    draw_pictures(base / "my_images", args.labelled, "to learn from")
    draw_pictures(base / "held_out", args.held_out, "held out")
    images = f"{args.labelled} images"
    table = Table("seed", "shipped model", f"{images}, from scratch", f"{images}, --init_from digits")
    shipped = accuracy("digits", base / "held_out")
    for seed in args.seeds:
        trained = [accuracy(str(save), base / "held_out") for save in train(base, seed, args.max_steps)]
        table.add_row(str(seed), f"{shipped:.2%}", *(f"{share:.2%}" for share in trained))
    Console().print(table)


def train(base: Path, seed: int, max_steps: int | None) -> list[Path]:
    """Import the labelled images and train on them twice, from nothing and from digits; returns the save folders."""
    folders = ("--tfrecords_dir", base / f"tfrecords-{seed}", "--images_dir", base / f"images-{seed}")
    script("captcha_producer.py", "--source", base / "my_images", *folders, "--seed", seed)
    channels = captcha_predict.load("digits").description["config"]["channels"]
    options = ["--seed", seed, "--channels", *channels]
    if max_steps:
        options += ["--max_steps", max_steps]
    saves = []
    for name, start in (("nothing", ()), ("digits", ("--init_from", "digits"))):
        saves.append(base / "save" / f"{name}-{seed}")
        script("captcha_train.py", *folders, "--save_dir", saves[-1], *options, *start)
    return saves


if __name__ == "__main__":
    run(main)
