"""Reading, with the models that ship: what goes in, what comes out, and what is refused."""

import io
import json
import os
import pty
import random
import shutil
import subprocess
import sys
import threading
import zipfile
import zlib
from pathlib import Path

import captcha_predict
from benchmarks.own_style import picture
from captcha_config import Config
from captcha_predict import UserError
from captcha_sets.draw import draw, png

import numpy as np
import pytest
from conftest import ROOT, command, errors, run
from PIL import Image

LETTERS = Config(characters="0123456789abcdefghijklmnopqrstuvwxyz", width=100, height=60)
CAPITALS = Config(characters="0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """In a folder without a model of its own, whatever was trained in the checkout."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def captchas():
    """(text, image) of forty that no training saw."""
    return [draw(i, "test of reading", Config()) for i in range(40)]


@pytest.fixture
def images(captchas, tmp_path):
    """A folder of them, images/, below the working folder."""
    (tmp_path / "images").mkdir()
    for i, (_, image) in enumerate(captchas):
        image.save(tmp_path / "images" / f"{i:02}.png")
    return tmp_path / "images"


@pytest.fixture(scope="module")
def usual(captchas):
    """What the default model reads in the Pillow images."""
    return captcha_predict.read([image for _, image in captchas], model="digits")


@pytest.mark.parametrize(("model", "config"), [("digits", Config()), ("letters", LETTERS), ("capitals", CAPITALS)])
def test_a_shipped_model_reads_captchas_that_it_never_saw(model, config):
    drawn = [draw(i, "test of the shipped models", config) for i in range(400)]
    texts = captcha_predict.read([image for _, image in drawn], model=model)
    assert sum(truth == text for (truth, _), text in zip(drawn, texts, strict=True)) >= 0.96 * 400


def test_a_shipped_model_names_no_folder_of_the_machine_that_trained_it():
    for model in captcha_predict.shipped():
        config = captcha_predict.load(model).description["config"]
        assert not any(Path(config[name]).is_absolute() for name in ("images_dir", "tfrecords_dir", "save_dir"))


def test_the_starter_reads_captchas_of_a_style_that_no_training_saw():
    rng = random.Random("test of the starter")
    texts = ["".join(rng.choices("23456789", k=4)) for _ in range(200)]
    images = [picture(text, rng) for text in texts]
    read = captcha_predict.read(images, model="starter", characters="0123456789")
    assert sum(truth == text for truth, text in zip(texts, read, strict=True)) >= 0.85 * 200


@pytest.mark.parametrize(
    "given",
    [
        lambda path: str(path),
        lambda path: path,
        lambda path: path.read_bytes(),
        lambda path: Image.open(path),
        lambda path: np.asarray(Image.open(path)),
        lambda path: np.asarray(Image.open(path).convert("RGBA")),
    ],
    ids=["str", "Path", "bytes", "Pillow", "array", "array with opacity"],
)
def test_every_kind_of_image_reads_the_same(images, usual, given):
    read = [captcha_predict.read(given(path)) for path in sorted(images.iterdir())[:5]]
    assert read == usual[:5]


def test_a_grey_array_is_read_with_and_without_its_channel(captchas, usual):
    grey = np.asarray(captchas[0][1].convert("L"))
    assert captcha_predict.read(grey) == captcha_predict.read(grey[..., None]) == usual[0]


def test_a_list_answers_in_its_order_and_a_folder_by_name(images, usual):
    paths = sorted(images.iterdir())
    assert captcha_predict.read(paths[::-1]) == usual[::-1]
    assert captcha_predict.read(images) == dict(zip((path.name for path in paths), usual, strict=True))


def test_an_error_says_which_image_of_a_list_cannot_be_read(images):
    with pytest.raises(UserError, match="image 2 of the list: the image: is not a PNG, JPEG, GIF, WebP or BMP file"):
        captcha_predict.read([images / "00.png", images / "01.png", b"text", images / "02.png"])


def test_an_image_of_another_size_is_resized(captchas, usual):
    twice = [image.resize((256, 128), Image.Resampling.BICUBIC) for _, image in captchas]
    same = [a == b for a, b in zip(captcha_predict.read(twice), usual, strict=True)]
    assert np.mean(same) > 0.9


def test_the_confidence_is_the_product_of_the_positions_largest_probabilities(captchas):
    for prediction in captcha_predict.read([image for _, image in captchas], details=True):
        largest = [max(position.values()) for position in prediction.positions]
        assert [max(position, key=position.get) for position in prediction.positions] == list(prediction.text)
        assert [sum(position.values()) for position in prediction.positions] == pytest.approx([1] * 4, abs=1e-5)
        assert prediction.confidence == pytest.approx(np.prod(largest))


def test_only_the_characters_that_are_named_can_be_answered(captchas, usual):
    images = [image for _, image in captchas]
    texts = captcha_predict.read(images, characters="01234")
    assert set("".join(texts)) == set("01234")
    of_these_alone = [i for i, text in enumerate(usual) if set(text) <= set("01234")]
    assert of_these_alone and all(texts[i] == usual[i] for i in of_these_alone)


def test_the_probabilities_of_the_characters_that_are_named_are_renormalized(captchas):
    image, named = captchas[0][1], "0279"
    of_all = captcha_predict.read(image, details=True)
    narrowed = captcha_predict.read(image, characters=named, details=True)
    for before, after in zip(of_all.positions, narrowed.positions, strict=True):
        rest = sum(before[character] for character in named)
        expected = {name: share / rest if name in named else 0.0 for name, share in before.items()}
        assert after == pytest.approx(expected, abs=1e-5)
        assert sum(after.values()) == pytest.approx(1, abs=1e-5)
    assert narrowed.confidence == pytest.approx(np.prod([max(after.values()) for after in narrowed.positions]))


def test_to_name_all_characters_changes_nothing(captchas):
    image = captchas[0][1]
    assert captcha_predict.read(image, characters="9876543210", details=True) == captcha_predict.read(
        image, details=True
    )


@pytest.mark.parametrize(
    ("characters", "message"),
    [
        ("", "characters: none are given; name some of 0123456789"),
        ("01x2a", "characters: 'ax' cannot be read by this model; name some of 0123456789"),
        ("01\n", "characters: '\\n' cannot be read by this model; name some of 0123456789"),
    ],
)
def test_characters_that_the_model_does_not_know_are_refused_in_one_line(captchas, images, characters, message):
    image = captchas[0][1]
    for read in (captcha_predict.read, captcha_predict.load().read):
        with pytest.raises(UserError) as caught:
            read(image, characters=characters)
        assert str(caught.value) == message
    with pytest.raises(UserError) as caught:
        captcha_predict.read([image, image], characters=characters)
    assert str(caught.value) == message  # not of an image
    done = run("captcha_predict", "images", "--model", "digits", "--characters", characters, cwd=images.parent)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"captcha_predict: error: {message}\n"


def test_an_image_that_is_not_a_captcha_gets_little_confidence():
    noise = np.random.default_rng(1).integers(0, 256, (64, 128, 3), np.uint8)
    assert captcha_predict.read(noise, details=True).confidence < 0.5


def test_many_threads_read_as_one_does(captchas, usual):
    found = {}

    def work(name):
        found[name] = [captcha_predict.read(image) for _, image in captchas]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(texts == usual for texts in found.values()) and len(found) == 8


def test_the_model_is_the_one_named_or_that_in_save_or_the_default(tmp_path):
    assert captcha_predict.load().characters == "0123456789"
    (tmp_path / "save").mkdir()
    (tmp_path / "save" / "model.tflite").write_bytes(captcha_predict.find("letters").read_bytes())
    assert captcha_predict.load().characters == LETTERS.characters
    assert captcha_predict.load("digits").characters == "0123456789"
    assert captcha_predict.load("save").description == captcha_predict.load("save/model.tflite").description
    assert captcha_predict.load("save") is captcha_predict.load("save")  # loaded once


def test_a_reader_says_what_captchas_it_reads():
    reader = captcha_predict.load("letters")
    assert (reader.characters, reader.length, reader.width, reader.height) == (LETTERS.characters, 4, 100, 60)


def test_a_retrained_model_is_noticed(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(captcha_predict.find("letters").read_bytes())
    assert captcha_predict.load(path).characters == LETTERS.characters
    path.write_bytes(captcha_predict.find("digits").read_bytes())
    os.utime(path, ns=(1, 1))
    assert captcha_predict.load(path).characters == "0123456789"


def with_description(**values) -> bytes:
    """The default model with other values in its description."""
    description, network = captcha_predict._unpack(captcha_predict.find("digits").read_bytes())
    packed = io.BytesIO()
    packed.write(network)
    with zipfile.ZipFile(packed, "a") as file:
        file.writestr(captcha_predict.DESCRIPTION, json.dumps(description | values))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("nowhere", "there is no such model; name a .tflite file, a folder with model.tflite, or one of capitals, "),
        ("half.tflite", "half.tflite: is not a complete model"),
        ("flipped.tflite", "flipped.tflite: is not a complete model"),
        ("text.tflite", "text.tflite: is not a complete model"),
        ("size.tflite", "size.tflite: is not a complete model (its config is another captcha's)"),
        ("earlier.tflite", "earlier.tflite: was exported by another version of this project; export it again"),
    ],
)
def test_a_file_that_is_not_a_model_is_refused(tmp_path, model, message):
    complete = captcha_predict.find("digits").read_bytes()
    flipped = complete[:100_000] + bytes([complete[100_000] ^ 1]) + complete[100_001:]
    (tmp_path / "half.tflite").write_bytes(complete[: len(complete) // 2])
    (tmp_path / "flipped.tflite").write_bytes(flipped)
    (tmp_path / "text.tflite").write_text("a model")
    (tmp_path / "size.tflite").write_bytes(with_description(width=160))
    (tmp_path / "earlier.tflite").write_bytes(with_description(format=1))
    with pytest.raises(UserError) as caught:
        captcha_predict.load(model)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def huge_png() -> bytes:
    """22,000 x 22,000 pixels of black in half a megabyte."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    compress = zlib.compressobj(9)
    rows = b"".join(compress.compress(bytes(1 + 22_000 // 8)) for _ in range(22_000)) + compress.flush()
    header = (22_000).to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiff() -> bytes:
    encoded = io.BytesIO()
    draw(0, "tiff", Config())[1].save(encoded, format="tiff")
    return encoded.getvalue()


BAD = {
    "text.png": (b"not a picture", "is not a PNG, JPEG, GIF, WebP or BMP file"),
    "empty.png": (b"", "is not a PNG, JPEG, GIF, WebP or BMP file"),
    "half.png": (png(draw(0, "half", Config())[1])[:2500], "cannot be read"),
    "huge.png": (huge_png(), "has far more than 16000000 pixels"),
    "tiff.png": (tiff(), "is not a PNG, JPEG, GIF, WebP or BMP file"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line_one_type_of_error_and_little_memory(tmp_path, name):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    for given in (tmp_path / name, content):
        with pytest.raises(UserError, match=message):
            captcha_predict.read(given)
    done, memory = measured(tmp_path, name, "--model", "digits")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"captcha_predict: error: {name}: ") and message in line
    assert done.returncode == 1
    assert memory < 200e6


def measured(folder: Path, *args: str) -> tuple[subprocess.CompletedProcess, int]:
    """Run the command; also the most memory that it took, in bytes."""
    runner = (
        "import resource, subprocess, sys; status = subprocess.run(sys.argv[1:]).returncode;"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(status)"
    )
    words = [sys.executable, "-c", runner, *command("captcha_predict", *args)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=60)
    unit = 1 if sys.platform == "darwin" else 1024
    return done, int(done.stdout.splitlines()[-1]) * unit


def test_a_transparent_png_is_read_as_on_white_paper(captchas, usual):
    pixels = np.asarray(captchas[0][1].convert("RGBA")).copy()
    paper = pixels[0, 0].astype(int)
    pixels[np.abs(pixels.astype(int) - paper).sum(axis=-1) < 30] = 0  # the paper: black, and transparent
    assert captcha_predict.read(Image.fromarray(pixels)) == usual[0]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((64, 128, 3), np.float32), "is float32 [64, 128, 3]"),
        (np.zeros((64, 128, 2), np.uint8), "is uint8 [64, 128, 2]"),
        (np.zeros((5, 64, 128, 3), np.uint8), "is uint8 [5, 64, 128, 3]"),
        (np.zeros((128,), np.uint8), "is uint8 [128]"),
        (np.zeros((0, 128, 3), np.uint8), "is uint8 [0, 128, 3]"),
        (np.array("captcha.png"), "is <U11 []"),
    ],
)
def test_an_array_that_is_not_an_image_is_refused(array, message):
    with pytest.raises(UserError) as caught:
        captcha_predict.read(array)
    assert message in str(caught.value) and "several images as a list" in str(caught.value)


@pytest.mark.parametrize("thing", [None, 2704, {"a": 1}])
def test_a_thing_that_is_not_an_image_is_refused(thing):
    with pytest.raises(UserError, match="the image is of type"):
        captcha_predict.read(thing)


def test_the_command_prints_a_line_for_each_image(images, usual):
    done = run("captcha_predict", "images/00.png", "images", cwd=images.parent)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[:2] for line in lines] == [[f"images/{i:02}.png", usual[i]] for i in [0, *range(40)]]
    assert all(0 < float(line[2]) <= 1 for line in lines)


def test_a_file_whose_name_is_not_utf8_is_read_too(images, tmp_path):
    """Standard output may refuse such a name, as it does in most locales."""
    name = os.fsdecode(b"caf\xe9.png")
    shutil.copy(next(images.glob("*.png")), tmp_path / name)
    for arguments in ([], ["--json"]):
        words, env = command("captcha_predict", name, *arguments), os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
        done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0 and r"caf\udce9.png" in done.stdout


def test_the_command_prints_no_warning_of_pillows(tmp_path):
    exif = b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\1\3\0\1\0\0\0\6\0\0\0"  # nine entries, of which one is there
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("1", (10000, 10000)).save(tmp_path / "large.png")
    result = run("captcha_predict", "--model", "digits", "a.jpg", "large.png", cwd=tmp_path)
    refused = "captcha_predict: error: large.png: has 10000x10000 pixels, more than 16000000; shrink it\n"
    assert (result.returncode, result.stderr) == (1, refused)


def test_json_lines_say_everything(images, usual):
    done = run("captcha_predict", "images", "--json", "--min-confidence", "1", cwd=images.parent)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["text"] for line in found] == usual
    for i, line in enumerate(found):
        assert line.keys() == {"path", "text", "confidence", "positions", "uncertain"}
        assert line["path"] == f"images/{i:02}.png"
        assert line["uncertain"] is (line["confidence"] < 1)
        assert [len(position) for position in line["positions"]] == [10] * 4


def test_the_command_answers_only_the_characters_that_are_named(captchas, images):
    done = run("captcha_predict", "images", "--characters", "01234", cwd=images.parent)
    expected = captcha_predict.read([image for _, image in captchas], characters="01234")
    assert [line.split()[1] for line in done.stdout.splitlines()] == expected


def test_predictions_less_certain_than_asked_are_marked(images):
    done = run("captcha_predict", "images", "--min-confidence", "0.99", cwd=images.parent)
    marked = [line.endswith("  uncertain") for line in done.stdout.splitlines()]
    assert marked == [float(line.split()[2]) < 0.99 for line in done.stdout.splitlines()]
    assert len(marked) == 40


def test_it_says_which_model_it_reads_with_where_none_was_named(images):
    folder, shipped = images.parent, captcha_predict.MODELS / "digits.tflite"
    done = run("captcha_predict", "images/00.png", cwd=folder)
    assert done.stderr == f"captcha_predict: reading with {shipped} (--model names another)\n"
    (folder / "save").mkdir()
    (folder / "save" / "model.tflite").write_bytes(shipped.read_bytes())
    done = run("captcha_predict", "images/00.png", cwd=folder)
    assert done.stderr == f"captcha_predict: reading with {folder}/save/model.tflite (--model names another)\n"
    done = run("captcha_predict", "images/00.png", "--model", "digits", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")


def test_where_the_confidence_is_low_another_model_is_suggested_if_none_was_named(images):
    Image.effect_noise((128, 64), 90).save(images / "noise.png")
    done = run("captcha_predict", "images", cwd=images.parent)
    _, line = done.stderr.splitlines()
    assert line == (
        "captcha_predict: the confidence of 1 of 41 predictions is below 0.5; try --model starter, which knows captchas"
        " of many styles"
    )
    assert done.returncode == 0
    done = run("captcha_predict", "images", "--model", "digits", cwd=images.parent)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_help_says_which_model_reads_where_none_is_named(tmp_path):
    done = run("captcha_predict", "--help", cwd=tmp_path)
    text = " ".join(done.stdout.split())
    assert "a .tflite file, a folder that the trainer saved to, or one of capitals, digits, letters, starter" in text
    assert "default: save/model.tflite of the current folder, or else digits" in text


def test_one_unreadable_file_does_not_stop_the_others(images, usual):
    (images / "05.png").write_text("not a picture")
    (images / "lost.png").symlink_to("nowhere")
    done = run("captcha_predict", "images", "missing.png", "--model", "digits", cwd=images.parent)
    assert done.returncode == 1
    assert [line.split()[1] for line in done.stdout.splitlines()] == usual[:5] + usual[6:]
    assert errors(done.stderr) == [
        "captcha_predict: error: images/05.png: is not a PNG, JPEG, GIF, WebP or BMP file; convert it or leave it out",
        "captcha_predict: error: images/lost.png: cannot be read (No such file or directory); replace it or leave it"
        " out",
        "captcha_predict: error: missing.png: cannot be read (No such file or directory); replace it or leave it out",
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["empty", "--model", "digits"], "empty: has no images"),
        (["images", "--model", "nowhere"], "nowhere: there is no such model"),
        (["images", "--min-confidence", "2"], "--min-confidence 2.0 is out of range; it must be from 0 to 1"),
        ([], "the following arguments are required: PATH"),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(images, args, message):
    (images.parent / "empty").mkdir()
    done = run("captcha_predict", *args, cwd=images.parent)
    (line,) = done.stderr.splitlines()
    assert line.startswith("captcha_predict: error: ") and message in line
    assert (done.returncode, done.stdout) == (2, "")


def test_progress_is_shown_on_a_long_folder_and_the_lines_stay_complete(images):
    """On a terminal for progress and a file for the lines, as with `> read.txt`."""
    content = (images / "00.png").read_bytes()
    for i in range(1100):
        (images / f"{i:04}.png").write_bytes(content)
    terminal, other_end = pty.openpty()
    with open(images.parent / "read.txt", "w") as lines:
        words = command("captcha_predict", "images")
        process = subprocess.Popen(words, cwd=images.parent, stdout=lines, stderr=other_end)
        os.close(other_end)
        shown = b""
        while True:
            try:
                shown += (block := os.read(terminal, 4096))
            except OSError:
                break
            if not block:
                break
        assert process.wait(60) == 0
    os.close(terminal)
    assert b"reading" in shown and b"images/s" in shown
    assert len((images.parent / "read.txt").read_text().splitlines()) == 1140


def test_reading_needs_neither_tensorflow_nor_multiprocessing(images):
    code = """if True:
        import sys, captcha_predict
        print(captcha_predict.read("images/00.png"))
        heavy = ("tensorflow", "keras", "multiprocessing", "captcha.", "captcha_config", "captcha_cli", "captcha_sets")
        print([name for name in sys.modules if f"{name}.".startswith(heavy)])"""
    done = subprocess.run([sys.executable, "-c", code], cwd=images.parent, capture_output=True, text=True)
    assert done.stdout.splitlines()[1:] == ["[]"], done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """What pip installs of a copy of the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    words = [
        "git",
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "captcha_*",
        "*.toml",
        "README.md",
        "LICENSE",
    ]
    names = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for path in (Path(name) for name in names if (ROOT / name).is_file()):
        (folder / "source" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / path).write_bytes((ROOT / path).read_bytes())
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "site")]
    subprocess.run([*pip, str(folder / "source")], check=True, capture_output=True, timeout=300)
    return folder / "site"


