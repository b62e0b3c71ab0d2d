"""`Session.explain`: every step once, with numbers that follow from its shape; and in words."""

import json
import re

import numpy as np
import pytest

import nanoconv as nc
from nanoconv import nn
from nanoconv.infer import explain, hints
from nanoconv.infer.steps import kernels_missing, machine

needs_kernels = pytest.mark.skipif(bool(kernels_missing()), reason="needs compiled kernels")


@pytest.fixture(autouse=True)
def _one_thread():
    before = nc.get_num_threads()
    nc.set_num_threads(1)
    yield
    nc.set_num_threads(before)


def net() -> nn.Module:
    """A kernel of each kind that is told of in words."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.Conv2d(32, 32, 3, padding=1, groups=32),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 20, 1),
        nn.GlobalAvgPool2d(),
        nn.Flatten(),
        nn.Linear(20, 50),
    ).eval()


@needs_kernels
def test_numbers_follow_from_the_shapes() -> None:
    session = nc.compile(net(), (1, 3, 32, 32))
    found = session.explain(0.01)
    lines = {line.kernel: line for line in found.lines}
    assert [line.name for line in found.lines][1:4] == ["0", "2", "3"]
    P = 32 * 32
    assert lines["depthwise"].flops == 2 * 32 * P * 9
    assert lines["depthwise"].bytes == 4 * (2 * 32 * P + 32 * 9)
    assert lines["linear"].flops == 2 * 20 * 50
    assert lines["linear"].bytes == 4 * (20 + 50 + 20 * 50)
    assert lines["linear"].shape == "50 × 1 × 1"
    assert lines["max_pool"].flops == 0
    assert lines["max_pool"].bound in ("cache", "memory")
    assert "winograd" in {line.kernel[:8] for line in found.lines}
    assert found.milliseconds == pytest.approx(sum(s.microseconds for s in found.lines) / 1e3)
    for line in found.lines:
        assert line.microseconds > 0
        assert line.gbytes == pytest.approx(line.bytes / line.microseconds / 1e3)
        assert line.share > 0
    limits = found.limits
    assert limits.threads == 1
    assert min(limits.peak, limits.memory, limits.cache) > 0


@needs_kernels
def test_outputs_of_steps_lie_in_the_arena() -> None:
    session = nc.compile(net(), (1, 3, 32, 32))
    (plan,) = (segment.plan for segment in session.segments)
    *lines, last = session.explain(0.01).lines
    assert last.offset is None  # it writes the result
    for line, step in zip(lines, plan.steps, strict=False):
        assert line.offset == 4 * step.y.place[2]
        assert 0 <= line.offset < 4 * plan.arena
        halo = step.y.halo[0] * step.y.row + step.y.halo[2] * step.y.pitch
        assert (line.offset // 4 - halo) % 16 == 0  # where its buffer begins
    assert len({line.offset for line in lines}) > 2


def test_of_a_batch_steps_are_timed_for_one_image_or_for_all() -> None:
    model, shape = nn.Conv2d(3, 4, 3).eval(), (3, 3, 8, 8)
    alone = nc.compile(model, shape).explain(0.01)
    assert "Steps of one image" in str(alone)
    assert "A batch of 3 goes" in str(alone)
    together = nc.compile(lambda x: model(x) - x.mean(), shape).explain(0.01)
    assert "Steps of 3 images" in str(together)
    assert "A batch of" not in str(together)


@needs_kernels
def test_it_prints_and_is_json() -> None:
    found = nc.compile(net(), (1, 3, 32, 32)).explain(0.01)
    heading, *rows = found.rows()
    assert len({len(row) for row in (heading, *rows)}) == 1
    assert len(rows) == len(found.lines)
    text = str(found)
    assert text.splitlines()[0].split()[:4] == ["step", "op", "kernel", "output"]
    assert "GB/s from memory" in text
    read = json.loads(json.dumps(found.as_dict()))
    assert [step["name"] for step in read["steps"]] == [line.name for line in found.lines]


@needs_kernels
def test_multiply_adds_of_winograd_are_those_that_it_does() -> None:
    session = nc.compile(nn.Sequential(nn.Conv2d(64, 64, 3, padding=1)).eval(), (1, 64, 28, 28))
    (draft,) = (d for d in session.segments[0].plan.drafts if d.kernel.startswith("winograd"))
    m = int(draft.kernel[-1])
    products = (28 // m) ** 2 * (m + 2) ** 2 * 64 * 64
    assert draft.macs * explain.saved(draft) == pytest.approx(products)
    assert explain.weight_floats(draft) == (m + 2) ** 2 * 64 * 64


@needs_kernels
@pytest.mark.parametrize(
    ("model", "shape", "kernel", "words"),
    [
        (nn.Conv2d(64, 13, 1), (1, 64, 32, 32), "conv", "13 channels fill"),
        (nn.Conv2d(16, 64, 1), (1, 16, 32, 32), "conv", "sums of 16 terms are short"),
        (nn.Conv2d(256, 256, 1), (1, 256, 7, 7), "conv", "each weight serves 49 pixels"),
        (nn.Conv2d(64, 64, 3, padding=1), (1, 64, 30, 30), "winograd", "its transforms write"),
        (nn.Conv2d(64, 64, 3, groups=64), (1, 64, 30, 30), "depthwise", "for each number|moves"),
        (nn.MaxPool2d(2), (1, 64, 30, 30), "max_pool", "it moves numbers"),
        (
            nn.Sequential(nn.Conv2d(16, 96, 1), nn.Conv2d(96, 96, 3, groups=96, padding=1)),
            (1, 16, 64, 64),
            "band",
            r"depthwise 3×3 to 96 × 64 × 64 \(36%\).*skip=\('bands',\)",
        ),
    ],
)
def test_words_for_each_kind_of_kernel(model, shape, kernel, words) -> None:
    """As if the step had taken long, and reached a hundredth of its limit."""
    plan = nc.compile(model.eval(), shape).segments[0].plan
    (n,) = (k for k, draft in enumerate(plan.drafts) if draft.kernel.startswith(kernel))
    limits = explain.Limits(1, 1e6, 1e5, 1e6)
    found = explain.line(plan.drafts[n], plan.steps[n], 1e6, limits)
    assert found.share < 0.01
    assert re.search(words, found.hint), found.hint


@needs_kernels
def test_steps_at_their_limit_need_no_words_and_short_ones_few() -> None:
    plan = nc.compile(nn.Conv2d(16, 64, 1).eval(), (1, 16, 32, 32)).segments[0].plan
    (n,) = (k for k, draft in enumerate(plan.drafts) if draft.kernel == "conv")
    slow = explain.Limits(1, 1e-3, 1e-3, 1e-3)
    assert explain.line(plan.drafts[n], plan.steps[n], 1e3, slow).hint == ""
    fast = explain.Limits(2, 1e9, 1e9, 1e9)
    hint = explain.line(plan.drafts[n], plan.steps[n], hints.SHORT / 2, fast).hint
    assert hint.startswith("so short that starting it and waiting for the other threads")


# --------------------------------------------------------------------------- eager nodes


class Turned(nn.Module):
    """Between two convolutions, nodes that no kernel computes."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3), nn.Conv2d(6, 4, 1)

    def forward(self, x):
        y = self.one(x)  # (N, 8, 6, 6)
        return self.two(y.permute(0, 2, 1, 3).reshape(y.shape[0], 6, 4, 12))


