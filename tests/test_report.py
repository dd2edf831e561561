"""The report, and TensorBoard's page, in a real browser where there is one."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import captcha_evaluate
from captcha_config import Config
from captcha_predict import MODELS
from captcha_runs import log, scores, transfer

import pytest
from conftest import SCREENSHOTS, SMALL, browser_only, in_folder, opened, run

SECTIONS = [
    "By position and by character", "Confusions", "Calibration: can the confidence be trusted?",
    "What to leave to a person", "Training", "Misread, the most certain first",
    "Read correctly, the least certain first", "Config and versions",
]  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """(the page, what --json printed beside it) of the digits that ship, from a folder of a name wider than a phone."""
    folder = tmp_path_factory.mktemp("report")
    model = folder / ("digits" * 20)
    model.mkdir()
    shutil.copy(MODELS / "digits.tflite", model / "model.tflite")
    shutil.copy(transfer.WEIGHTS / "digits" / log.LINES, model)
    args = ("--model", model, "--fresh", 400, "--report", "report.html", "--json")
    done = run("captcha_evaluate.py", *args, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "report.html", json.loads(done.stdout)


def test_its_figures_are_those_of_json(report):
    page, scored = report
    text = page.read_text(encoding="utf-8")
    inside = re.search(r'<script type="application/json" id="score">(.*?)</script>', text, re.S)[1]
    assert json.loads(inside) == scored
    low, high = scored["interval"]
    cells = [f"{scored['captcha_accuracy']:.2%}", f"{low:.2%} to {high:.2%}", f"{scored['character_accuracy']:.2%}",
             scored["count"], f"{scored['calibration_error']:.2%}"]  # fmt: skip
    cells += [f"{share:.2%}" for share in [*scored["by_position"], *scored["by_character"].values()]]
    cells += [cell for line in scored["confusions"] for cell in line]
    cells += [f"{line['threshold']:.4f}" for line in scored["thresholds"]]
    cells += [f"{line['confidence']:.4f}" for line in scored["calibration"]]
    evaluated = [entry for entry in log.read(Path(scored["model"]).parent) if "captcha_accuracy" in entry]
    cells += [f"{entry['loss']:.4f}" for entry in evaluated]
    for cell in cells:
        assert f"<td>{cell}</td>" in text, cell


def test_the_scores_agree_with_each_other(report):
    _, scored = report
    assert sum(scored["by_position"]) / 4 == pytest.approx(scored["character_accuracy"])
    wrong = round((1 - scored["character_accuracy"]) * 400 * 4)
    assert sum(times for _, _, times in scored["confusions"]) == wrong
    assert sum(part["count"] for part in scored["calibration"]) == 400


def test_it_is_one_file_that_asks_the_network_for_nothing(report):
    text = report[0].read_text(encoding="utf-8")
    loaded = re.findall(r"(?:src|href)\s*=\s*\"([^\"]{0,30})", text) + re.findall(r"url\(([^)]{0,30})", text)
    assert loaded and all(address.startswith(("data:", "#")) for address in loaded)
    assert "@import" not in text
    assert report[0].stat().st_size < 3e6


def test_all_of_it_is_there(report):
    text = report[0].read_text(encoding="utf-8")
    assert [heading for heading in SECTIONS if heading not in text] == []
    assert text.count("<svg") == 3
    assert "By length" not in text  # all have the same
    assert "viewport" in text and "light dark" in text
    assert text.count("<figure>") >= 20


def training_rows(folder, model):
    """The rows of the table of the training, in the report of a model that reads a few captchas."""
    results = captcha_evaluate.predict(Config(save_dir=str(folder)), fresh=5, model=model)
    captcha_evaluate.write_report(folder / "report.html", captcha_evaluate.score(results), results)
    text = (folder / "report.html").read_text(encoding="utf-8")
    return len(re.findall("<tr>", text.partition("<h2>Training</h2>")[2].partition("<h2>")[0]))


def test_the_training_is_that_of_the_model_that_was_scored(tmp_path, monkeypatch):
    """Also where a folder of one's own has the name of a shipped model."""
    evaluated = [entry for entry in log.read(transfer.WEIGHTS / "digits") if "captcha_accuracy" in entry]
    assert training_rows(tmp_path, "digits") == 1 + len(evaluated) > 1
    (tmp_path / "digits").mkdir()
    shutil.copy(MODELS / "letters.tflite", tmp_path / "digits" / "model.tflite")
    monkeypatch.chdir(tmp_path)
    assert training_rows(tmp_path, "digits") == 0


def test_a_folder_that_does_not_exist_is_refused_before_anything_is_scored(tmp_path):
    done = run("captcha_evaluate.py", "--model", "digits", "--fresh", 400, "--report", "no/report.html", cwd=tmp_path)
    assert done.stderr.splitlines() == [
        "captcha_evaluate.py: error: --report no/report.html: there is no folder no; create it, or name another file"
    ]
    assert (done.returncode, done.stdout) == (2, "")


def test_the_report_of_a_checkpoint_shows_where_it_looked(trained):
    results = captcha_evaluate.predict(in_folder(trained))
    entries = [entry for captchas in scores.gallery(results).values() for entry in captchas]
    for entry in entries:
        assert entry["weights"].shape[0] == SMALL.length
        assert entry["weights"].sum(axis=-1) == pytest.approx(1, abs=1e-3)
    captcha_evaluate.write_report(trained / "report.html", captcha_evaluate.score(results), results)
    assert (trained / "report.html").read_text(encoding="utf-8").count('alt="where the network looked"') == len(entries)


@browser_only
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1000])
def test_the_report_can_be_read_on_a_phone_and_in_the_dark(browser, report, scheme, width):
    how = {"viewport": {"width": width, "height": 844}, "color_scheme": scheme, "offline": True}
    page, complaints = opened(browser, report[0].as_uri(), **how)
    headings = [heading.inner_text() for heading in page.query_selector_all("h2")]
    assert len(headings) == len(SECTIONS)
    assert all(heading.startswith(said) for heading, said in zip(headings, SECTIONS, strict=True))
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    ink = page.evaluate("getComputedStyle(document.querySelector('svg text')).fill")
    assert ink == {"light": "rgb(0, 0, 0)", "dark": "rgb(255, 255, 255)"}[scheme]
    page.screenshot(path=SCREENSHOTS / f"report-{scheme}-{width}.png", full_page=True)
    assert complaints == []


@browser_only
@pytest.mark.slow
def test_tensorboard_shows_the_curves_of_a_real_run(browser, trained):
    words = [sys.executable, "-m", "tensorboard.main", "--logdir", "save", "--port", "0", "--host", "127.0.0.1"]
    server = subprocess.Popen(words, cwd=trained, stderr=subprocess.PIPE, text=True)
    try:
        address = next(found[0] for line in server.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+/", line)))
        page, complaints = opened(browser, f"{address}#timeseries", viewport={"width": 1400, "height": 1600})
        for name in ("captcha_accuracy", "character_accuracy", "gradient_norm", "images_per_second", "loss", "misread"):
            page.get_by_text(name, exact=True).first.wait_for(timeout=60_000)
        page.screenshot(path=SCREENSHOTS / "tensorboard.png")
        page.goto(f"{address}#text")
        page.get_by_text("config", exact=False).first.wait_for(timeout=60_000)
        assert complaints == []
    finally:
        server.terminate()
        server.wait()
