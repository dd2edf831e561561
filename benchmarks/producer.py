"""Captchas drawn a second, with one process and with all cores, in turns.

python benchmarks/producer.py [--count 30000] [--rounds 3]
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from captcha_cli import quiet_import, run

with quiet_import(__name__):
    from captcha_sets.drawing import produce

from captcha_config import Config
from captcha_sets.manifest import TRAIN


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=30000, help="captchas in a split")
    parser.add_argument("--rounds", type=int, default=3, help="splits drawn with each number of processes")
    args = parser.parse_args()
    cores = max(2, os.cpu_count() or 1)
    rates: dict[int, list[float]] = {1: [], cores: []}
    for _ in range(args.rounds):  # in turns, since the speed of a machine drifts
        for workers, measured in rates.items():
            measured.append(args.count / seconds_to_draw(args.count, workers))
    print(f"{'processes':>9}  images/s (median, least to greatest)")
    for workers, measured in rates.items():
        print(f"{workers:>9}  {statistics.median(measured):.0f}, {min(measured):.0f} to {max(measured):.0f}")
    ratios = [many / one for one, many in zip(*rates.values(), strict=True)]
    print(f"{cores} processes draw {statistics.median(ratios):.2f} times as fast as one (median of the rounds)")


def seconds_to_draw(count: int, workers: int) -> float:
    """Seconds to draw a split and to write its PNG files and TFRecords."""
    with tempfile.TemporaryDirectory() as folder:
        folders = {"images_dir": f"{folder}/images", "tfrecords_dir": f"{folder}/tfrecords"}
        config = replace(Config(), train_count=count, workers=workers, **folders)
        began = time.perf_counter()
        produce(TRAIN, config)
        return time.perf_counter() - began


if __name__ == "__main__":
    run(main)
