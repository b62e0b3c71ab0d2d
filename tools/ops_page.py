"""Write docs/ops.md from the ops themselves: `python tools/ops_page.py`; `--check` only compares.

Equations, shapes, cost and papers are the docstrings of the lesson files; the rungs are their
ladders; what differs from PyTorch is what the docstring of a function says after "Unlike PyTorch".
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import nanoconv as nc  # noqa: E402
from nanoconv import nn, ops  # noqa: E402
from nanoconv.dispatch import Kernel, Ladder, Op, always  # noqa: E402

PAGE = ROOT / "docs" / "ops.md"
TOOLS = ("checks", "geometry")  # what the lessons share; no op is defined there
GROUPS = {
    "Weighted sums": (
        "linear", "conv2d", "winograd", "depthwise_conv2d", "conv1d", "conv_transpose2d", "im2col",
        "unfold", "einsum",
    ),
    "Pooling": (
        "pool2d", "adaptive_pool2d", "pool1d", "lp_pool2d", "learnable_pool2d",
        "spatial_pyramid_pool2d", "max_unpool2d",
    ),
    "Normalisation": (
        "batchnorm", "groupnorm", "layernorm", "local_response_norm", "weight_standardization",
    ),
    "Activations": ("activations", "smooth_activations", "prelu", "rrelu", "glu", "softmax"),
    "Regularisation": ("dropout",),
    "Losses": ("losses", "distances", "cosine", "focal_loss", "dice_loss"),
    "Moving numbers": ("channel_shuffle", "pixel_shuffle", "interpolate", "pad"),
    "Fused, for compiled inference": ("fused",),
    "Elementary": (
        "arithmetic", "reductions", "cumulative", "shaping", "rearranging", "indexing", "sorting",
        "creation",
    ),
}  # fmt: skip
ELSEWHERE = {  # functions of torch.nn.functional without a counterpart here
    "volumes": (
        "adaptive_avg_pool3d", "adaptive_max_pool3d", "avg_pool3d", "conv3d", "conv_transpose3d",
        "fractional_max_pool3d", "lp_pool3d", "max_pool3d", "max_unpool3d",
    ),
    "text and attention": (
        "embedding", "embedding_bag", "ctc_loss", "multi_head_attention_forward",
        "scaled_dot_product_attention", "grouped_mm", "scaled_grouped_mm", "scaled_mm",
        "linear_cross_entropy",
    ),
    "losses of rankings, margins and distributions": (
        "gaussian_nll_loss", "hinge_embedding_loss", "margin_ranking_loss", "multi_margin_loss",
        "multilabel_margin_loss", "multilabel_soft_margin_loss", "poisson_nll_loss",
        "soft_margin_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss",
        "pairwise_distance", "pdist",
    ),
    "rare": (
        "affine_grid", "grid_sample", "bilinear", "conv_tbc", "fractional_max_pool2d",
        "gumbel_softmax",
    ),
    "deprecated, or an alias (use interpolate; channel_shuffle)": (
        "upsample", "upsample_bilinear", "upsample_nearest", "native_channel_shuffle",
    ),
}  # fmt: skip

EVERYWHERE = (  # unlike PyTorch in more than one function
    "float32 and float64 only, where PyTorch also takes integers or half precision: `linear`, the"
    " convolutions, pooling, normalisation, activations, losses.",
    "No deprecated `size_average` and `reduce`: in losses, what follows them in PyTorch's order is"
    " given by name.",
    "An `eps` that is negative or NaN is refused.",
    "Tensors of different dtypes do not meet in one op; nothing is promoted silently.",
)


# --------------------------------------------------------------------------- what there is


def lessons() -> dict[str, ModuleType]:
    """Name → module of `nanoconv.ops`, in the order of the page."""
    order = [name for names in GROUPS.values() for name in names]
    there = [info.name for info in pkgutil.iter_modules(ops.__path__) if info.name not in TOOLS]
    if unsorted := set(there) ^ set(order):
        sys.exit(f"ops_page: GROUPS must have exactly the files of nanoconv/ops: {unsorted}")
    return {name: importlib.import_module(f"nanoconv.ops.{name}") for name in order}


def functions_of(module: ModuleType) -> dict[str, Callable]:
    """The public functions that a lesson defines, in its order."""
    found = {
        name: value
        for public in (nc, nc.functional)
        for name in public.__all__
        if inspect.isfunction(value := getattr(public, name))
        and value.__module__ == module.__name__
    }
    return dict(sorted(found.items(), key=lambda item: item[1].__code__.co_firstlineno))


def ladders_of(module: ModuleType) -> list[Ladder]:
    """The ladders that a lesson defines; those that it imports belong to another."""
    values = [v if isinstance(v, dict) else {"": v} for v in vars(module).values()]
    found = {
        ladder.name: ladder
        for value in values
        for ladder in value.values()
        if isinstance(ladder, Ladder) and inspect.getmodule(ladder.call) is module
    }
    return list(found.values())


def lent_ladders(module: ModuleType) -> list[str]:
    """The other lessons whose ladders the functions of this one reach."""
    found: dict[str, None] = {}
    todo: list = list(functions_of(module).values())
    seen: set[int] = set()
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Ladder):
            found[value.call.__module__.rpartition(".")[2]] = None
        elif isinstance(value, Op):
            todo += vars(value).values()
        elif isinstance(value, dict):
            todo += value.values()
        elif isinstance(value, (list, tuple)):
            todo += value
        elif inspect.isfunction(value) and value.__module__.startswith("nanoconv.ops."):
            todo += (value.__globals__[name] for name in names_in(value.__code__, value))
            todo += (cell.cell_contents for cell in value.__closure__ or ())
    own = module.__name__.rpartition(".")[2]
    return sorted(name for name in found if name != own)


def names_in(code: CodeType, function: FunctionType) -> set[str]:
    """The names of its module that a function reads, also in the functions inside of it."""
    inside = [const for const in code.co_consts if isinstance(const, CodeType)]
    names = {name for name in code.co_names if name in function.__globals__}
    return names.union(*(names_in(const, function) for const in inside))


def forward_source(cls: type) -> str:
    """The source of a layer's forward and of the methods that it calls on self or super()."""
    source, todo, seen = "", ["forward"], set()
    while todo:
        seen.add(name := todo.pop())
        owners = [base for base in cls.__mro__ if inspect.isfunction(vars(base).get(name))]
        for owner in owners:
            text = inspect.getsource(vars(owner)[name])
            source += text
            todo += set(re.findall(r"\b(?:self|super\(\))\.(\w+)\(", text)) - seen
            if f"super().{name}(" not in text:
                break
    return source


