"""The tool that writes docs/ops.md finds layers and ladders that a file does not name itself."""

import importlib.util
from pathlib import Path

import pytest

from nanoconv import ops

SPEC = importlib.util.spec_from_file_location(
    "ops_page", Path(__file__).parents[1] / "tools" / "ops_page.py"
)
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)


@pytest.mark.parametrize(
    ("function", "layers"),
    [
        ("dropout2d", {"Dropout2d"}),
        ("alpha_dropout", {"AlphaDropout"}),
        ("conv2d", {"Conv2d", "DepthwiseConv2d", "StdConv2d"}),
        ("layer_norm", {"LayerNorm", "LayerNorm2d"}),
        ("weight_standardization", {"StdConv2d"}),
        ("relu", {"ReLU"}),
        ("mse_loss", {"MSELoss"}),
    ],
)
def test_layers_that_call_a_function_anywhere(function, layers):
    assert set(tool.layers_calling(function)) == layers


@pytest.mark.parametrize(
    ("lesson", "others"),
    [
        ("smooth_activations", {"activations"}),
        ("conv1d", {"conv2d"}),
        ("conv_transpose2d", {"conv2d"}),
        ("learnable_pool2d", {"depthwise_conv2d"}),
        ("groupnorm", {"batchnorm"}),
        ("weight_standardization", {"layernorm"}),
        ("conv2d", set()),
        ("softmax", set()),
    ],
)
def test_ladders_of_other_lessons(lesson, others):
    module = tool.lessons()[lesson]
    assert module.__name__.startswith(ops.__name__)
    assert set(tool.lent_ladders(module)) >= others
    assert lesson not in tool.lent_ladders(module)
