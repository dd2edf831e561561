"""captcha_strength.py as people run it: killed, started again, and its report in a real browser."""

import itertools
import json
import re
import shutil
import time

from captcha_config import Config
from captcha_sets.draw import draw
from captcha_strengths import cells, humans, words
from captcha_strengths.settings import drawn_pool, grid

import pytest
from conftest import SCREENSHOTS, SMALL, browser_only, errors, opened, options, run, start, wait_for
from test_pages import free_port, post, rows, serving

CAPTCHA = ("characters", "length", "width", "height", "font_sizes", "warmup_steps")
TINY = (*options(CAPTCHA), "--channels", 4, 8, "--batch_size", 16, "--validation_count", 50, "--workers", 1)
GRID = (*TINY, "--vary", "noise_dots", 0, 30, "--sizes", 20, 40, "--seeds", 2, "--starts", "nothing", "--max_steps", 20)
WHITE = ("--bg_color", 255, 255, 255, "--fg_color", 255, 255, 255)
PLAIN = ("--noise_dots", 0, "--noise_curves", 0, "--character_rotate", 0, 0)
HUMAN = {"noise_dots 0": {"shown": 50, "correct": 49}, "noise_dots 30": {"shown": 50, "correct": 30, "seconds": 200}}


def results(folder, name="results.json"):
    """What --json wrote, without the seconds, which no two runs share."""
    found = json.loads((folder / name).read_text(encoding="utf-8"))
    return [{name: value for name, value in each.items() if name != "seconds"} for each in found["measurements"]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A folder in which the small grid was measured in one go, with all that the command can write."""
    folder = tmp_path_factory.mktemp("strength")
    (folder / "human.json").write_text(json.dumps(HUMAN))
    files = ("--json", "results.json", "--report", "report.html", "--human", "human.json")
    done = run("captcha_strength.py", *GRID, *files, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_there_is_a_line_for_each_cell(undisturbed):
    _, done = undisturbed
    lines = [line for line in done.stdout.splitlines() if re.match(r"\d of 4  noise_dots", line)]
    assert [line[0] for line in lines] == list("1234")
    assert all(" left" in line and "labels, from nothing, seed 2" in line for line in lines)
    assert "4 trainings, 0 of 4 measured; about " in done.stdout


@pytest.mark.slow
def test_killed_three_times_it_ends_with_the_same_results(undisturbed, tmp_path):
    """SIGKILL: while the captchas are drawn, after the first result, and in the training that follows the second."""
    args = ("captcha_strength.py", *GRID, "--json", "results.json")
    for last_line, wait in (("measured; about", 0.3), ("1 of 4  noise_dots", 0.0), ("2 of 4  noise_dots", 0.5)):
        process = start(*args, cwd=tmp_path)
        wait_for(process, last_line)
        time.sleep(wait)
        process.kill()
        process.wait()
        assert process.returncode == -9
    assert 2 <= len(cells.read(tmp_path / "strength" / "cells.jsonl")) < 4
    done = run(*args, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert results(tmp_path) == results(undisturbed[0])


def test_what_is_measured_is_not_measured_again(undisturbed):
    folder, _ = undisturbed
    before = (folder / "strength" / "cells.jsonl").read_bytes()
    done = run("captcha_strength.py", *GRID, "--json", "again.json", cwd=folder)
    assert "4 trainings, 4 of 4 measured; about 0 seconds left" in done.stdout
    assert (folder / "strength" / "cells.jsonl").read_bytes() == before
    assert results(folder, "again.json") == results(folder)


def test_a_setting_that_was_one_of_several_is_not_measured_again(undisturbed):
    folder, _ = undisturbed
    alone = ["--noise_dots", 30, "--sizes", 20, 40, "--seeds", 2, "--starts", "nothing", "--max_steps", 20]
    done = run("captcha_strength.py", *TINY, *alone, "--json", "alone.json", cwd=folder)
    assert "2 trainings, 2 of 2 measured" in done.stdout
    both = [results(folder, name) for name in ("alone.json", "results.json")]
    assert [each["correct"] for each in both[0]] == [each["correct"] for each in both[1][2:]]


def test_the_plan_is_printed_and_nothing_is_written(tmp_path):
    done = run("captcha_strength.py", *GRID, "--plan", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 trainings, 0 of 4 measured; about " in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def extremes(tmp_path_factory):
    """(what was printed, the page, the settings of --json), for captchas in white on white and for plain ones."""
    found = {}
    for name, drawn in (("white", WHITE), ("plain", PLAIN)):
        folder = tmp_path_factory.mktemp(name)
        args = (*TINY, *drawn, "--sizes", 50, 200, "--seeds", 1, "--starts", "nothing", "--channels", 8, 16)
        files = ("--max_steps", 300, "--shift", 1, "--rotate", 0, "--json", "results.json", "--report", "report.html")
        done = run("captcha_strength.py", *args, *files, "--validation_count", 200, cwd=folder)
        assert done.returncode == 0, done.stderr
        (setting,) = json.loads((folder / "results.json").read_text())["settings"]
        found[name] = done.stdout, (folder / "report.html").read_text(encoding="utf-8"), setting
    return found


@pytest.mark.slow
def test_white_on_white_is_said_to_be_unreadable(extremes):
    stdout, page, setting = extremes["white"]
    assert "Not read, because even with 200 labels the network does no better than guessing" in stdout
    assert "Not read, because even with 200 labels the network does no better than guessing" in page
    assert {answer["words"] for answer in setting["curves"][0]["answers"]} == {"not reached with 200 labels"}
    assert {answer["labels"] for answer in setting["curves"][0]["answers"]} == {None}


@pytest.mark.slow
def test_a_plain_captcha_is_said_to_be_trivial(extremes):
    stdout, page, setting = extremes["plain"]
    assert "Trivial, because 90% accuracy takes " in stdout and "Trivial, because 90% accuracy takes " in page
    assert setting["curves"][0]["answers"][0]["words"] == "fewer than 50 labels"


@pytest.fixture
def own_images(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for i in range(50):
        text, image = draw(i, "own", SMALL)
        image.save(folder / f"{i}_{text}.png")
    return tmp_path


def test_own_images_are_measured_up_to_their_number(own_images):
    args = (*options(("warmup_steps",)), "--channels", 4, 8, "--batch_size", 16, "--max_steps", 4, "--seeds", 1)
    sizes = ("--starts", "nothing", "--sizes", 20, 40, 100, 3000)
    done = run("captcha_strength.py", "--source", "mine", *args, *sizes, "--json", "r.json", cwd=own_images)
    assert done.returncode == 0, done.stderr
    assert "left out: 100, 3,000 labels; there are 40 to train on, and 10 are held out" in done.stdout
    found = json.loads((own_images / "r.json").read_text())["measurements"]
    assert [(each["labels"], each["count"]) for each in found] == [(20, 10), (40, 10)]


@pytest.mark.parametrize("wrong, said", [
    (("--vary", "colour", "1"), "--vary colour: is not a drawing setting"),
    (("--source", "mine", "--vary", "length", "4"), "--vary draws captchas, but --source uses existing images"),
    (("--source", "mine", "--sizes", "41"), "there are only 40 labelled captchas to train on"),
    (("--sizes", "0"), "--sizes: a number of labels must be 1 or more"),
    (("--starts", "nowhere"), "init_from: nowhere is neither a folder"),
    (("--report", "no/report.html"), "--report no/report.html: there is no folder no"),
    (("--report", "."), "--report .: is a folder; name a file in it"),
    (("--json", "no/results.json"), "--json no/results.json: there is no folder no"),
    (("--human", "no.json"), "--human no.json: there is no such file"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused_in_one_line_before_anything_is_measured(own_images, wrong, said):
    done = run("captcha_strength.py", *wrong, cwd=own_images)
    assert (done.returncode, [said in line for line in errors(done.stderr)]) == (2, [True]), done.stderr
    assert not (own_images / "strength").exists()


# What people read


def captchas_to_type(folder):
    """The captchas that --human shows for the small grid: name → (the setting, the text)."""
    config = Config(**{name: getattr(SMALL, name) for name in CAPTCHA})
    pools = [drawn_pool(setting, 40, folder) for setting in grid(config, [["noise_dots", "0", "30"]])]
    return {
        f"{pool.looks}/{index}": (pool.name, draw(index, humans.SPLIT, pool.config)[0])
        for pool in pools
        for index in range(humans.SHOWN)
    }


def pressed(page, *keys):
    """Press keys, and wait for the next captcha, or for the end."""
    before = page.text_content("#file")
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_function("before => !done.hidden || file.textContent !== before", arg=before)


@browser_only
def test_what_a_person_types_survives_a_kill_and_stands_beside_what_the_network_reads(browser, undisturbed, tmp_path):
    """They read all without noise; with it they misread two and give up one, and then the server is killed."""
    shutil.copytree(undisturbed[0], tmp_path, dirs_exist_ok=True)
    captchas, port = captchas_to_type(tmp_path), free_port()
    misread = [["0", "0", "Enter"], ["3", "3", "Enter"], ["Escape"]]
    with serving("captcha_strength.py", *GRID, "--human", cwd=tmp_path, port=port) as (address, _):
        page, complaints = opened(browser, address, viewport={"width": 390, "height": 844})
        page.wait_for_function("() => file.textContent")
        page.screenshot(path=SCREENSHOTS / "human-390.png")
        while misread:
            assert page.input_value("#text") == page.inner_text("#certainty") == ""  # no prediction
            setting, text = captchas[page.text_content("#file")]
            wrong = setting == "noise_dots 30" and text not in ("00", "33")
            pressed(page, *(misread.pop() if wrong else [*text, "Enter"]))
        assert complaints == []
    typed = rows(tmp_path / "strength" / "human.csv")[1:]
    with serving("captcha_strength.py", *GRID, "--human", cwd=tmp_path, port=port) as (address, _):
        shown = post(f"{address}/open", tab="t", file="")[1]
        assert shown["progress"]["done"] == len(typed)
        while shown["file"]:
            name = shown["file"]
            shown = post(f"{address}/label", tab="t", file=name, text=captchas[name][1], seen="", sure="")[1]
    assert sorted(row[0] for row in rows(tmp_path / "strength" / "human.csv")[1:]) == sorted(captchas)
    done = run("captcha_strength.py", *GRID, "--json", "typed.json", "--report", "typed.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    read = [each["human"] for each in json.loads((tmp_path / "typed.json").read_text())["settings"]]
    assert [(human["correct"], human["shown"]) for human in read] == [(50, 50), (47, 50)]
    assert read[0]["correct_characters"] == read[0]["characters"] == 100
    assert "costs people least" in done.stdout
    assert "<td>47 of 50 (" in (tmp_path / "typed.html").read_text(encoding="utf-8")


def test_the_first_answer_counts_and_what_is_no_answer_is_refused(tmp_path):
    with serving("captcha_strength.py", *GRID, "--human", cwd=tmp_path) as (address, _):
        name = post(f"{address}/open", tab="t", file="")[1]["file"]
        about = {"tab": "t", "seen": "", "sure": ""}
        for file, text, why in ((name, " ", "press Esc"), (name, "1 2", "cannot be seen"), ("no", "1", "reload")):
            status, answer = post(f"{address}/label", **about, file=file, text=text)
            assert status == 400 and why in answer["error"]
        for text in ("0123", "3210"):
            assert post(f"{address}/label", **about, file=name, text=text)[0] == 200
        assert post(f"{address}/open", tab="t", file="")[1]["progress"]["done"] == 1
    assert [row[2] for row in rows(tmp_path / "strength" / "human.csv")] == ["typed", "0123"]


def test_own_images_are_typed_as_far_as_they_are_held_out(own_images):
    with serving("captcha_strength.py", "--source", "mine", "--human", cwd=own_images) as (address, _):
        assert post(f"{address}/open", tab="t", file="")[1]["progress"]["total"] == 10


# The report


def test_every_figure_of_the_report_is_text_and_that_of_json(undisturbed):
    folder, _ = undisturbed
    page, found = ((folder / name).read_text(encoding="utf-8") for name in ("report.html", "results.json"))
    found = json.loads(found)
    inside = re.search(r'<script type="application/json" id="strength">(.*?)</script>', page, re.S)[1]
    assert json.loads(inside) == found
    assert f'<p class="answer">{found["answer"]}</p>' in page
    figures = []
    for curve in itertools.chain(*(setting["curves"] for setting in found["settings"])):
        for point in curve["points"]:
            figures += [f"{point['accuracy']:.2%}", f"{point['low']:.2%} to {point['high']:.2%}"]
        figures += [answer["words"] for answer in curve["answers"]]
    figures += [words.percent(share) for setting in found["settings"] for share in setting["through"].values()]
    for figure in figures:
        assert f"<td>{figure}</td>" in page, figure
    assert "30 of 50" in page and "900 labels an hour" in page


def test_the_report_asks_the_network_for_nothing(undisturbed):
    page = (undisturbed[0] / "report.html").read_text(encoding="utf-8")
    loaded = re.findall(r"(?:src|href)\s*=\s*\"([^\"]{0,30})", page) + re.findall(r"url\(([^)]{0,30})", page)
    assert loaded and all(address.startswith(("data:", "#")) for address in loaded)


@browser_only
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1000])
def test_the_report_can_be_read_on_a_phone_and_in_the_dark(browser, undisturbed, scheme, width):
    how = {"viewport": {"width": width, "height": 844}, "color_scheme": scheme, "offline": True}
    page, complaints = opened(browser, (undisturbed[0] / "report.html").as_uri(), **how)
    headings = [heading.inner_text() for heading in page.query_selector_all("h2")]
    assert headings == [
        "Settings side by side", "Sessions that get through", "noise_dots 0", "noise_dots 30", "How it was measured",
    ]  # fmt: skip
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out
    assert page.evaluate("document.images.length") == 12
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    ink = page.evaluate("getComputedStyle(document.querySelector('svg text')).fill")
    assert ink == {"light": "rgb(0, 0, 0)", "dark": "rgb(255, 255, 255)"}[scheme]
    page.screenshot(path=SCREENSHOTS / f"strength-{scheme}-{width}.png", full_page=True)
    assert complaints == []
