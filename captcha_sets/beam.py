"""Draw the shards of a split in parallel on a cluster, with Apache Beam; the manifest is written last.

    python -m captcha_sets.beam --splits train --train_count 1000000 --tfrecords_dir gs://bucket/tfrecords

What follows -- goes to Beam, as in ... -- --runner=DataflowRunner --project=... Without a runner it draws on this
machine. The files are those that captcha_producer.py writes, byte for byte.
"""

import argparse
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

from captcha_cli import UserError, parse_args, quiet_import, run

with quiet_import(__name__):
    from captcha_sets import manifest, shards

    try:
        import apache_beam as beam
        from apache_beam.io.filesystems import FileSystems
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        beam = None  # optional

from captcha_config import Config
from captcha_sets.draw import check_drawing, draw, png
from captcha_sets.files import with_checksum
from captcha_sets.pool import is_repeatable

FIELDS = (*manifest.DRAWING_FIELDS, "train_count", "validation_count", "images_per_shard", "tfrecords_dir")
LOCAL_RUNNER = "--runner=FnApiRunner"  # in this process; Beam's own default looks for a server


def draw_split(
    split: str, config: Config, options: list[str], replace: bool = False, typed: Collection[str] = ()
) -> None:
    """Draw a split. A worker that is lost, or tried again, writes the same bytes in the same place.

    Args:
      config: tfrecords_dir may be on any file system that Beam knows.
      options: Beam's own.
      replace: whether to draw it in the place of an earlier one, whose manifest is removed first.
      typed: see manifest.describe.
    Raises:
      UserError: Beam is not installed, has no such runner, or does not know the file system; or there is such a split
        already, or one that was imported.
    """
    if beam is None:
        raise UserError("Apache Beam is not installed; pip install apache-beam")
    check_drawing(config)
    try:
        path = FileSystems.join(config.tfrecords_dir, f"{split}.json")
        there = FileSystems.exists(path)
    except ValueError as error:
        raise UserError(f"tfrecords_dir: {error}") from error
    if there and not replace:
        raise UserError(f"{path}: there is a set already; add --replace, or set another --tfrecords_dir")
    manifest.check_not_imported(split, config)
    plan = shards.plan(split, manifest.count_of(split, config), config.images_per_shard)
    origin = manifest.DRAWN if is_repeatable(split, config) else manifest.DRAWN_ONCE
    pipeline = _pipeline(options)
    if there:
        FileSystems.delete([path])
    with pipeline:
        (
            pipeline
            | beam.Create(plan)
            | beam.Reshuffle()  # one shard for each worker that is free, instead of all on one worker
            | "Draw" >> beam.Map(_draw_shard, split, config, manifest.versions())
            | beam.combiners.ToList()
            | "Describe" >> beam.Map(_write_manifest, path, split, config, [*typed], origin)
        )


def _pipeline(options: list[str]) -> "beam.Pipeline":
    if not any(option.startswith("--runner") for option in options):
        options = [LOCAL_RUNNER, *options]
    try:
        return beam.Pipeline(options=PipelineOptions(options))
    except (ValueError, ImportError, AttributeError) as error:
        raise UserError(f"{' '.join(options)}: Beam refuses it ({' '.join(str(error).split())})") from error


def _draw_shard(part: tuple[str, range], split: str, config: Config, versions: dict[str, str]) -> dict:
    """Draw a shard on a worker, and copy it to the output; returns its entry in the manifest."""
    name, indices = part
    if manifest.versions() != versions:
        raise RuntimeError(f"this worker has {manifest.versions()}, but {versions} is needed")
    drawn = (draw(index, split, config) for index in indices)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        entry = shards.write_shard(path, indices, ((text, png(image)) for text, image in drawn))
        with open(path, "rb") as source, FileSystems.create(FileSystems.join(config.tfrecords_dir, name)) as target:
            shutil.copyfileobj(source, target)
    return entry


def _write_manifest(entries: list[dict], path: str, split: str, config: Config, typed: list[str], origin: dict) -> None:
    entries = sorted(entries, key=lambda entry: entry["name"])
    with FileSystems.create(path) as target:
        target.write(with_checksum(manifest.describe(split, config, entries, typed, origin)).encode())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--splits", nargs="+", choices=manifest.SPLITS, default=manifest.SPLITS, help="default: both")
    parser.add_argument("--replace", action="store_true", help="replace the splits that exist")
    parser.add_argument("options", nargs="*", metavar="-- OPTION", help="Beam's own options")


def main() -> None:
    config, args = parse_args(__doc__, FIELDS, add_arguments)
    for split in dict.fromkeys(args.splits):
        draw_split(split, config, args.options, args.replace, vars(args))
        print(f"{split}: {manifest.count_of(split, config)} captchas in {config.tfrecords_dir}/")


if __name__ == "__main__":
    run(main)
