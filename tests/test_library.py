"""Every setting of the captcha library: it has the library's own effect, and a value that it cannot take is refused."""

import collections
import hashlib
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from captcha_cli import UserError
from captcha_config import Config
from captcha_predict.images import resized
from captcha_sets import library
from captcha_sets.draw import draw
from captcha_sets.manifest import read_manifest

import captcha.image
import matplotlib
import numpy as np
import pytest
from conftest import DRAWING, in_folder, options, run
from PIL import Image

SERIF = str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSerif.ttf"))
DEFAULTS = (
    "fd985cdc3b01aeb0cfd3d8cd8b8a0e0f5bd8c5a0eff5e49557a02a851de6789a"  # SHA-256 of the first 20 default captchas
)
PLAIN = Config(bg_color=(250, 240, 230), fg_color=(10, 20, 30), noise_dots=0, noise_curves=0)
STILL = replace(  # every character where it is, upright and as the font has it
    PLAIN,
    character_rotate=(0, 0),
    character_offset_dx=(0, 0),
    character_offset_dy=(0, 0),
    character_warp_dx=(0.0, 0.0),
    character_warp_dy=(0.0, 0.0),
    word_offset_dx=0.0,
    word_space_probability=1.0,
)
SETTINGS = [
    {"fonts": (SERIF,)},
    {"fonts": (SERIF, *captcha.image.DEFAULT_FONTS)},
    {"font_sizes": (30, 36, 42)},
    {"bg_color": (255, 250, 205)},
    {"fg_color": (0, 0, 128)},
    {"fg_color": (0, 0, 128, 128)},
    {"noise_dots": 0},
    {"noise_dots": 200},
    {"noise_dot_width": 6},
    {"noise_curves": 0},
    {"noise_curves": 4},
    {"character_rotate": (-60, 5)},
    {"character_offset_dx": (8, 16)},
    {"character_offset_dy": (10, 20)},
    {"character_warp_dx": (0.5, 0.9)},
    {"character_warp_dy": (0.0, 0.0)},
    {"word_space_probability": 0.0},
    {"word_offset_dx": 0.7},
    {"lookup_table": tuple(range(256))},
    {"canvas_sizes": ("160x60", "200x50")},
    {"canvas_sizes": ("160x60",), "font_sizes": (42, 50, 56), "noise_curves": 2, "character_rotate": (-10, 10)},
]


class Reference(captcha.image.ImageCaptcha):
    """The public class of the library, with the settings as its documentation names them."""

    def __init__(self, config: Config, size: tuple[int, int]) -> None:
        super().__init__(*size, list(config.fonts), config.font_sizes)
        self.character_rotate = config.character_rotate
        self.character_offset_dx, self.character_offset_dy = config.character_offset_dx, config.character_offset_dy
        self.character_warp_dx, self.character_warp_dy = config.character_warp_dx, config.character_warp_dy
        self.word_space_probability, self.word_offset_dx = config.word_space_probability, config.word_offset_dx
        self.lookup_table = list(config.lookup_table) or captcha.image.ImageCaptcha.lookup_table
        self._dots, self._dot_width, self._curves = config.noise_dots, config.noise_dot_width, config.noise_curves

    def create_noise_dots(self, image: Image.Image, color: tuple) -> Image.Image:
        return captcha.image.ImageCaptcha.create_noise_dots(image, color, self._dot_width, self._dots)

    def create_noise_curve(self, image: Image.Image, color: tuple) -> Image.Image:
        for _ in range(self._curves):
            captcha.image.ImageCaptcha.create_noise_curve(image, color)
        return image


def reference(index: int, config: Config, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Image.Image]:
    """A captcha of the training split, drawn by the library itself with the same random numbers."""
    rng = random.Random(f"{config.seed}/train/{index}")
    source = SimpleNamespace(randbelow=rng.randrange, randbits=rng.getrandbits, choice=rng.choice)
    monkeypatch.setattr(captcha.image, "secrets", source)
    text = "".join(rng.choices(config.characters, k=config.length))
    sizes = [tuple(map(int, size.split("x"))) for size in config.canvas_sizes]
    size = rng.choice(sizes) if sizes else (config.width, config.height)
    image = Reference(config, size).generate_image(text, config.bg_color or None, config.fg_color or None)
    return text, image.resize((config.width, config.height), Image.Resampling.BICUBIC)


def pixels(config: Config, index: int = 0) -> np.ndarray:
    return np.asarray(draw(index, "train", config)[1]).astype(int)


