"""Opening images that nobody vouches for: read or refused in one line, in little memory."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

from captcha_cli import UserError
from captcha_predict.images import images_in, open_image, resized
from captcha_sets.draw import draw

import numpy as np
import pytest
from conftest import ROOT, SMALL
from PIL import Image


def picture(format="png"):
    encoded = io.BytesIO()
    draw(0, "own", SMALL)[1].save(encoded, format=format)
    return encoded.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a PNG, JPEG, GIF, WebP or BMP file"),
        (b"not an image", "is not a PNG, JPEG, GIF, WebP or BMP file"),
        (picture("tiff"), "is not a PNG, JPEG, GIF, WebP or BMP file"),
        (picture()[: len(picture()) // 2], "cannot be read"),
        (picture("jpeg")[: len(picture("jpeg")) // 2], "cannot be read"),
        (picture() + bytes(10_000_001), "has more than 10000000 bytes; make it smaller"),
    ],
    ids=["empty", "text", "tiff", "half a png", "half a jpeg", "too many bytes"],
)
def test_a_file_that_is_not_a_complete_image_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "2704.png"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        open_image(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_in_a_folder_is_left_out(tmp_path):
    """Who opens it may wait for ever."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "picture.png").write_bytes(picture())
    assert images_in(tmp_path) == [tmp_path / "picture.png"]


def test_of_an_endless_device_no_more_is_read_than_an_image_may_have():
    with pytest.raises(UserError, match="/dev/zero: has more than 10000000 bytes; make it smaller"):
        open_image(Path("/dev/zero"))


def test_a_side_that_would_take_hundreds_of_megabytes_to_resize_is_refused(tmp_path):
    Image.new("L", (65_536, 1)).save(tmp_path / "wide.png")
    with pytest.raises(UserError, match="has 65536x1 pixels, a side of over 65535; shrink it"):
        open_image(tmp_path / "wide.png")


def test_a_png_cut_anywhere_is_refused_or_is_the_same_picture(tmp_path):
    complete, path = picture(), tmp_path / "cut.png"
    path.write_bytes(complete)
    pixels = open_image(path).tobytes()
    for length in range(0, len(complete), 37):
        path.write_bytes(complete[:length])
        with contextlib.suppress(UserError):
            assert open_image(path).tobytes() == pixels


def test_a_flipped_bit_in_the_pixels_of_a_png_is_found(tmp_path):
    content, path = bytearray(picture()), tmp_path / "flipped.png"
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        open_image(path)


def test_transparent_pixels_become_white(tmp_path):
    Image.new("RGBA", (48, 32), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("P", (48, 32)).save(tmp_path / "palette.png", transparency=0)
    for name in ("clear.png", "palette.png"):
        assert open_image(tmp_path / name).getextrema() == ((255, 255),) * 3


def test_a_photo_is_turned_upright(tmp_path):
    photo = Image.new("RGB", (48, 32), "white")
    photo.paste("black", (0, 0, 48, 4))  # its upper edge
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned clockwise by 90 degrees
    photo.save(tmp_path / "photo.jpg", exif=exif, quality=95)
    image = open_image(tmp_path / "photo.jpg")
    assert image.size == (32, 48)
    assert np.asarray(image)[:, -2:].max() < 50 and np.asarray(image)[:, :20].min() > 200


@pytest.mark.parametrize("value", [0x0040, 0x8000, 0xFFFF])
@pytest.mark.parametrize("source", ["file", "Pillow image"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, value, source):
    image = Image.fromarray(np.full((32, 48), value, np.uint16))
    if source == "file":
        image.save(tmp_path / "deep.png")
        image = tmp_path / "deep.png"
    assert open_image(image).getpixel((0, 0)) == (value >> 8,) * 3


def test_a_pillow_image_of_32_bit_integers_from_0_to_255_keeps_its_values():
    pixels = np.arange(256, dtype=np.int32).reshape(16, 16)
    image = Image.fromarray(pixels)
    assert image.mode == "I"
    assert np.array_equal(np.asarray(open_image(image)), np.repeat(pixels[..., None], 3, axis=2))


def test_a_pillow_image_of_32_bit_integers_that_holds_16_bits_is_scaled():
    image = Image.fromarray(np.array([[0, 256], [0x8000, 0xFFFF]], np.int32))
    assert np.asarray(open_image(image))[..., 0].tolist() == [[0, 1], [128, 255]]


def check_refused_in_little_memory(path: Path) -> None:
    """Open an image of too many pixels in a process of its own: one line, and no memory for its pixels."""
    code = f"""if True:
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from captcha_predict.images import UserError, open_image
        try:
            open_image(Path({str(path)!r}))
        except UserError as error:
            print(error)
        print(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    message, kilobytes = done.stdout.splitlines()
    assert message == f"{path}: has far more than 16000000 pixels; shrink it"
    assert int(kilobytes) < 200_000
    assert not done.stderr


def test_a_small_file_of_484_megapixels_is_refused_by_its_header_in_little_memory(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (22000, 22000)).save(path)
    assert path.stat().st_size < 100_000
    check_refused_in_little_memory(path)


def test_an_image_is_resized_to_width_and_height():
    image = Image.new("RGB", (100, 40))
    assert resized(image, (48, 32)).size == (48, 32)
    assert resized(image, (100, 40)) is image


def test_the_images_of_a_folder_are_its_files_by_name_without_hidden_ones_and_labels(tmp_path):
    for name in ("b.png", "a.jpg", ".hidden.png", "c", "labels.csv"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in images_in(tmp_path)] == ["a.jpg", "b.png", "c"]
    with pytest.raises(UserError, match=r"folder\.png: has no images; put some there, or name another folder"):
        images_in(tmp_path / "folder.png")
