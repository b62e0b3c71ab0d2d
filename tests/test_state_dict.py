"""State dicts: what they hold, and how they are loaded, strictly or not."""

import numpy as np
import pytest
from networks import network, torch

import nanoconv as nc
from nanoconv import nn


def test_state_dict_is_a_read_only_view():
    layer = nn.Linear(2, 3)
    state = layer.state_dict()
    with pytest.raises(ValueError, match="read-only"):
        state["bias"][0] = 1
    with nc.no_grad():
        layer.bias.fill_(4)
    assert state["bias"].tolist() == [4, 4, 4]
    assert not layer.bias._storage.escaped
    state["bias"].shape = (3, 1)
    assert layer.bias.shape == (3,)


def test_state_dict_round_trip_with_pytorch():
    ours, theirs = network(nn), network(torch.nn)
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    for name, value in theirs.state_dict().items():
        assert ours.state_dict()[name].tolist() == value.tolist(), name
    ours = network(nn)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    for name, value in theirs.state_dict().items():
        assert ours.state_dict()[name].tolist() == value.tolist(), name


def test_load_state_dict_copies_in_place():
    layer = nn.Linear(2, 1)
    weight, given = layer.weight, np.array([[1, 2]], np.float32)
    layer.load_state_dict({"weight": given, "bias": nc.tensor([3.0])})
    given[:] = 0
    assert layer.weight is weight
    assert weight.tolist() == [[1, 2]]
    assert layer.bias.tolist() == [3]
    assert weight.requires_grad
    assert not weight._storage.escaped


def test_load_state_dict_reports_everything_and_changes_nothing():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    state = {name: array.copy() for name, array in net.state_dict().items()}
    state["0.bias"] += 1
    state["0.weight"] = np.zeros((3, 1), np.float32)
    state["1.weight"] = state["1.weight"].astype(np.float64)
    state["1.running_mean"] = "text"
    state["extra"] = state.pop("1.bias")
    before = net.state_dict()["0.bias"].copy()
    for strict in (True, False):
        with pytest.raises(ValueError, match="the state dict does not fit Sequential") as caught:
            net.load_state_dict(state, strict=strict)
        lines = str(caught.value).split("\n")[1:]
        assert ("  1.bias: missing" in lines) == strict
        assert ("  extra: unexpected" in lines) == strict
        assert "  0.weight: shape (3, 1), expected (3, 2)" in lines
        assert "  1.weight: dtype float64, expected float32" in lines
        assert any(line.startswith("  1.running_mean: ") for line in lines)
        assert (net.state_dict()["0.bias"] == before).all()
    with pytest.raises(TypeError, match="must be a dict"):
        net.load_state_dict([1])


def test_load_state_dict_that_is_not_strict():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    result = net.load_state_dict({"0.bias": np.ones(3, np.float32), "x": 1}, strict=False)
    assert result.missing_keys == ["0.weight"]
    assert result.unexpected_keys == ["x"]
    assert net[0].bias.tolist() == [1, 1, 1]


def test_old_checkpoints_lack_num_batches_tracked():
    net = nn.Sequential(nn.BatchNorm2d(2))
    net[0].num_batches_tracked.fill_(5)
    state = {k: v for k, v in net.state_dict().items() if "num_batches" not in k}
    assert net.load_state_dict(state) == ([], [])
    assert net[0].num_batches_tracked.item() == 5
    fresh = nn.BatchNorm2d(2, track_running_stats=False)
    with pytest.raises(ValueError, match="running_mean: unexpected"):
        fresh.load_state_dict(net[0].state_dict())