def test_pip_installs_one_package_and_one_command(site):
    names = sorted(path.name for path in site.iterdir() if path.suffix != ".dist-info")
    assert names == ["bin", "captcha_predict"]
    assert [path.name for path in (site / "bin").iterdir()] == ["captcha-predict"]
    assert sorted(path.name for path in (site / "captcha_predict" / "models").iterdir()) == [
        "capitals.tflite", "digits.tflite", "letters.tflite", "starter.tflite"
    ]  # fmt: skip


def test_installed_it_reads_in_two_lines_from_anywhere(site, images, usual):
    code = """if True:
        import sys, captcha_predict
        print(captcha_predict.read("images/00.png"))
        print(captcha_predict.__file__)
        print([name for name in sys.modules if name.partition(".")[0] in ("tensorflow", "keras", "captcha")])"""
    env = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", code], cwd=images.parent, env=env, capture_output=True, text=True)
    expected = [usual[0], str(site / "captcha_predict" / "__init__.py"), "[]"]
    assert done.stdout.splitlines() == expected, done.stderr


def test_the_installed_command_reads(site, images, usual):
    env = {**os.environ, "PYTHONPATH": str(site)}
    words = [str(site / "bin" / "captcha-predict"), "images"]
    done = subprocess.run(words, cwd=images.parent, env=env, capture_output=True, text=True)
    assert [line.split()[1] for line in done.stdout.splitlines()] == usual
    models = site / "captcha_predict" / "models"
    assert done.stderr == f"captcha-predict: reading with {models}/digits.tflite (--model names another)\n"
