"""Command lines that make a set, for the messages that advise them.

drawing_command(words, values, config)              the producer's, or Beam's
import_command(words, source, values, config)       the producer's, for labelled images
changed(values)                                     the values that differ from captcha_config.py
"""

import shlex

from captcha_config import Config

PRODUCER = ("python", "captcha_producer.py")


def drawing_command(words: list[str], values: dict, config: Config) -> str:
    """The command that draws captchas.

    Args:
      words: its other options.
      values: of the config's fields; only those that differ from captcha_config.py become options.
      config: the folders.
    """
    if "://" in config.tfrecords_dir:  # the producer writes to this machine alone
        script, folders = ("python", "-m", "captcha_sets.beam"), _options({"tfrecords_dir": config.tfrecords_dir})
    else:
        script, folders = PRODUCER, _folders(config)
    return _joined(*script, *words, *_options(changed(values)), *folders)


def import_command(words: list[str], source: str, values: dict, config: Config) -> str:
    """The command that imports labelled images, with all of the values as options; see drawing_command."""
    return _joined(*PRODUCER, *words, "--source", source, *_options(values), *_folders(config))


def changed(values: dict) -> dict:
    """The values that differ from captcha_config.py."""
    return {name: value for name, value in values.items() if value != getattr(Config, name)}


def _folders(config: Config) -> list[str]:
    words = _options(changed({name: getattr(config, name) for name in ("tfrecords_dir", "images_dir")}))
    if config.images_dir == Config.images_dir and config.tfrecords_dir != Config.tfrecords_dir:
        words.append("--no-images")  # that folder is for the pictures of another set
    return words


def _options(values: dict) -> list:
    """Values as options of a command line."""
    words = []
    for name, value in values.items():
        if isinstance(value, str) and value.startswith("-"):
            words.append(f"--{name}={value}")  # as a word of its own it would be taken for an option
        else:
            words += [f"--{name}", *(value if isinstance(value, tuple) else (value,))]
    return words


def _joined(*words: object) -> str:
    return shlex.join(map(str, words))
