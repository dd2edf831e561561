"""A model file from a stranger: what it says is checked before LiteRT runs it."""

import hashlib
import io
import json
import zipfile

from captcha_predict import DESCRIPTION, MODELS, Reader, UserError, _unpack

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema

DIGITS = MODELS / "digits.tflite"


@pytest.fixture(scope="module")
def digits():
    """The description and the network of the shipped digits."""
    return _unpack(DIGITS.read_bytes())


def graph(network: bytes) -> tuple[schema.ModelT, schema.SubGraphT]:
    model = schema.ModelT.InitFromPackedBuf(network, 0)
    return model, model.subgraphs[0]


def operator(network_graph: tuple, name: str) -> schema.OperatorT:
    """The first operator of that name."""
    model, subgraph = network_graph
    code = getattr(schema.BuiltinOperator, name)
    return next(each for each in subgraph.operators if model.operatorCodes[each.opcodeIndex].builtinCode == code)


def packed(model: schema.ModelT) -> bytes:
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def model_file(description: dict | str, network: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A model file whose checksum is right."""
    if isinstance(description, dict):
        digest = hashlib.sha256(network).hexdigest()
        description = json.dumps(description | {"bytes": len(network), "sha256": digest})
    content = io.BytesIO(network)
    with zipfile.ZipFile(content, "a", compression) as archive:
        archive.writestr(DESCRIPTION, description)
    return content.getvalue()


def refusal(content: bytes, folder) -> str:
    path = folder / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not a complete model") as error:
        Reader(path)
    return str(error.value)


def has_no_graph(found):
    found[0].subgraphs = None


def has_an_operator_without_inputs(found):
    operator(found, "EXP").inputs = None


def lacks_an_input(found):
    operator(found, "SQUARED_DIFFERENCE").inputs = [-1, 43]


def writes_to_the_image(found):
    operator(found, "BATCH_MATMUL").outputs = found[1].inputs


def has_a_huge_tensor(found):
    found[1].tensors[50].shape = [1, 8_388_640, 64, 1]


def has_a_huge_filter(found):
    operator(found, "MAX_POOL_2D").builtinOptions.filterWidth = 16_776_961


def has_a_loop(found):
    model, _ = found
    model.operatorCodes[operator(found, "EXP").opcodeIndex].builtinCode = schema.BuiltinOperator.WHILE


def takes_larger_images(found):
    found[1].tensors[found[1].inputs[0]].shape = [1, 64, 33_554_560, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (has_no_graph, "it has 0 graphs"),
        (has_an_operator_without_inputs, "an operator has no inputs or no outputs"),
        (lacks_an_input, "the inputs or outputs of an operator SQUARED_DIFFERENCE are wrong"),
        (writes_to_the_image, "the inputs or outputs of an operator BATCH_MATMUL are wrong"),
        (has_a_huge_tensor, "it has a tensor of shape [1, 8388640, 64, 1]"),
        (has_a_huge_filter, "an operator has a stride or a filter of 16776961 pixels"),
        (has_a_loop, "WHILE"),
        (takes_larger_images, "the size of its images is not the one described"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_graph_that_would_crash_litert_is_refused(change, message, digits, tmp_path):
    description, network = digits
    found = graph(network)
    change(found)
    assert message in refusal(model_file(description, packed(found[0])), tmp_path)


def test_the_graph_is_accepted_where_nothing_is_changed(digits, tmp_path):
    description, network = digits
    (tmp_path / "model.tflite").write_bytes(model_file(description, packed(graph(network)[0])))
    assert Reader(tmp_path / "model.tflite").length == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"characters": 7}, "'characters' is not of type str"),
        ({"characters": "0000000000"}, "its characters or lengths make no sense"),
        ({"characters": "012345678\x1b"}, "its characters or lengths make no sense"),
        ({"min_length": 9}, "its characters or lengths make no sense"),
        ({"length": 2**70}, "'length' is not of type int"),
        ({"config": {}}, "'config' has no 'channels'"),
        ({"drawn_with": None}, "'drawn_with' is not a dict"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(values, message, digits, tmp_path):
    description, network = digits
    assert message in refusal(model_file(description | values, network), tmp_path)


def test_a_config_that_lacks_the_size_is_refused(digits, tmp_path):
    description, network = digits
    config = {name: value for name, value in description["config"].items() if name != "height"}
    assert "its config is another captcha's" in refusal(model_file(description | {"config": config}, network), tmp_path)


def test_a_compressed_description_is_refused_since_it_could_be_of_any_size(digits, tmp_path):
    description, network = digits
    assert "is compressed" in refusal(model_file(description, network, zipfile.ZIP_DEFLATED), tmp_path)


def test_a_description_that_is_nested_too_deeply_is_refused(digits, tmp_path):
    assert "recursion" in refusal(model_file("[" * 100_000, digits[1]), tmp_path)
