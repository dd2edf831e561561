"""Measure how many labelled captchas a network needs to read them, and which drawing settings make it need more.

    python captcha_strength.py --report strength.html
    python captcha_strength.py --vary noise_dots 0 30 60 120 --plan
    python captcha_strength.py --vary noise_dots 0 30 60 120 --human
    python captcha_strength.py --source my_images

Each cell of the grid is one training: a number of labels, of one setting, from one start, with one seed. Its result is
saved as it ends. Stop the command at any moment and run it again: it measures what is missing.
"""

import argparse
import collections
import dataclasses
import itertools
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

from captcha_cli import UserError, parse_args, quiet_import, run, track

with quiet_import(__name__):
    import tensorflow as tf

import captcha_data
import captcha_model
from captcha_config import Config
from captcha_pages import MISSING, NEEDED
from captcha_runs import cluster, transfer
from captcha_sets.draw import TRAIN
from captcha_sets.files import check_writable, lock, write_text
from captcha_sets.manifest import DRAWING_FIELDS, SPLITS, VALIDATION, read_manifest
from captcha_sets.pixels import in_memory, verified_records
from captcha_strengths import cells, console, humans, meaning, report
from captcha_strengths.captchas import captchas_to_type, make_sets, samples_of
from captcha_strengths.cells import NOTHING, STARTER, Cell, Measurement
from captcha_strengths.settings import Pool, drawn_pool, grid, own_pool, seconds_to_draw, sizes_of
from captcha_strengths.summary import summary
from captcha_train import new_network, train_on

try:
    from captcha_pages import server
    from captcha_pages.tables import Table
    from captcha_pages.transcription import Captcha, Transcription
except ModuleNotFoundError as error:
    if error.name not in NEEDED:
        raise
    server = None  # optional

import numpy as np

FIELDS = (
    *DRAWING_FIELDS, "validation_count", "validation_share", "workers", "shift", "rotate", "zoom", "channels",
    "input_downsampling", "input_color", "count_freely", "head_units", "label_smoothing", "automatic", "batch_size",
    "max_steps", "learning_rate", "warmup_steps", "weight_decay",
)  # fmt: skip
SIZES = (30, 100, 300, 1000, 3000, 10_000, 30_000)  # labelled captchas
SEEDS = (1, 2, 3)
CELLS = "cells.jsonl"  # the results, in --folder
BATCH_SIZE = 256  # images, for the evaluation
TRIAL_STEPS = 5  # timed for the estimate


def measure(cell: Cell, records: np.memmap, held_out: np.memmap) -> Measurement:
    """Train on cell.labels of the captchas, chosen by the seed, and evaluate on all that are held out."""
    began = time.perf_counter()
    config = cell.config
    chosen = np.sort(np.random.default_rng(cell.seed).permutation(cell.pool.count)[: cell.labels])
    network = new_network(config)
    steps = train_on(network, in_memory(*verified_records(records, chosen), config), config)
    collections.deque(track(steps, config.max_steps, "training", "steps"), maxlen=0)
    seconds = time.perf_counter() - began

    forward = tf.function(lambda images: network(images, training=False))
    batches = captcha_data.evaluation_batches(held_out, BATCH_SIZE)
    correct, _ = captcha_model.evaluation(*captcha_model.predict(forward, batches), config)
    identity = (cell.key, cell.pool.name, cell.labels, cell.start, cell.seed)
    return Measurement(*identity, int(correct.sum()), len(correct), seconds)


def measure_all(planned: Sequence[Cell], path: Path, paces: dict[str, float]) -> None:
    """Measure the cells that are not in the file yet, and append each result as it ends."""
    measured = cells.read(path)
    missing = [cell for cell in planned if cell.key not in measured]
    for (pool, _), group in itertools.groupby(missing, key=lambda cell: (cell.pool, cell.start)):
        group = list(group)
        make_sets(pool)
        splits = {split: read_manifest(split, pool.config) for split in SPLITS}
        records = {split: captcha_data.open_pixels(manifest, group[0].config) for split, manifest in splits.items()}
        for cell in group:
            if cell.key in measured:  # two settings that draw the same captchas
                continue
            measurement = measure(cell, records[TRAIN], records[VALIDATION])
            cells.append(path, measurement)
            measured[cell.key] = measurement
            left = cells.seconds_left(planned, measured, paces | cells.paces(planned, measured))
            console.print_measured(cell, planned, measured, left)


# The plan


def pools_of(config: Config, args: argparse.Namespace) -> list[Pool]:
    """The captchas of each setting. Raises UserError if --vary and --source are both given."""
    if not args.source:
        return [drawn_pool(setting, max(args.sizes), args.folder) for setting in grid(config, args.vary)]
    if args.vary:
        raise UserError("--vary draws captchas, but --source uses existing images; leave out one of them")
    # Whatever the starts are: a start that is added later must find the same images.
    sized, typed = transfer.at_image_size(dataclasses.replace(config, init_from=STARTER), vars(args))
    return [own_pool(args.source, dataclasses.replace(sized, init_from=""), typed, args.folder)]


