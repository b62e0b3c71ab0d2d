"""Who may import whom: a module imports from its own row of this table or from rows above it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "nanoconv"

# Groups within one row may not import each other; the modules of one group may.
ROWS: list[list[set[str]]] = [
    [{"config", "_kernels"}],
    [{"dispatch"}],
    [{"tape", "tensor"}],
    [{"ops", "functional", "gradcheck", "methods"}],
    [{"nn"}, {"graph"}],
    [{"models", "optim", "data", "metrics", "io", "plots"}],
    [{"train"}, {"compress"}, {"io.onnx_export", "io.onnx_import", "onnx"}, {"infer"}],
    [{"demo"}, {"classify", "evaluate"}],
    [{""}],  # nanoconv/__init__.py
    [{"cli", "__main__"}],
]
PLACE = {
    name: (row, column)
    for row, groups in enumerate(ROWS)
    for column, group in enumerate(groups)
    for name in group
}


def place(module: str) -> tuple[int, int]:
    """(row, column) of a module such as "ops.conv2d": that of its longest prefix in the table."""
    name = module
    while name and name not in PLACE:
        name = name.rpartition(".")[0]
    if not name and module:
        raise LookupError(f"nanoconv.{module} has no row in tests/test_layers.py")
    return PLACE[name]


def imports(module: str, is_package: bool, source: str, modules: set[str]) -> set[str]:
    """The modules of nanoconv that `source` imports anywhere, inside functions too.

    What `if TYPE_CHECKING:` imports is for type checkers: no code runs because of it.
    """
    here = ["nanoconv", *filter(None, module.split("."))]
    found = set()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = here[: len(here) + is_package - node.level] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            head, _, inner = name.partition(".")
            if head == "nanoconv":
                while inner and inner not in modules:  # an attribute, not a module
                    inner = inner.rpartition(".")[0]
                found.add(inner)
    return found


def violations(sources: dict[str, str], packages: set[str]) -> list[str]:
    modules = {"", *sources, *packages}
    found = []
    for module, source in sources.items():
        row, column = place(module)
        for other in sorted(imports(module, module in packages, source, modules)):
            their_row, their_column = place(other)
            if their_row > row or (their_row == row and their_column != column):
                found.append(f"{module or '__init__'} imports {other or 'nanoconv'}")
    return found


def test_no_module_imports_a_higher_one() -> None:
    sources, packages = {}, set[str]()
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        module = ".".join(part for part in parts if part != "__init__")
        sources[module] = path.read_text(encoding="utf-8")
        packages.add(module if parts[-1] == "__init__" else module.rpartition(".")[0])
    assert len(sources) > 5
    assert violations(sources, packages) == []


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("tensor", "from .ops import conv2d", "tensor imports ops.conv2d"),
        ("tensor", "from nanoconv.ops.conv2d import CONV2D", "tensor imports ops.conv2d"),
        ("ops.conv2d", "def f():\n    from ..nn import layers", "ops.conv2d imports nn.layers"),
        ("nn", "from ..graph import ir", "nn imports graph.ir"),
        ("nn.layers", "import nanoconv.graph.ir as ir", "nn.layers imports graph.ir"),
        ("config", "import nanoconv as nc", "config imports nanoconv"),
        ("config", "from nanoconv import Tensor", "config imports nanoconv"),
    ],
)
def test_a_violation_is_found(module: str, source: str, expected: str) -> None:
    names = ["", "config", "tensor", "ops", "ops.conv2d", "nn", "nn.layers", "graph", "graph.ir"]
    found = violations({**dict.fromkeys(names, ""), module: source}, {"", "ops", "nn", "graph"})
    assert found == [expected]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ops.conv2d", "from . import geometry\nfrom ..tensor import Tensor\nimport numpy.random"),
        ("cli", "import nanoconv as nc"),
        ("tensor", "if TYPE_CHECKING:\n    from .ops import geometry"),
        ("nn.layers", "from .. import functional as F\nfrom .module import Module"),
    ],
)
def test_lower_and_equal_rows_are_allowed(module: str, source: str) -> None:
    names = ["", "tensor", "functional", "ops", "ops.geometry", "nn", "nn.module"]
    assert violations({**dict.fromkeys(names, ""), module: source}, {"", "ops", "nn"}) == []


def test_every_module_has_a_row() -> None:
    with pytest.raises(LookupError, match="newcomer has no row"):
        violations({"newcomer": ""}, set())
