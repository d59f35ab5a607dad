"""Lengths and unit vectors that are safe for zero vectors, and the check that maps come in pairs."""

import numpy as np
import pytest
import torch

from gendistill.errors import SettingError
from gendistill.objectives import activation_boundaries, attention_transfer, factor_transfer, fitnets, nst
from gendistill.objectives.matching import check_maps, lengths, unit
from tests.objective_formulas import draw


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_lengths_and_unit_vectors_along_each_dimension(dim):
    (x,) = draw((3, 4, 5))
    norms = np.linalg.norm(x, axis=dim, keepdims=True)
    np.testing.assert_allclose(lengths(torch.tensor(x), dim), norms, rtol=1e-14)
    np.testing.assert_allclose(unit(torch.tensor(x), dim), x / norms, rtol=1e-14)


def test_gradients_are_those_of_the_formula():
    x = torch.tensor(draw((2, 3))[0], requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: lengths(x, 1), x)
    assert torch.autograd.gradcheck(lambda x: unit(x, 1), x)


@pytest.mark.parametrize("function", [lengths, unit])
@pytest.mark.parametrize("value", [0.0, 1e-30])
def test_vectors_of_no_length_are_zero_with_gradient_zero(function, value):
    x = torch.tensor([[value, value], [3.0, 4.0]], requires_grad=True)
    found = function(x, 1)
    found.sum().backward()
    assert torch.equal(found[0], torch.zeros_like(found[0]))
    assert torch.equal(x.grad[0], torch.zeros(2))
    assert x.grad[1].abs().sum() > 0


@pytest.mark.parametrize("function", [lengths, unit])
def test_what_is_not_finite_stays_seen(function):
    # Training that diverges must be noticed, not hidden as zeros.
    assert function(torch.tensor([[float("nan"), 1.0]]), 1).isnan().any()


@pytest.mark.parametrize(
    ("own", "other", "said"),
    [
        ([(3, 4, 4), (5, 2, 2)], [(3, 4, 4)], "[(4, 4), (2, 2)]"),
        ([(3, 4, 4)], [(3, 4, 2)], "(4, 2)"),
        ([(64,)], [(64,)], "[()]"),
        ([], [], "at least one map"),
    ],
)
def test_maps_that_are_no_pairs_are_refused(own, other, said):
    with pytest.raises(SettingError, match=r"objective\.taps.*FitNets needs") as error:
        check_maps("FitNets", own, other)
    assert said in str(error.value)


@pytest.mark.parametrize("module", [activation_boundaries, attention_transfer, factor_transfer, fitnets, nst])
def test_methods_check_resolutions_but_not_channels(module):
    module.check([(3, 4, 4), (6, 2, 2)], [(8, 4, 4), (9, 2, 2)])
    with pytest.raises(SettingError, match="resolutions"):
        module.check([(3, 4, 4)], [(3, 2, 2)])


@pytest.mark.parametrize(
    ("module", "settings"), [(activation_boundaries, {}), (factor_transfer, {"rate": 0.5}), (fitnets, {"relu": True})]
)
def test_what_is_trained_beside_the_student_is_built_for_pairs_only(module, settings):
    with pytest.raises(SettingError, match="resolutions"):
        module.parts([(3, 4, 4)], [(3, 2, 2)], **settings)