def trial_paces(planned: Sequence[Cell], measured: dict[str, Measurement]) -> dict[str, float]:
    """Seconds for a unit of work, for each start that is not finished: from its results, or from a few timed steps."""
    paces = cells.paces(planned, measured)
    for cell in planned:
        if cell.key not in measured and cell.start not in paces:
            paces[cell.start] = _trial_seconds(cell.config) / cell.work
    return paces


def _trial_seconds(config: Config) -> float:
    """An estimate of the seconds of a training, from a few steps on blank images."""
    blank = np.zeros((config.batch_size, config.height, config.width, config.input_channels), np.uint8)
    labels = np.zeros((config.batch_size, config.length), np.int32)
    began = time.perf_counter()
    steps = train_on(new_network(config), in_memory(blank, labels, config), config)
    next(steps)  # compiles
    compiled = time.perf_counter()
    timed = sum(1 for _ in itertools.islice(steps, TRIAL_STEPS))
    step = (time.perf_counter() - compiled) / timed if timed else 0.0
    return compiled - began + step * (config.max_steps - 1)


# What people read


def transcribe(pools: list[Pool], config: Config, args: argparse.Namespace) -> None:
    """Show captchas of all settings, in random order, until Ctrl-C, and save what a person types."""
    if not server:
        raise UserError(MISSING)
    path = args.folder / humans.TYPED
    captchas = [Captcha(*each) for pool in pools for each in captchas_to_type(pool)]
    random.Random(config.seed).shuffle(captchas)
    args.folder.mkdir(parents=True, exist_ok=True)
    with lock(args.folder, "human", f"{args.folder}: another process shows captchas for it; use its page, or stop it"):
        page = Transcription(captchas, Table(path, humans.COLUMNS))
        try:
            server.serve(page.routes(), args)
        finally:
            if people := humans.typed(path, pools):
                console.print_people(people)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    several = {"nargs": "+", "metavar": "N", "type": int}
    parser.add_argument(
        "--vary",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a drawing setting and its values; several --vary make a grid; quote a value of several numbers:"
        ' --vary character_rotate "0 0" "-30 30"',
    )
    parser.add_argument("--source", type=Path, help="labelled images of your own, as for captcha_producer.py")
    parser.add_argument("--sizes", **several, default=SIZES, help="numbers of labels; default: seven from 30 to 30,000")
    parser.add_argument("--seeds", **several, default=SEEDS, help="seeds of the trainings; default: 1 2 3")
    parser.add_argument(
        "--starts", nargs="+", default=(NOTHING, STARTER), help=f"{NOTHING}, or as for --init_from of captcha_train.py"
    )
    parser.add_argument("--plan", action="store_true", help="only print what would be measured, and an estimate")
    parser.add_argument(
        "--human",
        nargs="?",
        const=True,
        metavar="FILE",
        help=f"type {humans.SHOWN} captchas of each setting in a browser; with FILE: what people read, as JSON",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results as JSON")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write all results as one HTML page")
    parser.add_argument(
        "--folder", type=Path, default=Path("strength"), help="folder of captchas and results; default: strength"
    )
    if server:
        server.add_arguments(parser)


@cluster.failures_explained()
def main() -> None:
    config, args = parse_args(__doc__, FIELDS, add_arguments)
    if min(args.sizes) < 1:
        raise UserError("--sizes: a number of labels must be 1 or more")
    check_writable(args.report, "--report")
    check_writable(args.json, "--json")
    tf.get_logger().setLevel("ERROR")
    pools = pools_of(config, args)
    if args.human is True:
        transcribe(pools, config, args)
        return
    people = humans.typed(args.folder / humans.TYPED, pools)
    if args.human:
        people |= humans.read(Path(args.human), [pool.name for pool in pools])
    planned = cells.plan(
        pools, sizes_of(pools, args.sizes), dict.fromkeys(args.starts), dict.fromkeys(args.seeds), vars(args)
    )
    path = args.folder / CELLS
    measured = cells.read(path)
    paces = trial_paces(planned, measured)
    console.print_plan(planned, measured, cells.seconds_left(planned, measured, paces) + seconds_to_draw(pools))
    if args.plan:
        return
    args.folder.mkdir(parents=True, exist_ok=True)
    with lock(args.folder, "strength", f"{args.folder}: another process is measuring in it; wait for it or stop it"):
        cells.drop_cut_line(path)
        measure_all(planned, path, paces)
        measured = cells.read(path)
        results = [dataclasses.replace(measured[cell.key], setting=cell.pool.name) for cell in planned]
        found = meaning.strengths(results, pools, people)
        values = summary(found, results)
        console.print_found(values)
        if args.json:
            write_text(args.json, json.dumps(values, ensure_ascii=False, indent=1))
        if args.report:
            report.write(args.report, found, values, {pool.name: samples_of(pool) for pool in pools})
            print(f"{args.report}: open it in a browser")


if __name__ == "__main__":
    run(main)
