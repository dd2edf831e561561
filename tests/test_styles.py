"""The drawer of many styles: each captcha has one of its own, can be repeated, and can be read."""

import random
from dataclasses import replace
from pathlib import Path

from captcha_cli import UserError
from captcha_config import Config
from captcha_sets import clutter, glyphs, styles
from captcha_sets.draw import check_drawing, draw
from captcha_sets.pool import is_repeatable

import matplotlib
import numpy as np
import pytest

FONT_FOLDER = Path(matplotlib.get_data_path(), "fonts", "ttf")
SANS, SERIF = (str(FONT_FOLDER / name) for name in ("DejaVuSans.ttf", "DejaVuSerif-Bold.ttf"))
STYLES = Config(
    drawer="captcha_sets.styles:draw",
    fonts=(SANS, SERIF),
    characters="0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    length=8,
    min_length=3,
    canvas_sizes=("90x30", "160x60", "300x80"),
)


def test_every_captcha_has_one_of_the_sizes_and_is_resized_to_that_of_the_config():
    sizes = {styles.draw("aB3", STYLES, random.Random(i)).size for i in range(40)}
    assert sizes == {(90, 30), (160, 60), (300, 80)}
    assert draw(0, "train", STYLES)[1].size == (STYLES.width, STYLES.height)


def test_a_captcha_depends_on_its_index_alone():
    assert is_repeatable("train", STYLES)


def test_hundreds_of_captchas_of_all_lengths_are_drawn_without_an_error():
    lengths = {len(draw(i, "train", STYLES)[0]) for i in range(300)}
    assert lengths == set(range(3, 9))


def test_a_long_text_in_a_small_picture_is_drawn_completely():
    """Side by side, the characters are no wider than the picture, and no higher."""
    for i in range(50):
        pairs = glyphs.glyphs("WMWMWMWM", [SERIF] * 8, (90, 30), random.Random(i))
        assert sum(mask.width for mask, _ in pairs) <= 90 + 8  # each may be rounded up
        boxes = [mask.getbbox() for mask, _ in pairs]
        assert max(box[3] - box[1] for box in boxes) <= 30 + 1


@pytest.mark.parametrize(("share", "heights"), [(0.0, 2), (1.0, 1)])
def test_in_a_share_of_captchas_small_letters_are_as_high_as_capitals(share, heights, monkeypatch):
    monkeypatch.setattr(glyphs, "LEVEL", share)
    monkeypatch.setattr(glyphs, "_shapes", lambda count, _: [(0.0, 0.0, 1.0)] * count)
    monkeypatch.setattr(glyphs, "BENT", 0.0)
    monkeypatch.setattr(glyphs, "_font", lambda file, _: glyphs.ImageFont.truetype(file, 40))
    boxes = [mask.getbbox() for mask, _ in glyphs.glyphs("xH", [SANS] * 2, (160, 60), random.Random(1))]
    assert len({bottom - top for _, top, _, bottom in boxes}) == heights


def test_characters_that_overlap_stay_within_the_picture(monkeypatch):
    monkeypatch.setattr(styles, "OVERLAPS", (0.3,))
    monkeypatch.setattr(styles, "SPREADS", (0,))
    for i in range(50):
        pairs = glyphs.glyphs("WMWMWMWM", [SERIF] * 8, (90, 30), random.Random(i))
        lefts = [place.left for place in styles._places(pairs, (90, 30), random.Random(i))]
        assert lefts[0] >= 0 and lefts[-1] + pairs[-1][0].width <= 90 + 8  # each may be rounded up


@pytest.mark.parametrize(("share", "different"), [(0.0, 1), (1.0, 4)])
def test_in_a_share_of_captchas_some_characters_stand_closer_together_than_others(share, different, monkeypatch):
    monkeypatch.setattr(styles, "IRREGULAR", share)
    gaps = styles._gaps(4, 30.0, random.Random(1))
    assert len(set(gaps)) == different
    assert sum(gaps) == pytest.approx(30.0)


def test_ink_can_be_seen_on_its_ground():
    rng = random.Random(1)
    for _ in range(500):
        ground = clutter.any_colour(rng)
        ink = clutter.ink_on(ground, rng)
        lightness = abs(clutter._lightness(ink) - clutter._lightness(ground))
        assert lightness > min(clutter.CONTRASTS) or np.linalg.norm(np.subtract(ink, ground)) > clutter.BY_COLOUR


def test_styles_differ_more_than_the_text_does():
    """Of the same text, one captcha is dark and the next one light, one grey and the next one in colour."""
    pixels = [np.asarray(styles.draw("same", STYLES, random.Random(i)), float) for i in range(100)]
    means = [each.mean() for each in pixels]
    colours = [np.ptp(each.mean(axis=(0, 1))) for each in pixels]
    assert min(means) < 60 and max(means) > 195
    assert min(colours) < 2 and max(colours) > 60


def test_without_fonts_it_says_how_to_name_some():
    with pytest.raises(UserError, match=r"fonts: this drawer has no fonts of its own; name TrueType files \(--fonts\)"):
        styles.draw("abc", replace(STYLES, fonts=()), random.Random(1))


def test_a_font_that_lacks_a_character_is_refused():
    with pytest.raises(UserError, match=r"characters: .*DejaVuSans.ttf has no '漢'"):
        check_drawing(replace(STYLES, characters="ab漢"))
