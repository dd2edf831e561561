"""The manifest of a split: what its captchas are, and which shards hold them.

describe(split, config, shards)                 the manifest's content; it is written last
open_manifest(split, config)                    the manifest of a split, or an error that says how to draw it
read_manifest(split, config)                    the same, of captchas like the config's
manifest_for_model(split, config)               the same, of captchas that a trained model can read
check_same_import(manifests, config)            the splits are of one import, or were imported on their own
like_sets(config, typed)                        the config with what was typed when the sets were made
make_command(split, config, manifest)           the command that makes a split
"""

import dataclasses
import hashlib
import os
from collections.abc import Collection, Sequence
from importlib.metadata import version

from captcha_cli import UserError
from captcha_config import Config
from captcha_predict.form import misfit
from captcha_sets.commands import changed, drawing_command, import_command
from captcha_sets.draw import TRAIN
from captcha_sets.files import reason, verified

import tensorflow as tf
from tensorflow.io.gfile import GFile, exists, join  # paths may be on any file system that TensorFlow knows

VALIDATION = "validation"
SPLITS = (TRAIN, VALIDATION)
FORMAT = 3  # of the manifest
CAPTCHA_FIELDS = ("characters", "length", "min_length", "width", "height")  # what a network is made for
DRAWN = {"source": None, "repeatable": True}  # the origin of drawn captchas
DRAWN_ONCE = {"source": None, "repeatable": False}  # by a drawer that does not draw them alike again
NEEDS = {"min_length": "length", "oversample_characters": "characters"}  # fields that make sense only with another
SHARD = {"name": str, "records": int, "bytes": int, "sha256": str}
FORM = {"split": str, "count": int, "typed": {str: object}, "sizes": {str: int}, "shards": [SHARD]}  # of a manifest
DRAWN_FORM = {"source": None, "repeatable": bool}  # what it has besides
IMPORTED_FORM = {"source": str, "splits": [str], "typed": {str: object}, "joined": int}
DRAWING_FIELDS = (
    *CAPTCHA_FIELDS, "seed", "drawer", "fonts", "font_sizes", "canvas_sizes", "oversample_characters", "bg_color",
    "fg_color", "noise_dots", "noise_dot_width", "noise_curves", "character_rotate", "character_offset_dx",
    "character_offset_dy", "character_warp_dx", "character_warp_dy", "word_space_probability", "word_offset_dx",
    "lookup_table",
)  # fmt: skip


def count_field(split: str) -> str:
    """The config's field that says how many captchas a split is to have."""
    return f"{split}_count"


def count_of(split: str, config: Config) -> int:
    """How many captchas a split is to have."""
    return getattr(config, count_field(split))


def versions() -> dict[str, str]:
    """Versions of the libraries that decide the pixels."""
    return {name: version(name) for name in ("captcha", "pillow")}


def describe(split: str, config: Config, shards: list[dict], typed: Collection[str], origin: dict) -> dict:
    """The manifest of a split.

    Args:
      shards: their entries, as write_shard returns them.
      typed: names of the fields that were typed. Of drawn captchas, those that differ from captcha_config.py
        count as typed, too.
      origin: DRAWN, DRAWN_ONCE, or how images were imported: where they came from ("source"), how many had which size
        ("sizes"), and the options that import them again.
    """
    count = sum(shard["records"] for shard in shards)
    values = _values(split, config)
    defaults, drawn = _plain(Config, values), origin["source"] is None
    return {
        "format": FORMAT,
        "split": split,
        "sizes": {f"{config.width}x{config.height}": count},
        **origin,
        "count": count,
        **values,
        "typed": {
            name: defaults[name] for name in values if name in typed or (drawn and values[name] != defaults[name])
        },
        "versions": versions(),
        "shards": shards,
    }


def _values(split: str, config: Config) -> dict:
    """The fields that decide what is in a split, and their values, as JSON has them."""
    values = _plain(config, (*DRAWING_FIELDS, count_field(split)))
    if split != TRAIN:
        del values["oversample_characters"]  # it concerns the training split alone
    return values


def _plain(config: Config | type[Config], names: Collection[str]) -> dict:
    """The values of these fields, as JSON has them; of the class, the defaults."""
    values = {name: getattr(config, name) for name in names}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def manifest_path(split: str, config: Config) -> str:
    """Where the manifest of a split is."""
    return join(config.tfrecords_dir, f"{split}.json")


def set_exists(split: str, config: Config) -> bool:
    """Whether there is a manifest of a split, complete or damaged."""
    path = manifest_path(split, config)
    try:
        return exists(path)
    except tf.errors.OpError as error:  # an unknown file system, say
        raise UserError(f"{path}: cannot be read ({reason(error)})") from error


