"""docs/tutorial.ipynb: it runs from its first cell to its last, and is kept as a reader should see it."""

import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "docs"))

import nbformat
import tutorial

SMALL = {"train_count": 100, "validation_count": 40, "max_steps": 3, "eval_every": 2}
MAX_SIZE = 700_000  # bytes


@pytest.fixture(scope="module")
def kept():
    return tutorial.read()


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.slow
def test_every_cell_runs_on_small_numbers_and_the_checkout_stays_as_it_is(kept):
    folders = [ROOT / name for name in ("docs", "images", "tfrecords", "save")]
    before = {path for folder in folders for path in folder.iterdir()}
    done = tutorial.execute(kept, ROOT / "docs", **SMALL)
    assert all(cell.execution_count for cell in code_cells(done))
    (counts,) = [cell for cell in done.cells if "produce(split" in cell.source]
    assert "train: 100 captchas" in "".join(output.text for output in counts.outputs if output.get("name") == "stdout")
    assert {path for folder in folders for path in folder.iterdir()} <= before


def test_a_cell_that_fails_is_named():
    heading, cell = nbformat.v4.new_markdown_cell("## Train"), nbformat.v4.new_code_cell("1 / 0")
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1"), heading, cell])
    with pytest.raises(RuntimeError, match=r"cell 3, below '## Train', fails\n(.|\n)*ZeroDivisionError"):
        tutorial.execute(broken, ROOT)


def test_without_the_project_the_first_cell_says_what_to_do(kept, tmp_path):
    alone = nbformat.v4.new_notebook(cells=code_cells(kept)[:1])
    with pytest.raises(RuntimeError, match="The project is not here: get it as described above"):
        tutorial.execute(alone, tmp_path)


def test_it_is_kept_with_its_pictures_and_without_warnings_or_details_of_a_machine(kept):
    outputs = [output for cell in code_cells(kept) for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 9
    assert all(cell.execution_count for cell in code_cells(kept))
    assert {output.output_type for output in outputs} == {"stream", "display_data", "execute_result"}
    assert all(output.get("name", "stdout") == "stdout" and "\r" not in output.get("text", "") for output in outputs)
    assert tutorial.machine_details(kept) == []
    assert tutorial.NOTEBOOK.stat().st_size < MAX_SIZE


def test_details_of_this_machine_would_be_found():
    printed = nbformat.v4.new_output("stream", text=f"saved in {ROOT}/save\n")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[printed])])
    assert str(ROOT) in tutorial.machine_details(notebook)
