"""How few images of one's own will do? A style that no shipped model saw, with and without --init_from.

    python benchmarks/own_style.py

Draws 2,300 pictures of a made-up counter (another font, stripes, scratches, specks, blur) into own_style/: 300 labelled
ones to learn from, of which a fifth is for validation, and 2,000 that are held out. Then it runs the commands that the
README gives, with another seed each time, and scores each result on the 2,000.
"""

import argparse
import random
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import captcha_predict
from captcha_config import UserError, run

from PIL import Image, ImageDraw, ImageFilter, ImageFont
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
WIDTH, HEIGHT = 150, 50  # pixels; the producer resizes
LEARN = 300  # images


def picture(text: str, rng: random.Random) -> Image.Image:
    """Four slanted digits, in the font that Pillow brings along (Aileron), on stripes, under scratches and specks."""
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


def make(folder: Path, count: int, seed: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    for i in range(count):
        text = "".join(rng.choices("0123456789", k=4))
        picture(text, rng).save(folder / f"{i:05}_{text}.png")


def script(name: str, *args: object) -> None:
    subprocess.run([sys.executable, str(ROOT / name), *map(str, args)], check=True, stderr=subprocess.DEVNULL)


def accuracy(model: str, folder: Path) -> float:
    """The share of a folder's images that are read as their names say."""
    read = captcha_predict.read(folder, model=model)
    return sum(name.endswith(f"_{text}.png") for name, text in read.items()) / len(read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--held_out", type=int, default=2000, help="images to score on")
    parser.add_argument("--max_steps", type=int, default=200)
    args = parser.parse_args()
    base = Path("own_style")
    if base.exists():
        raise UserError(f"{base.absolute()}: is there from before; move it away, or run elsewhere")
    make(base / "my_images", LEARN, "to learn from")
    make(base / "held_out", args.held_out, "held out")
    table = Table("seed", "shipped model", f"{LEARN} images, from nothing", f"{LEARN} images, --init_from digits")
    shipped = accuracy("digits", base / "held_out")
    channels = captcha_predict.load("digits").about["config"]["channels"]  # for all, so that the start alone differs
    records = ("--tfrecords_dir", base / "tfrecords")
    for seed in args.seeds:
        script("captcha_producer.py", "--source", base / "my_images", "-p", base / "images/train", "--validation", 0.2,
               *records, "--seed", seed)  # fmt: skip
        found = []
        for name, start in (("scratch", ()), ("digits", ("--init_from", "digits"))):
            save = base / "save" / f"{name}-{seed}"
            script("captcha_train.py", *records, "--save_dir", save, "--max_steps", args.max_steps, "--rotate", 10,
                   "--zoom", 0.1, "--seed", seed, "--channels", *channels, *start)  # fmt: skip
            found.append(accuracy(str(save), base / "held_out"))
        table.add_row(str(seed), f"{shipped:.2%}", *(f"{share:.2%}" for share in found))
    Console().print(table)


if __name__ == "__main__":
    run(main)
