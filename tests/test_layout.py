"""Where things are, and which way imports go: from the config up to the scripts, never back."""

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT

SCRIPTS = {
    "captcha_producer", "captcha_train", "captcha_evaluate", "captcha_export", "captcha_suspects", "captcha_strength",
    "captcha_label", "captcha_try",
}  # fmt: skip
LAYERS = [  # each may import what is above it; nothing imports its own neighbours
    {"captcha_predict"},
    {"captcha_config"},
    {"captcha_cli"},
    {"captcha_sets"},
    {"captcha_data", "captcha_model"},
    {"captcha_runs"},
    {"captcha_pages", "captcha_strengths"},
    SCRIPTS,
]
PACKAGES = {"captcha_predict", "captcha_sets", "captcha_runs", "captcha_pages", "captcha_strengths"}
ALSO_ALLOWED = {
    ("captcha_train", "captcha_export"),  # what was trained is exported
    ("captcha_suspects", "captcha_train"),  # it trains, too
    ("captcha_strength", "captcha_train"),  # so does it
}
LEVEL = {unit: level for level, units in enumerate(LAYERS) for unit in units}


def modules() -> dict[str, Path]:
    """The project's modules, by the names that they are imported by."""
    files = list(ROOT.glob("captcha_*.py")) + [path for unit in PACKAGES for path in (ROOT / unit).rglob("*.py")]
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files}
    return {name: path for path, name in sorted(names.items())}


MODULES = modules()


def imports(source: str, name: str) -> set[str]:
    """The project's modules that a module imports, wherever in it.

    Args:
      name: the module's own, for imports that are relative to it.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {_nearest(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(name.split(".")[: -node.level]) if node.level else ""
            base = ".".join(filter(None, (package, node.module)))
            found |= {_nearest(f"{base}.{alias.name}") for alias in node.names}
    return (found & MODULES.keys()) - {name}


def _nearest(name: str) -> str:
    """The module that a dotted name is, or is a name in."""
    return name if name in MODULES else name.rpartition(".")[0]


def unit(module: str) -> str:
    """The script, module or package at the top level that a module belongs to."""
    return module.partition(".")[0]


GRAPH = {name: imports(path.read_text(encoding="utf-8"), name) for name, path in MODULES.items()}


def test_the_graph_has_the_imports_of_functions_and_of_packages():
    """The test's own reading: without it, a test of what is not imported could pass on an empty graph."""
    source = "def f():\n    from captcha_runs import log\n    import captcha_sets.draw\nfrom . import shards\n"
    assert imports(source, "captcha_sets.pixels") == {"captcha_runs.log", "captcha_sets.draw", "captcha_sets.shards"}
    assert GRAPH["captcha_train"] >= {"captcha_data", "captcha_model", "captcha_runs.log", "captcha_config"}
    assert "captcha_runs.report" in GRAPH["captcha_evaluate"]


def test_every_module_has_its_place_in_the_layers():
    assert {unit(name) for name in MODULES} == LEVEL.keys()


@pytest.mark.parametrize("module", MODULES)
def test_it_imports_only_what_lies_below(module):
    ours = unit(module)
    theirs = {unit(name) for name in GRAPH[module]} - {ours}
    upwards = {other for other in theirs if LEVEL[other] >= LEVEL[ours] and (ours, other) not in ALSO_ALLOWED}
    assert not upwards


def test_no_module_imports_itself_through_others():
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_reading_needs_none_of_the_training_packages():
    """captcha_predict is installed alone, with numpy, Pillow, LiteRT and rich."""
    allowed = {"numpy", "PIL", "ai_edge_litert", "rich", "captcha_predict"} | set(sys.stdlib_module_names)
    for name in MODULES:
        if unit(name) == "captcha_predict":
            nodes = list(ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))))
            found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
            found |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
            assert {unit(each) for each in found} <= allowed, name


def test_the_scripts_and_folders_of_the_project_are_at_the_top_level():
    files = {path.name for path in ROOT.glob("captcha_*.py")}
    assert files == {f"{name}.py" for name in LEVEL if name not in PACKAGES}
    assert (ROOT / "captcha_predict" / "__main__.py").is_file()  # python -m captcha_predict
    for folder in ("images", "tfrecords", "save", "weights", "docs", "tests", "benchmarks", *PACKAGES):
        assert (ROOT / folder).is_dir(), folder