def test_the_default_captchas_are_those_of_every_version_so_far():
    digest = hashlib.sha256()
    for index in range(20):
        text, image = draw(index, "train", Config())
        digest.update(text.encode() + image.tobytes())
    assert digest.hexdigest() == DEFAULTS


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: ", ".join(settings))
def test_a_setting_draws_what_the_library_draws_with_it(settings, monkeypatch):
    config = Config(**settings)
    for index in range(3):
        text, image = draw(index, "train", config)
        expected_text, expected = reference(index, config, monkeypatch)
        assert (text, image.tobytes()) == (expected_text, expected.tobytes())


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: ", ".join(settings))
def test_a_setting_changes_the_pixels(settings):
    assert any((pixels(Config(**settings), index) != pixels(Config(), index)).any() for index in range(3))


def test_a_background_colour_is_exact():
    image = pixels(replace(STILL, font_sizes=(20,)))
    assert (image[[0, 0, -1, -1], [0, -1, 0, -1]] == STILL.bg_color).all()


def test_the_ink_has_its_colour_where_it_is_opaque():
    image = pixels(replace(STILL, lookup_table=(0,) + (255,) * 255))
    colours = collections.Counter(map(tuple, image.reshape(-1, 3).tolist()))
    assert [colour for colour, _ in colours.most_common(2)] == [STILL.bg_color, STILL.fg_color]


def test_without_dots_and_curves_only_the_text_is_drawn():
    one, three = (pixels(replace(STILL, length=length, font_sizes=(20,))) for length in (1, 3))
    right = 40  # of one character of 20 pixels, and of the filter's edge
    assert (one[:, right:] == STILL.bg_color).all()
    assert (three[:, :right] != STILL.bg_color).any() and (three[:, right:] != STILL.bg_color).any()


@pytest.mark.parametrize("noise", [{"noise_dots": 40}, {"noise_curves": 3}])
def test_noise_is_drawn_where_no_text_is(noise):
    image = pixels(replace(STILL, length=1, font_sizes=(20,), **noise))
    assert (image[:, 60:] != STILL.bg_color).any()


def test_characters_that_are_not_turned_moved_or_warped_are_alike():
    """Two captchas of the same text, drawn with other random numbers."""
    by_text = {}
    for index in range(40):
        text, image = draw(index, "train", replace(STILL, characters="01", length=2))
        by_text.setdefault(text, set()).add(image.tobytes())
    assert len(by_text) == 4 and all(len(images) == 1 for images in by_text.values())


def test_characters_that_are_turned_are_not_alike():
    config = replace(STILL, characters="01", length=2, character_rotate=(-30, 30))
    assert len({draw(index, "train", config)[1].tobytes() for index in range(40)}) > 30


def test_a_captcha_is_drawn_at_a_canvas_size_and_then_resized():
    config = Config(canvas_sizes=("160x60",))
    drawn = [draw(index, "train", replace(config, width=160, height=60))[1] for index in range(5)]
    expected = [resized(image, (128, 64)).tobytes() for image in drawn]
    assert [draw(index, "train", config)[1].tobytes() for index in range(5)] == expected


def test_canvas_sizes_are_used_about_equally_often():
    small, large = Config(canvas_sizes=("64x32",)), Config(canvas_sizes=("300x90",))
    both = Config(canvas_sizes=("64x32", "300x90"))
    drawn = [[draw(index, "train", config)[1].tobytes() for index in range(100)] for config in (both, small, large)]
    assert all(image in others for image, *others in zip(*drawn, strict=True))
    assert sum(image == of_small for image, of_small, _ in zip(*drawn, strict=True)) == pytest.approx(50, abs=20)


def test_every_font_and_every_size_is_used():
    texts = {}
    for fonts, sizes in (((), (30,)), ((), (50,)), ((SERIF,), (30,)), ((SERIF,), (50,)), ((), ())):
        config = replace(STILL, characters="01", length=1, fonts=fonts, font_sizes=sizes or (30,))
        if not sizes:
            config = replace(config, fonts=(*captcha.image.DEFAULT_FONTS, SERIF), font_sizes=(30, 50))
        texts[fonts, sizes] = {draw(index, "train", config)[1].tobytes() for index in range(100)}
    mixed = texts.pop(((), ()))
    assert len(mixed) == 8 and mixed == set().union(*texts.values())