def like_sets(config: Config, typed: Collection[str], splits: Collection[str] = SPLITS) -> Config:
    """The config with the captcha of the sets in config.tfrecords_dir, so that it need not be typed again.

    What was typed when a set was made, or found in imported images, is taken from its manifest. What captcha_config.py
    said then is not, nor what was edited there since: the difference is to be seen.

    Args:
      typed: names of the fields that were typed now; these stay as they are.
      splits: which sets, where they exist.
    Raises:
      UserError: a manifest is damaged.
    """
    for split in splits:
        if set_exists(split, config):
            manifest = open_manifest(split, config)
            names = CAPTCHA_FIELDS
            if manifest["source"] is None:
                now = _plain(Config, manifest["typed"])
                names = [name for name, default in manifest["typed"].items() if default == now[name]]
            names = [name for name in names if name not in typed and NEEDS.get(name) not in typed]
            taken = _taken(manifest, names)
            characters = taken.get("characters", config.characters)
            if not set(config.oversample_characters) < set(characters):  # those of captcha_config.py, for drawn ones
                taken.setdefault("oversample_characters", "")
            config = dataclasses.replace(config, **taken)
    return config


def _taken(manifest: dict, names: Collection[str]) -> dict:
    values = {name: manifest[name] for name in names if name in manifest}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def check_not_imported(split: str, config: Config) -> None:
    """Raise UserError where a split was imported, or its import was stopped: drawn captchas do not take its place."""
    try:
        source = verified(read_text(manifest_path(split, config))).get("source")
    except tf.errors.OpError as error:  # there is none, or it cannot be read
        if _import_of_both(split, config):
            raise UserError(f"{config.tfrecords_dir}: has no {split} split; {_how_to_make(split, config)}") from error
        return
    except ValueError:  # it is damaged
        source = _import_of_both(split, config).get("source")
    if source:
        raise UserError(
            f"{config.tfrecords_dir}: the {split} split was imported from {source}, and is not replaced by drawn"
            " captchas; set other folders, or remove the set yourself"
        )


def read_manifest(split: str, config: Config) -> dict:
    """The manifest of a split of captchas like the config's.

    Raises:
      UserError: there is none, it is damaged, or it differs from the config in something that decides what is in it.
    """
    manifest = open_manifest(split, config)
    different = differences(manifest, config)
    if different:
        raise UserError(
            f"{manifest_path(split, config)}: the set has {'; '.join(different)}; change the config to match, or"
            f" replace the set: {new_set_command(config, manifest)}"
        )
    return manifest


def check_same_import(manifests: Sequence[dict], config: Config) -> None:
    """Raise UserError where two imports divided their images into both splits, and one split is left of each.

    The later import was stopped between its splits. Images may be in both.
    """
    imports = {manifest.get("import") for manifest in manifests if len(manifest.get("splits", ())) > 1}
    if len(imports) > 1:
        again = new_set_command(config, manifests[0])
        raise UserError(
            f"{config.tfrecords_dir}: its splits are of different imports, so that images may be in both; import them"
            f" again: {again}"
        )


def manifest_for_model(split: str, trained: Config) -> dict:
    """The manifest of a split of captchas that a model can read.

    Args:
      trained: the config that the model was trained with; tfrecords_dir says where the split is.
    Raises:
      UserError: there is none, it is damaged, or its captchas have other characters, lengths or size.
    """
    manifest = open_manifest(split, trained)
    different = differences(manifest, trained, CAPTCHA_FIELDS)
    if different:
        raise UserError(
            f"{manifest_path(split, trained)}: does not fit the model: the set has {'; '.join(different)}; name a set"
            " that does (--tfrecords_dir)"
        )
    return manifest


def differences(manifest: dict, config: Config, names: Collection[str] | None = None) -> list[str]:
    """One text for each field that is not the same in the manifest and in the config.

    Args:
      names: the fields that are compared; None: all that decide what is in the split. Of imported images these are
        CAPTCHA_FIELDS.
    """
    ours = _values(manifest["split"], config)
    if names is None:
        names = ours if manifest["source"] is None else CAPTCHA_FIELDS
    return [f"{name} {manifest[name]!r}, not {ours[name]!r}" for name in names if manifest[name] != ours[name]]


def open_manifest(split: str, config: Config) -> dict:
    """The manifest of a split, whatever captchas it has. Raises UserError where there is none, or a damaged one."""
    path = manifest_path(split, config)
    try:
        manifest = verified(read_text(path))
        if manifest.get("format") == FORMAT:
            _check(split, manifest)
    except tf.errors.NotFoundError as error:
        where = path if "://" in path else os.path.abspath(path)
        raise UserError(f"{where}: there is no such set; {_how_to_make(split, config)}") from error
    except tf.errors.OpError as error:
        raise UserError(f"{path}: cannot be read ({reason(error)})") from error
    except (ValueError, UserError) as error:
        again = make_command(split, config, _import_of_both(split, config))
        raise UserError(f"{path}: is not a complete manifest ({error}); make the set again: {again}") from error
    if manifest.get("format") != FORMAT:
        again = make_command(split, config, manifest if _was_imported(manifest) else {})
        raise UserError(f"{path}: is of another version of this project; make the set again: {again}")
    return manifest


