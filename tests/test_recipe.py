"""How images of your own are trained on, without the user's doing."""

from dataclasses import replace

from captcha_config import Config
from captcha_runs.recipe import for_own_images, for_sets
from captcha_sets.draw import draw
from captcha_sets.importing import import_images
from captcha_sets.manifest import SPLITS

import pytest
from conftest import SMALL, in_folder, options, run


@pytest.fixture
def own_images(tmp_path):
    """A working folder with 20 imported images; returns the config."""
    source = tmp_path / "mine"
    source.mkdir()
    for i in range(20):
        text, image = draw(i, "own", SMALL)
        image.save(source / f"{i}_{text}.png")
    config = in_folder(tmp_path)
    import_images(source, SPLITS, config, typed=("characters", "length", "width", "height"), images=False)
    return config


def test_fewer_images_are_varied_more():
    few, many = (for_own_images(Config(), count, ()) for count in (100, 10_000))
    assert all(getattr(few, name) > getattr(many, name) for name in ("shift", "rotate", "zoom"))
    assert few.max_steps < many.max_steps


def test_many_images_are_trained_on_as_the_config_says():
    assert for_own_images(Config(), 10**6, ()) == Config()


def test_what_was_typed_stays():
    chosen = for_own_images(replace(Config(), rotate=3.0), 100, ("rotate",))
    assert chosen == replace(for_own_images(Config(), 100, ()), rotate=3.0)


@pytest.mark.parametrize("count", [100, 1000, 10_000])
def test_a_network_that_starts_from_another_one_learns_more_slowly(count):
    from_scratch, from_another = (for_own_images(Config(init_from=name), count, ()) for name in ("", "starter"))
    assert from_scratch.learning_rate == Config.learning_rate > from_another.learning_rate


def test_the_fewer_images_the_more_of_the_other_network_is_kept():
    few, more = (for_own_images(Config(init_from="starter"), count, ()) for count in (100, 1000))
    assert few.learning_rate < more.learning_rate
    assert few.max_steps < more.max_steps


def test_the_config_can_turn_it_off():
    config = Config(automatic=False)
    assert for_own_images(config, 100, ()) == config


def test_drawn_captchas_are_trained_on_as_the_config_says(config, capsys):
    assert for_sets(config, ()) == config
    assert capsys.readouterr().out == ""


def test_the_number_of_images_includes_those_held_out(own_images, capsys):
    assert for_sets(own_images, ()) == for_own_images(own_images, 20, ())
    assert capsys.readouterr().out.startswith(
        "chosen for 20 imported images: max_steps 500, shift 6, rotate 10.0, zoom 0.1"
    )


def test_the_trainer_says_what_it_chose(own_images, tmp_path):
    typed = options(("channels", "batch_size", "warmup_steps"))
    done = run("captcha_train.py", *typed, "--max_steps", 2, "--rotate", 0, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("chosen for 20 imported images: shift 6, zoom 0.1 (options override these)\n")
