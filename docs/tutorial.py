"""Run docs/tutorial.ipynb, and keep it with its outputs, without details of this machine.

    python docs/tutorial.py

Needs requirements-dev.txt.
"""

import copy
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from captcha_cli import UserError, run
from captcha_sets.files import write_text

import nbclient
import nbformat
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

NOTEBOOK = Path(__file__).parent / "tutorial.ipynb"
PARAMETERS = "parameters"  # the tag of the cell with the numbers, as in papermill
TIMEOUT = 600  # seconds for a cell
FORMAT = 4  # of the notebook's file
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def read(path: Path = NOTEBOOK) -> NotebookNode:
    return nbformat.read(path, FORMAT)


def execute(notebook: NotebookNode, folder: Path, **parameters: Any) -> NotebookNode:
    """Run all cells of a notebook in a new process.

    Args:
      folder: the current folder of that process.
      parameters: name → value, set after the cell that is tagged PARAMETERS.
    Returns:
      A copy of the notebook, with outputs.
    Raises:
      RuntimeError: a cell fails. The message names it, and has its source and traceback.
    """
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if PARAMETERS in cell.metadata.get("tags", ()):
            cell.source += "".join(f"\n{name} = {value!r}" for name, value in parameters.items())
    client = nbclient.NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        coalesce_streams=True,
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # it warns that it listens on this machine
    )
    try:
        return client.execute()
    except CellExecutionError as error:
        raise RuntimeError(f"{_failed(notebook)} fails\n{error}") from error


def _failed(notebook: NotebookNode) -> str:
    """The cell that raised, by its number and the heading above it."""
    failed = [any(output.output_type == "error" for output in cell.get("outputs", ())) for cell in notebook.cells]
    number = failed.index(True)
    headings = [cell.source for cell in notebook.cells[:number] if cell.source.startswith("#")]
    return f"cell {number + 1}, below {headings[-1].splitlines()[0]!r}," if headings else f"cell {number + 1}"


def keep(notebook: NotebookNode) -> None:
    """Remove what is not to be kept: standard error, where progress and warnings are, and second forms of pictures."""
    notebook.metadata = NotebookNode(METADATA)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                output.get("data", {}).pop("image/jpeg", None)


def machine_details(notebook: NotebookNode) -> list[str]:
    """The names and paths of this machine that are in the notebook's text."""
    text = nbformat.writes(_without_pictures(notebook))
    paths = {str(path) for path in (Path.home(), NOTEBOOK.parent.parent, tempfile.gettempdir(), sys.prefix)}
    details = {*paths, platform.node()} - {"", "/"}
    return sorted(detail for detail in details if detail in text)


def _without_pictures(notebook: NotebookNode) -> NotebookNode:
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop("image/png", None)
    return notebook


def main() -> None:
    notebook = execute(read(), NOTEBOOK.parent)
    keep(notebook)
    if found := machine_details(notebook):
        raise UserError(f"{NOTEBOOK}: is as it was; its outputs would show {', '.join(found)}; correct the cell")
    write_text(NOTEBOOK, nbformat.writes(notebook) + "\n")


if __name__ == "__main__":
    run(main)