def _how_to_make(split: str, config: Config) -> str:
    """How to make a split that is missing: as the other one was made, if there is one."""
    other = _other_import(split, config)
    if not other:
        return f"draw it: {make_command(split, config)}"
    if split in other["splits"]:
        return f"its import was stopped; import it again: {make_command(split, config, other)}"
    return f"import it, as the other split: {import_command(['--splits', split], 'FOLDER', {}, config)}"


def _other_import(split: str, config: Config) -> dict:
    """The other split's manifest, where that was imported. Otherwise {}."""
    (other,) = (name for name in SPLITS if name != split)
    try:
        manifest = verified(read_text(manifest_path(other, config)))
    except (tf.errors.OpError, ValueError):  # there is none, or it is damaged
        return {}
    return manifest if _was_imported(manifest) else {}


def _import_of_both(split: str, config: Config) -> dict:
    """The other split's manifest, where one import divided its images into both splits. Otherwise {}."""
    other = _other_import(split, config)
    return other if split in other.get("splits", ()) else {}


def _was_imported(manifest: dict) -> bool:
    """Whether a manifest, of any version of this project, says how to import the images again."""
    return not misfit({"typed": {}, "joined": 0, **manifest}, IMPORTED_FORM)


def _check(split: str, manifest: dict) -> None:
    """Raise ValueError or UserError where what a manifest says makes no sense, although its checksum is right."""
    more = DRAWN_FORM if manifest.get("source") is None else IMPORTED_FORM
    fields = dict.fromkeys(_values(split, Config()), object)
    if problem := misfit({"joined": 0, **manifest}, FORM | more | fields):
        raise ValueError(problem)
    Config.from_dict({name: manifest[name] for name in fields})
    if manifest["split"] != split or not manifest["typed"].keys() <= fields.keys():
        raise ValueError("it is another split's")
    names, counts = ([shard[name] for shard in manifest["shards"]] for name in ("name", "records"))
    if any(os.path.basename(name) != name for name in names) or len(set(names)) < len(names):
        raise ValueError("the names of its shards make no sense")
    if sum(counts) != manifest["count"] or min(counts, default=0) < 1:
        raise ValueError("its shards do not have as many captchas as it says")


def read_text(path: str) -> str:
    """The content of a file on any file system that TensorFlow knows."""
    with GFile(path, "rb") as file:
        return file.read().decode()


def make_command(split: str, config: Config, manifest: dict | None = None) -> str:
    """The command that makes a split again, or for the first time.

    Args:
      manifest: of the split that is there, if one is, as far as it can be read. If it has the config's characters and
        size, the command makes the same files; otherwise, those of the config.
    """
    words = ["--replace"] if manifest is not None else []
    manifest = manifest or {}
    if manifest.get("source"):
        return _import_again(words, {}, config, manifest)
    values = {name: getattr(config, name) for name in (*DRAWING_FIELDS, count_field(split), "images_per_shard")}
    if manifest.get("format") == FORMAT and not differences(manifest, config, CAPTCHA_FIELDS):
        values |= _taken(manifest, values.keys()) | {"images_per_shard": manifest["shards"][0]["records"]}
    return drawing_command([*words, "--splits", split], values, config)


def new_set_command(config: Config, manifest: dict) -> str:
    """The command that makes sets like the config's in the place of those that are there."""
    if manifest["source"] is not None:
        values = {name: getattr(config, name) for name in CAPTCHA_FIELDS}
        different = {name: value for name, value in values.items() if value != manifest[name]}
        return _import_again(["--replace"], different, config, manifest)
    values = {name: getattr(config, name) for name in (*DRAWING_FIELDS, *map(count_field, SPLITS))}
    return drawing_command(["--replace"], values, config)


def _import_again(words: list[str], values: dict, config: Config, manifest: dict) -> str:
    """The command that imports the same images, with these values instead of those that were typed then."""
    if len(manifest["splits"]) == 1:  # otherwise the images of one source were divided into both splits
        words += ["--splits", *manifest["splits"]]
    words += [f"--{name}" for name in ("leave-out", "ignore_case") if manifest.get(name)]
    names = ("seed", "validation_share") if len(manifest["splits"]) > 1 else ()
    deciding = {name: manifest.get(name, getattr(Config, name)) for name in names}
    values = _taken(manifest, manifest.get("typed", CAPTCHA_FIELDS)) | values | changed(deciding)  # the images held out
    if values.get("min_length") == 0:  # it was the same as the length
        values["min_length"] = values.get("length", manifest["length"])
    values |= {name: str(manifest[name]) for name in ("unlabelled", "model") if manifest.get(name)}
    return import_command(words, manifest["source"], values, config)


def fingerprint(manifest: dict) -> str:
    """A short text that identifies a split: a hash of its shards' hashes."""
    return hashlib.sha256("".join(shard["sha256"] for shard in manifest["shards"]).encode()).hexdigest()[:16]
