"""Try a network in a browser: draw or drop a captcha, and see the prediction, its confidence, and where it looked.

    python captcha_try.py
    python captcha_try.py --model letters

POST an image file to /api/read to get the prediction as JSON. It needs pip install ".[pages]".
"""

import argparse

from captcha_cli import UserError, parse_args, quiet_import, run, start_litert

with quiet_import(__name__):
    from captcha_pages import MISSING, NEEDED, network

try:
    from captcha_pages import reading, server
except ModuleNotFoundError as error:
    if error.name not in NEEDED:
        raise
    server = None  # optional

FIELDS = ("drawer", "save_dir")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="a folder that the trainer saved to, a shipped model, or a .tflite file")
    if server:
        server.add_arguments(parser)


def main() -> None:
    config, args = parse_args(__doc__, FIELDS, add_arguments)
    if not server:
        raise UserError(MISSING)
    start_litert()
    loaded = network.load(args.model, config)
    print(f"reading with {loaded.name} (--model names another)")
    server.serve(reading.routes(loaded, config), args)


if __name__ == "__main__":
    run(main)