def layers_calling(name: str) -> list[str]:
    """The layers whose forward calls the function of this name, or has it as its `_function`."""
    return [
        layer
        for layer in nn.__all__
        if inspect.isclass(cls := getattr(nn, layer))
        and "forward" in dir(cls)
        and (
            re.search(rf"\bF\.{name}\(", forward_source(cls))
            or getattr(cls, "_function", None) is getattr(nc.functional, name, ...)
        )
    ]


# --------------------------------------------------------------------------- Markdown


def first_sentence(function: Callable) -> str:
    paragraph = (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")
    return re.split(r"(?<=[.;:])\s", paragraph)[0].rstrip(".;:") + "."


def unlike_pytorch(function: Callable) -> list[str]:
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    starts = [p.replace("\n", " ") for p in paragraphs if p.startswith("Unlike PyTorch")]
    return [re.sub(r"^Unlike PyTorch('s)?[:,]? ", "", p) for p in starts]


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def body(module: ModuleType) -> Iterator[str]:
    """A docstring without its example: paragraphs as they are, indented blocks as code."""
    text = inspect.cleandoc(module.__doc__ or "").split("\n>>>")[0]
    _, _, text = text.partition("\n")
    blocks = [block for block in re.split(r"\n\s*\n", text.strip("\n")) if block.strip()]
    if blocks and blocks[-1].endswith(":"):  # it announces the example
        blocks[-1] = re.sub(r"\s*[^.]*:$", "", blocks[-1])
    for block in blocks:
        code = block.startswith("    ")
        yield "```text\n" + textwrap.dedent(block) + "\n```" if code else block


def condition(kernel: Kernel) -> str:
    """When a rung is taken, in a few words."""
    said = [] if kernel.when is always else [f"if {kernel.when.__name__}"]
    if kernel.auto is False or kernel.body == "jit":
        said.append("by name only")
    elif callable(kernel.auto):
        said.append(f"by itself only for {kernel.auto.__name__}")
    return f"`{kernel.name}`" + (f" ({', '.join(said)})" if said else "")


def section(name: str, module: ModuleType) -> Iterator[str]:
    title = inspect.cleandoc(module.__doc__ or "").partition("\n")[0]
    yield f"### {name}"
    yield f"[nanoconv/ops/{name}.py](../nanoconv/ops/{name}.py): {title}"
    yield from body(module)
    if functions := functions_of(module):
        layers = {function: ", ".join(layers_calling(function)) for function in functions}
        named = any(layers.values())
        rows = ["| function | |" + " layer |" * named, "|---|---|" + "---|" * named]
        for function_name, function in functions.items():
            row = f"| `{function_name}{signature(function)}` | {cell(first_sentence(function))} |"
            rows.append(row + f" {layers[function_name]} |" * named)
        yield "\n".join(rows)
    if ladders := ladders_of(module):
        rows = ["| computation | rungs, fastest first |", "|---|---|"]
        for ladder in ladders:
            rungs = [condition(kernel) for kernel in ladder.kernels]
            rungs += [f"`{rung}`" for rung in ladder.rungs[len(rungs) :]]
            rows.append(f"| {ladder.name} | {', '.join(rungs)} |")
        yield "\n".join(rows)
    if lent := lent_ladders(module):
        yield f"Ladders of others that it runs on: {', '.join(f'[{k}](#{k})' for k in lent)}."


def signature(function: Callable) -> str:
    """Names and defaults only: the types are in the file."""
    parameters = inspect.signature(function).parameters.values()
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    text = str(inspect.Signature(plain))
    return cell(re.sub(r"<class 'numpy\.(\w+)'>", r"\1", text))


def page() -> str:
    parts = [
        "# Ops",
        "Every function of nanoconv, from the docstrings and ladders of the files that define them."
        " Written by `python tools/ops_page.py`; CI checks that it is up to date."
        " The letters are those of [conventions.md](conventions.md#letters).",
        "Where nothing is said of cost, an op reads and writes each number once."
        " `numpy` is the reference and always there; a rung in brackets with *by name only* is for"
        " study and runs if `nc.use()` names it. All other functions have the reference alone.",
    ]
    there = lessons()
    contents = []
    for title, names in GROUPS.items():
        links = ", ".join(f"[{name}](#{name})" for name in names)
        contents.append(f"- {title}: {links}")
    parts.append("\n".join(contents))
    for title, names in GROUPS.items():
        parts.append(f"## {title}")
        for name in names:
            parts += section(name, there[name])
    parts.append("## Unlike PyTorch")
    parts.append(
        "Names, order and defaults of arguments, results, gradients and errors are PyTorch's"
        " (`tests/test_arguments.py` compares all combinations of arguments), but:"
    )
    parts.append("\n".join(f"- {text}" for text in EVERYWHERE))
    rows = ["| function | what is different |", "|---|---|"]
    for module in there.values():
        for name, function in functions_of(module).items():
            rows += [f"| `{name}` | {cell(text)} |" for text in unlike_pytorch(function)]
    parts.append("\n".join(rows))
    rows = ["| not here | functions of torch.nn.functional |", "|---|---|"]
    rows += [f"| {why} | {', '.join(names)} |" for why, names in ELSEWHERE.items()]
    parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"


def main() -> int:
    text = page()
    if sys.argv[1:] == ["--check"]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
            print(f"{PAGE.relative_to(ROOT)} is out of date: python tools/ops_page.py")
            return 1
        return 0
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
