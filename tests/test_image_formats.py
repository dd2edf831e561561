"""GIF, WebP and BMP, besides PNG and JPEG: recognized by content, complete, within limits, transparent pixels white."""

import io
import struct

import captcha_predict
from captcha_cli import UserError
from captcha_config import Config
from captcha_predict.images import FORMATS, open_image
from captcha_sets.draw import draw
from captcha_sets.importing import import_images
from captcha_sets.manifest import TRAIN

import numpy as np
import pytest
from conftest import SMALL, in_folder
from PIL import Image
from test_images import check_refused_in_little_memory

TEXT, IMAGE = draw(0, "own", SMALL)
LOSSLESS = {"PNG": {}, "WebP": {"lossless": True}, "BMP": {}}
NEW = ("GIF", "WebP", "BMP")


def encoded(format: str, image: Image.Image = IMAGE, **how) -> bytes:
    file = io.BytesIO()
    image.save(file, format=format, **how)
    return file.getvalue()


def animation(format: str) -> bytes:
    """Three frames: red, green, blue."""
    frames = [Image.new("RGB", (48, 32), colour) for colour in ("red", "lime", "blue")]
    return encoded(format, frames[0], save_all=True, append_images=frames[1:], lossless=True)


def with_size(format: str, width: int, height: int) -> bytes:
    """A small file whose header claims this size."""
    content = bytearray(encoded(format, Image.new("1", (16, 16)).convert("RGB"), lossless=True))
    if format == "GIF":
        struct.pack_into("<HH", content, 6, width, height)
    elif format == "BMP":
        struct.pack_into("<ii", content, 18, width, height)
    else:
        bits = content.index(b"VP8L") + 9  # behind the length of the chunk, and its signature
        struct.pack_into("<I", content, bits, (width - 1) | (height - 1) << 14)
    return bytes(content)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_is_recognized_by_its_content_whatever_its_name(tmp_path, format):
    for name in ("captcha.png", "captcha.jpg", "captcha.gif", "captcha.webp", "captcha.bmp", "captcha"):
        (tmp_path / name).write_bytes(encoded(format))
        assert open_image(tmp_path / name).size == (48, 32)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_shows_the_picture_that_was_saved(format):
    image = open_image(encoded(format, **LOSSLESS.get(format, {})))
    difference = abs(np.asarray(image, int) - np.asarray(IMAGE, int)).mean()
    assert difference <= (0 if format in LOSSLESS else 12)  # of a white image it would be 52


def test_a_format_that_is_not_taken_is_refused_with_those_that_are(tmp_path):
    path = tmp_path / "captcha.png"
    path.write_bytes(encoded("TIFF"))
    with pytest.raises(UserError) as caught:
        open_image(path)
    assert str(caught.value) == f"{path}: is not a PNG, JPEG, GIF, WebP or BMP file; convert it or leave it out"


@pytest.mark.parametrize("format", ["GIF", "WebP", "PNG"])
def test_of_an_animation_the_first_frame_is_read(format):
    image = open_image(animation(format))
    assert image.getextrema() == ((255, 255), (0, 0), (0, 0))


@pytest.mark.parametrize("format", ["GIF", "WebP"])
def test_an_animation_that_lacks_its_end_is_refused_or_is_the_first_frame(format):
    complete, refused = animation(format), 0
    for length in range(0, len(complete), 7):
        try:
            assert open_image(complete[:length]).getpixel((20, 20)) == (255, 0, 0)
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 5


@pytest.mark.parametrize("format", NEW)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_file_that_was_cut_is_refused_in_one_line(tmp_path, format, share):
    complete, path = encoded(format), tmp_path / "cut"
    path.write_bytes(complete[: int(share * len(complete))])
    with pytest.raises(UserError) as caught:
        open_image(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("format", NEW)
def test_a_file_cut_anywhere_is_refused_or_is_the_same_picture(format):
    complete = encoded(format)
    pixels, refused = open_image(complete).tobytes(), 0
    for length in range(0, len(complete), 11):
        try:
            assert open_image(complete[:length]).tobytes() == pixels
        except UserError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("format", NEW)
def test_damaged_bytes_raise_nothing_but_the_error_of_one_line(format):
    rng, complete, refused = np.random.default_rng(1), encoded(format), 0
    for _ in range(300):
        content = bytearray(complete)
        content[rng.integers(len(content) if rng.random() < 0.5 else 40)] ^= int(rng.integers(1, 256))
        try:
            open_image(bytes(content))
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 10


@pytest.mark.parametrize(("format", "how"), [("GIF", {}), ("WebP", {"lossless": True}), ("PNG", {})])
def test_what_is_transparent_is_white_and_the_rest_keeps_its_colour(format, how):
    image = Image.new("RGBA", (48, 32), (0, 0, 0, 0))
    image.paste((200, 0, 0, 255), (10, 10, 20, 20))
    opened = open_image(encoded(format, image, **how))
    assert (opened.getpixel((0, 0)), opened.getpixel((15, 15))) == ((255, 255, 255), (200, 0, 0))


def test_half_transparent_ink_is_blended_with_white():
    opened = open_image(encoded("WebP", Image.new("RGBA", (48, 32), (0, 0, 0, 128)), lossless=True, exact=True))
    assert opened.getpixel((0, 0)) == pytest.approx((127, 127, 127), abs=1)


@pytest.mark.parametrize("format", NEW)
def test_an_image_of_more_pixels_than_allowed_is_refused_by_its_size(format, recwarn):
    with pytest.raises(UserError, match="has 9000x9000 pixels, more than 16000000; shrink it"):
        open_image(with_size(format, 9000, 9000))
    assert not recwarn.list


@pytest.mark.parametrize("format", NEW)
def test_a_small_file_of_256_megapixels_is_refused_by_its_header_in_little_memory(tmp_path, format):
    path = tmp_path / "bomb"
    path.write_bytes(with_size(format, 16000, 16000))
    assert path.stat().st_size < 5000
    check_refused_in_little_memory(path)


def test_a_gif_frame_that_is_larger_than_its_screen_counts_with_its_own_size():
    content = bytearray(encoded("GIF", Image.new("L", (16, 16))))
    frame = content.index(b",", 13 + 3)  # behind the screen's header and its palette
    struct.pack_into("<HH", content, frame + 5, 9000, 9000)
    with pytest.raises(UserError, match="has 9000x9000 pixels, more than 16000000"):
        open_image(bytes(content))


@pytest.mark.parametrize("format", NEW)
def test_the_reader_reads_the_format(format):
    text, image = draw(1, "test of the formats", Config())
    assert captcha_predict.read(encoded(format, image, lossless=True), model="digits") == text


def test_a_folder_of_all_formats_is_imported(tmp_path):
    (tmp_path / "mine").mkdir()
    drawn = [draw(i, "own", SMALL) for i in range(len(FORMATS))]
    for i, (format, (text, image)) in enumerate(zip(FORMATS, drawn, strict=True)):
        (tmp_path / "mine" / f"{i}_{text}.{format.lower()}").write_bytes(encoded(format, image, lossless=True))
    (manifest,) = import_images(tmp_path / "mine", (TRAIN,), in_folder(tmp_path))
    assert (manifest["count"], manifest["sizes"]) == (len(FORMATS), {"48x32": len(FORMATS)})