@pytest.mark.parametrize("name", ["character_offset_dx", "character_offset_dy", "word_space_probability"])
def test_the_largest_value_can_be_drawn(name):
    largest = {"word_space_probability": 1.0}.get(name, (256, 256))
    assert draw(0, "train", replace(PLAIN, **{name: largest}))[1].size == (128, 64)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"canvas_sizes": ("160",)}, "canvas_sizes: '160' must be WIDTHxHEIGHT, such as 160x60, each 16 to 2048"),
        ({"canvas_sizes": ("160x60", "8x60")}, "canvas_sizes: '8x60' must be WIDTHxHEIGHT"),
        ({"canvas_sizes": ("160x2049",)}, "canvas_sizes: '160x2049' must be WIDTHxHEIGHT"),
        ({"canvas_sizes": ("160x60 ",)}, "canvas_sizes: '160x60 ' must be WIDTHxHEIGHT"),
        ({"bg_color": (255, 255)}, "bg_color: 2 numbers are given; it takes 3, or none"),
        ({"bg_color": (0, 0, 256)}, "bg_color: 256 is out of range; it must be from 0 to 255"),
        ({"fg_color": (0, 0, 0, 0, 0)}, "fg_color: 5 numbers are given; it takes 3 or 4, or none"),
        ({"lookup_table": (1, 2, 3)}, "lookup_table: 3 numbers are given; it takes 256, or none"),
        ({"noise_dots": -1}, "noise_dots: -1 is out of range; it must be from 0 to 10000"),
        ({"noise_dot_width": 0}, "noise_dot_width: 0 is out of range; it must be from 1 to 100"),
        ({"noise_curves": 101}, "noise_curves: 101 is out of range; it must be from 0 to 100"),
        ({"character_rotate": (30, -30)}, "character_rotate: (30, -30) must be two numbers, the smaller one first"),
        ({"character_rotate": (30,)}, "character_rotate: (30,) must be two numbers, the smaller one first"),
        ({"character_rotate": (-181, 0)}, "character_rotate: -181 is out of range"),
        ({"character_offset_dx": (-1, 4)}, "character_offset_dx: -1 is out of range; it must be from 0 to 256"),
        ({"character_offset_dy": (6, 0)}, "character_offset_dy: (6, 0) must be two numbers, the smaller one first"),
        ({"character_warp_dx": (0.3, 0.1)}, "character_warp_dx: (0.3, 0.1) must be two numbers"),
        ({"character_warp_dy": (0.1, 2.5)}, "character_warp_dy: 2.5 is out of range; it must be from 0.0 to 2.0"),
        ({"word_space_probability": 1.5}, "word_space_probability: 1.5 is out of range; it must be from 0.0 to 1.0"),
        ({"word_offset_dx": -0.5}, "word_offset_dx: -0.5 is out of range; it must be from 0.0 to 1.0"),
    ],
)
def test_a_value_that_the_library_cannot_take_is_refused_by_name(values, message):
    with pytest.raises(UserError) as caught:
        Config(**values)
    assert str(caught.value).startswith(message)


def test_the_settings_are_options_of_the_producer(tmp_path):
    words = ("--character_rotate", -5, 5, "--bg_color", 255, 255, 255, "--noise_curves", 3, "--canvas_sizes", "96x64")
    done = run("captcha_producer.py", *options(DRAWING), *words, "--no-images", "--splits", "train", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    settings = {"character_rotate": (-5, 5), "bg_color": (255, 255, 255), "noise_curves": 3, "canvas_sizes": ("96x64",)}
    assert read_manifest("train", replace(in_folder(tmp_path), **settings))["count"] == 100


def test_of_a_single_font_size_all_captchas_are_drawn_with_it():
    config = replace(STILL, font_sizes=(40,), drawer="captcha_sets.library:draw_one_or_mixed")
    for index in range(20):
        text, image = draw(index, "train", config)
        assert np.array_equal(image, still_captcha(text, config))


def test_one_size_or_mixed_draws_half_of_the_captchas_with_the_first_size_alone():
    config = replace(STILL, font_sizes=(20, 40, 60), drawer="captcha_sets.library:draw_one_or_mixed")
    alone = replace(STILL, font_sizes=(20,))
    texts_and_images = [draw(index, "train", config) for index in range(40)]
    small = [np.array_equal(image, still_captcha(text, alone)) for text, image in texts_and_images]
    assert 10 < sum(small) < 30


def still_captcha(text: str, config: Config) -> np.ndarray:
    """A captcha without anything at random."""
    return np.asarray(library.draw(text, config, random.Random(0)))
