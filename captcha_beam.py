"""Draw a set on a cluster, through Apache Beam: a shard at a time, and last the manifest.

    python captcha_beam.py -n 1000000 --split train --output tfrecords

What comes after -- goes to Beam, which runs on this machine where nothing is said:
... -- --runner=DataflowRunner --project=... The bytes are those that captcha_producer.py writes.
"""

import shutil
import tempfile
from pathlib import Path

import captcha_records
from captcha_config import Config, UserError, parse_args, run
from captcha_draw import check_fonts, draw, png
from captcha_seal import seal

FIELDS = ("characters", "length", "width", "height", "fonts", "font_sizes", "often", "seed", "images_per_shard")


def draw_set(count: int, split: str, output: str, config: Config, options: list[str]) -> None:
    """Draw a set. A worker that is lost, or tried again, writes the same bytes in the same place.

    Args:
      count: captchas.
      output: a folder on any file system that Beam knows.
      options: Beam's own.
    Raises:
      UserError: Beam is not installed, or the output has such a set already.
    """
    try:
        import apache_beam as beam
        from apache_beam.io.filesystems import FileSystems
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError(f"Apache Beam is not installed ({error}); pip install '.[beam]'") from error
    check_fonts(config)
    manifest = FileSystems.join(output, f"{split}.json")
    if FileSystems.exists(manifest):
        raise UserError(f"{manifest}: there is a set already; move it away, or name another --output")
    plan = captcha_records.plan(split, count, config.images_per_shard)
    if not any(option.startswith("--runner") for option in options):
        options = ["--runner=FnApiRunner", *options]  # here, in this process; Beam's own default looks for a server
    with beam.Pipeline(options=PipelineOptions(options)) as pipeline:
        (
            pipeline
            | beam.Create(plan)
            | beam.Reshuffle()  # one shard for each worker that is free, not all for one
            | "Draw" >> beam.Map(_draw_shard, split, output, config, captcha_records.versions())
            | beam.combiners.ToList()
            | "Tell" >> beam.Map(_write_manifest, manifest, split, count, config)
        )


def _draw_shard(part: tuple[str, range], split: str, output: str, config: Config, versions: dict[str, str]) -> dict:
    """Draw a shard here, and copy it to the output; returns its line in the manifest."""
    from apache_beam.io.filesystems import FileSystems

    name, indices = part
    if captcha_records.versions() != versions:
        raise RuntimeError(f"this worker has {captcha_records.versions()}, but {versions} is asked for")
    drawn = (draw(index, split, config) for index in indices)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder) / name
        line = captcha_records.write_shard(here, indices, ((text, png(image)) for text, image in drawn))
        with open(here, "rb") as source, FileSystems.create(FileSystems.join(output, name)) as target:
            shutil.copyfileobj(source, target)
    return line


def _write_manifest(shards: list[dict], path: str, split: str, count: int, config: Config) -> None:
    from apache_beam.io.filesystems import FileSystems

    shards = sorted(shards, key=lambda shard: shard["name"])
    with FileSystems.create(path) as target:
        target.write(seal(captcha_records.manifest(split, count, config, shards)).encode())


def main() -> None:
    def extras(parser):
        parser.add_argument("-n", "--count", type=int, required=True, help="captchas to draw")
        parser.add_argument("--split", required=True, help="the set's name, such as train")
        parser.add_argument("--output", required=True, help="folder, or gs://..., where the set goes")
        parser.add_argument("beam", nargs="*", metavar="-- OPTION", help="Beam's own options")

    config, args = parse_args(__doc__, FIELDS, extras)
    if not 1 <= args.count <= 10**9:
        raise UserError(f"-n {args.count} is out of range; it must be from 1 to {10**9}")
    draw_set(args.count, captcha_records.split_of(args.split), args.output, config, args.beam)
    print(f"{args.split}: {args.count} captchas in {args.output}")


if __name__ == "__main__":
    run(main)
