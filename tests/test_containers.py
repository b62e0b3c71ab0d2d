"""Containers: lists of modules, and modules that run one after the other. The oracle is PyTorch."""

from collections import OrderedDict

import pytest
from networks import LIBRARIES, Affine

from nanoconv import nn


@pytest.mark.parametrize("lib", LIBRARIES)
def test_containers_are_lists(lib):
    a, b, c, d = lib.ReLU(), lib.Identity(), lib.Tanh(), lib.Sigmoid()
    for container in (lib.ModuleList([a, b]), lib.Sequential(a, b)):
        container.append(c)
        container.extend([d])
        container.insert(1, d)
        assert list(container) == [a, d, b, c, d]
        assert len(container) == 5
        assert container[-2] is c
        assert list(container[1:3]) == [d, b]
        assert type(container[1:3]) is type(container)
        container[0] = b
        del container[3]
        assert list(container) == [b, d, b, d]
        del container[:2]
        assert [name for name, _ in container.named_children()] == ["0", "1"]
        with pytest.raises(IndexError):
            container[2]


@pytest.mark.parametrize("lib", LIBRARIES)
def test_containers_are_joined_and_taken_apart(lib):
    a, b, c, d = lib.ReLU(), lib.Identity(), lib.Tanh(), lib.Sigmoid()
    both = lib.Sequential(a, b) + lib.Sequential(c)
    assert type(both) is lib.Sequential
    assert list(both) == [a, b, c]
    same = both
    both += lib.Sequential(d)
    assert both is same
    assert list(both) == [a, b, c, d]
    assert both.pop(1) is b
    assert both.pop(-1) is d
    assert [name for name, _ in both.named_children()] == ["0", "1"]
    with pytest.raises((TypeError, ValueError), match="Sequential"):
        both + [d]  # noqa: RUF005 (the error is what is asked for)
    longer = lib.ModuleList([a]) + [b, c]  # noqa: RUF005
    assert type(longer) is lib.ModuleList
    assert list(longer) == [a, b, c]
    longer += [d]
    assert longer.pop(0) is a
    assert list(longer) == [b, c, d]
    with pytest.raises(IndexError):
        longer.pop(7)


@pytest.mark.parametrize("lib", LIBRARIES)
def test_sequential_of_names(lib):
    net = lib.Sequential(OrderedDict(first=lib.Identity(), last=lib.ReLU()))
    assert net.last is net[1]
    assert [name for name, _ in net[1:].named_children()] == ["last"]


def test_sequential_runs_in_order():
    assert nn.Sequential(Affine(2, 0), Affine(1, 3))(5) == 13
    assert nn.Sequential()(5) == 5
    with pytest.raises(NotImplementedError, match="ModuleList has no forward"):
        nn.ModuleList([Affine(1, 1)])(5)