@needs_kernels
def test_eager_nodes_between_programs_are_named_and_take_any_batch() -> None:
    model = Turned().eval()
    session = nc.compile(model, (1, 3, 8, 8), dynamic_batch=True)
    assert [segment.plan is None for segment in session.segments] == [False, True, True, False]
    x = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    each = np.concatenate([session(x[n : n + 1]) for n in range(3)])
    assert np.array_equal(session(x), each)
    found = session.explain(0.01)
    eager = [line for line in found.lines if line.kernel == "eager"]
    assert [line.op for line in eager] == ["permute", "reshape"]
    assert all(line.hint.startswith("run as eager does: ") for line in eager)


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no plan could be run."""
    for module in ("session", "steps", "explain"):
        monkeypatch.setattr(
            f"nanoconv.infer.{module}.kernels_missing", lambda: "no compiled kernels: a test"
        )


@pytest.mark.usefixtures("without_kernels")
def test_without_kernels_a_session_is_eager_and_says_so(tmp_path) -> None:
    model = net()
    session = nc.compile(model, (1, 3, 32, 32), dynamic_batch=True)
    x = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    graph = session.graph
    expected = np.concatenate([graph.run(x[n : n + 1]) for n in range(2)])
    assert np.array_equal(session(x), expected)
    assert list(session.trace(x[:1]))[-1] == graph.nodes[-1].name
    found = session.explain(0.01)
    assert {line.kernel for line in found.lines} == {"eager"}
    assert sum(line.flops for line in found.lines) == 2 * nc.summary(model, (1, 3, 32, 32)).macs
    assert "no compiled kernels: a test" in str(found)
    assert machine().lanes == 0
    session.save(tmp_path / "eager.safetensors")
    assert np.array_equal(nc.Session.load(tmp_path / "eager.safetensors")(x), expected)


@needs_kernels
def test_files_cross_between_machines_with_and_without_kernels(tmp_path, request) -> None:
    model, path = net(), tmp_path / "net.safetensors"
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    compiled = nc.compile(model, x.shape)
    compiled.save(path)
    request.getfixturevalue("without_kernels")
    eager = nc.Session.load(path)
    assert all(segment.plan is None for segment in eager.segments)
    eager.save(path)
    monkeypatch = request.getfixturevalue("monkeypatch")
    monkeypatch.undo()
    again = nc.Session.load(path)
    assert np.array_equal(again(x), compiled(x))
    np.testing.assert_allclose(eager(x), compiled(x), rtol=1e-4, atol=1e-5)
