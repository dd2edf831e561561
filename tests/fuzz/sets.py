"""What is read as pictures and as sets: functions (work, mutator) that read one input with the project's own code.

The working folder holds the two small sets, and the shipped checkpoint of the digits in save/.
"""

import functools
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import captcha_predict
from captcha_config import Config
from captcha_data import check_drawable
from captcha_producer import splits_to_draw
from captcha_runs import recipe
from captcha_sets.draw import TRAIN, draw
from captcha_sets.files import read_checksummed, sha256, with_checksum
from captcha_sets.importing import import_images
from captcha_sets.library import check_fonts
from captcha_sets.manifest import VALIDATION, like_sets, make_command, open_manifest, read_manifest
from captcha_sets.pixels import arrays, open_pixels, verified_records
from captcha_sets.replace import check_target
from captcha_sets.shards import examples
from captcha_sets.sheet import show

import captcha
import numpy as np
import tensorflow as tf
from mutations import Mutator

CONFIG = Config(train_count=12, validation_count=8, images_per_shard=5, workers=1)
FONT = Path(captcha.__file__).parent / "data" / "DroidSansMono.ttf"
PICTURES = (  # mode, format and options of real files
    ("RGB", "png", {}), ("RGBA", "png", {}), ("P", "png", {"transparency": 3}), ("L", "png", {}), ("LA", "png", {}),
    ("1", "png", {}), ("I;16", "png", {}), ("RGB", "jpeg", {}), ("L", "jpeg", {"progressive": True}),
    ("CMYK", "jpeg", {}), ("RGB", "jpeg", {"exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\1\3\0\1\0\0\0\6\0\0\0"}),
    ("P", "gif", {}), ("P", "gif", {"save_all": True, "duration": 9}), ("RGB", "webp", {}), ("RGB", "bmp", {}),
    ("RGBA", "webp", {"lossless": True}), ("P", "bmp", {}), ("1", "bmp", {}), ("RGBA", "bmp", {}),
)  # fmt: skip


@functools.cache
def real_pictures() -> tuple[bytes, ...]:
    """A captcha as a file of each kind."""
    files = []
    for mode, kind, options in PICTURES:
        _, image = draw(len(files), "fuzz", CONFIG)
        target = io.BytesIO()
        image.convert("L" if mode == "I;16" else mode).convert(mode).save(target, kind, **options)
        files.append(target.getvalue())
    return tuple(files)


def picture(work: Path, mutator: Mutator) -> None:
    content = mutator.file(mutator.choice(real_pictures()))
    (work / "picture").write_bytes(content)
    text = captcha_predict.read(mutator.choice((content, work / "picture")), "digits")
    assert len(text) == CONFIG.length


def source(work: Path, mutator: Mutator) -> None:
    """One of the images of a folder that the producer imports."""
    folder = work / "source"
    folder.mkdir(exist_ok=True)
    for number, content in enumerate(real_pictures()[:3]):
        (folder / f"{number}_271{number}.png").write_bytes(content)
    (folder / "3_2713.png").write_bytes(mutator.file(mutator.choice(real_pictures())))
    own = replace(CONFIG, tfrecords_dir="own", images_dir="own")
    import_images(folder, (TRAIN,), own, images=False, leave_out=mutator.choice((True, False)))


def font(work: Path, mutator: Mutator) -> None:
    (work / "font.ttf").write_bytes(mutator.file(FONT.read_bytes()))
    check_fonts(replace(CONFIG, fonts=("font.ttf",)))


def contact_sheet(work: Path, mutator: Mutator) -> None:
    """The files by which the producer knows its own pictures."""
    original = work / "sheet"
    if not original.exists():
        shutil.copy(work / "images" / "train.png", original)
    (work / "images" / "train.png").write_bytes(mutator.file(original.read_bytes()))
    (work / "images" / "train" / ".drawn").write_bytes(mutator.text("../tfrecords"))
    check_target(TRAIN, CONFIG, True)


def manifest(work: Path, mutator: Mutator) -> None:
    original, path = kept(work, "tfrecords/validation.json")
    values = json.loads(original)
    del values["checksum"]
    hostile = with_checksum(mutator.values(values)).encode(errors="replace")
    path.write_bytes(mutator.choice((hostile, mutator.json(json.loads(original)))))
    like = like_sets(CONFIG, ())
    splits_to_draw((VALIDATION,), like, update=False)
    found = open_manifest(VALIDATION, like)
    make_command(VALIDATION, like, found)
    recipe.for_sets(like, ())
    if mutator.choice((True, False)):
        found = read_manifest(VALIDATION, CONFIG)
        list(arrays(examples(found, CONFIG), 10, CONFIG))
    check_drawable(found, like)
    show(VALIDATION, like)


def shard(work: Path, mutator: Mutator) -> None:
    """A TFRecord file that is damaged; or records that are, in a set whose checksums fit."""
    original, path = kept(work, "tfrecords/validation-00000-of-00002.tfrecord")
    manifest_content, manifest_path = kept(work, "tfrecords/validation.json")
    (work / "tfrecords" / ".validation.checked").unlink(missing_ok=True)
    manifest_path.write_bytes(manifest_content)
    if fits := mutator.choice((False, True)):
        path.write_bytes(original)
        records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
        mutated = mutator.choice(range(len(records)))
        records[mutated] = mutator.choice((mutator.file, lambda record: _other_record(record, mutator)))(
            records[mutated]
        )
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                writer.write(record)
        values = read_checksummed(manifest_path)
        values["shards"][0] |= {"bytes": path.stat().st_size, "sha256": sha256(path)}
        manifest_path.write_text(with_checksum(values))
    else:
        path.write_bytes(mutator.file(original))
    found = read_manifest(VALIDATION, CONFIG)
    for images, _ in arrays(examples(found, CONFIG), 10, CONFIG):
        assert images.shape[1:] == (CONFIG.height, CONFIG.width, 3)
    assert fits or path.read_bytes() == original


def _other_record(record: bytes, mutator: Mutator) -> bytes:
    example = tf.train.Example.FromString(record)
    feature = example.features.feature[mutator.choice(("image/encoded", "image/text", "image/index"))]
    feature.bytes_list.value[:] = [mutator.choice((mutator.file(real_pictures()[0]), mutator.text("2704")))]
    return example.SerializeToString()


def decoded_images(work: Path, mutator: Mutator) -> None:
    """The decoded images beside a set, and the notes about them."""
    found = read_manifest(VALIDATION, CONFIG)
    names = ("checked", "pixels.json", "pixels.npy")
    if not (work / "tfrecords" / ".validation.pixels.npy").exists():
        open_pixels(found, CONFIG)
    name = mutator.choice(names)
    for each in names:
        content, path = kept(work, f"tfrecords/.validation.{each}")
        path.write_bytes(mutator.file(content) if each == name else content)
    records = open_pixels(found, CONFIG)
    images, labels = verified_records(records, np.arange(len(records)))
    (expected,) = arrays(examples(found, CONFIG), 10, CONFIG)
    assert (labels == expected[1]).all() and len(images) == CONFIG.validation_count


def kept(work: Path, name: str) -> tuple[bytes, Path]:
    """A file's content before it was damaged, and its path."""
    original, path = work / "originals" / name, work / name
    if not original.exists():
        original.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, original)
    return original.read_bytes(), path


KINDS = (
    picture, source, font, contact_sheet, manifest, shard, decoded_images,
)  # fmt: skip
