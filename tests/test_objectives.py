"""Each objective against its formula in NumPy float64, its gradient against finite differences, and the claims of the papers."""

import importlib

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar

from gendistill.errors import SettingError
from gendistill.objectives.cwtm import sample_weights
from gendistill.objectives.top_score_difference import eta_of

SHAPES = [(1, 5), (4, 6), (7, 13), (3, 100)]


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def cross_entropy(z, y, t):
    return np.mean([-np.log(p[k]) for p, k in zip(softmax(z), y, strict=True)])


def label_smoothing(z, y, t, smoothing):
    target = (1 - smoothing) * np.eye(z.shape[1])[y] + smoothing / z.shape[1]
    return -np.sum(target * np.log(softmax(z))) / len(z)


def confidence_penalty(z, y, t, beta):
    p = softmax(z)
    entropy = -np.sum(p * np.log(p), axis=1)
    return np.mean(-np.log(p[np.arange(len(y)), y]) - beta * entropy)


def top_score_difference(z, y, t, u, top_k):
    ratio = u * top_k / (top_k - 1)  # eta / (1 - eta)
    eta = ratio / (1 + ratio)
    total = 0.0
    for p, k in zip(softmax(z), y, strict=True):
        ranked = sorted(p, reverse=True)
        total += -eta * np.log(p[k]) + (1 - eta) * (ranked[0] - sum(ranked[1:top_k]) / (top_k - 1))
    return total / len(z)


def ban(z, y, t, temperature, temperature_squared):
    p, q = softmax(t / temperature), softmax(z / temperature)
    total = sum(-p_k * np.log(q_k) for p_k, q_k in zip(p.ravel(), q.ravel(), strict=True))
    return total * (temperature * temperature if temperature_squared else 1) / len(z)


def ban_label(z, y, t, lambda_, **settings):
    return lambda_ * cross_entropy(z, y, t) + (1 - lambda_) * ban(z, y, t, **settings)


def ban_label_sum(z, y, t, **settings):
    return cross_entropy(z, y, t) + ban(z, y, t, **settings)


def tolerant(z, y, t, lambda_, lambda_weighs, temperature, temperature_squared):
    p, q = softmax(t / temperature), softmax(z / temperature)
    divergence = np.mean(np.sum(p * np.log(p / q), axis=1)) * (temperature**2 if temperature_squared else 1)
    label, teacher = (lambda_, 1 - lambda_) if lambda_weighs == "label" else (1 - lambda_, lambda_)
    return label * cross_entropy(z, y, t) + teacher * divergence


def cwtm(z, y, t):
    confidence = [max(p) for p in softmax(t)]
    return sum(-np.log(q[k]) * w for q, k, w in zip(softmax(z), y, confidence, strict=True)) / sum(confidence)


def kd(z, y, t, alpha, alpha_weighs, **settings):
    label, teacher = {"label": (alpha, 1 - alpha), "teacher": (1 - alpha, alpha)}[alpha_weighs]
    return label * cross_entropy(z, y, t) + teacher * ban(z, y, t, **settings)


def l2_logits(z, y, t, lambda_, over_classes):
    count = len(z) * {"sum": 1, "mean": z.shape[1]}[over_classes]
    return lambda_ * cross_entropy(z, y, t) + (1 - lambda_) * np.linalg.norm(z - t) ** 2 / (2 * count)


def softened(temperature, squared=True):
    return {"temperature": temperature, "temperature_squared": squared}


CASES = [
    (cross_entropy, {}),
    *[(label_smoothing, {"smoothing": s}) for s in (0.0, 0.1, 0.5)],
    *[(confidence_penalty, {"beta": b}) for b in (0.0, 0.1, 2.0)],
    *[(top_score_difference, {"u": u, "top_k": k}) for u, k in ((0.6, 5), (0.8, 5), (1.0, 5), (0.5, 2), (0.7, 3))],
    *[(ban, softened(t)) for t in (0.5, 1.0, 3.0)],
    (ban, softened(3.0, squared=False)),
    *[(ban_label, {"lambda_": w, **softened(t)}) for w, t in ((0.0, 1.0), (0.5, 1.0), (0.3, 4.0), (1.0, 2.0))],
    (ban_label, {"lambda_": 0.3, **softened(4.0, squared=False)}),
    *[(ban_label_sum, softened(t, squared)) for t, squared in ((1.0, True), (3.0, True), (3.0, False))],
    *[
        (tolerant, {"lambda_": w, "lambda_weighs": side, **softened(t)})
        for w, t in ((0.6, 1.0), (0.5, 1.0), (0.2, 3.0), (1.0, 0.5))
        for side in ("label", "teacher")
    ],
    (tolerant, {"lambda_": 0.2, "lambda_weighs": "label", **softened(3.0, squared=False)}),
    (cwtm, {}),
    *[(kd, {"alpha": a, "alpha_weighs": side, **softened(4.0)}) for a in (0.9, 0.0) for side in ("label", "teacher")],
    (kd, {"alpha": 0.9, "alpha_weighs": "teacher", **softened(20.0, squared=False)}),
    *[(l2_logits, {"lambda_": w, "over_classes": over}) for w in (0.0, 0.3) for over in ("sum", "mean")],
]
TEACHER_OUTPUTS_ONLY = [(ban, softened(2.0)), (l2_logits, {"lambda_": 0.0, "over_classes": "mean"})]
FROM_LABELS = [case for case in CASES if case[0] in (cross_entropy, label_smoothing, confidence_penalty, top_score_difference)]


def loss_of(name):
    return importlib.import_module(f"gendistill.objectives.{name}").loss


def draw(shape, seed=0):
    """Logits, labels and teacher's logits of a batch."""
    generator = np.random.default_rng([seed, *shape])
    return 3 * generator.standard_normal(shape), generator.integers(shape[1], size=shape[0]), 3 * generator.standard_normal(shape)


def value_of(name, z, y, t, **settings):
    return loss_of(name)(torch.tensor(z), torch.tensor(y), torch.tensor(t), **settings).item()


def gradient(name, z, y, t, **settings):
    logits = torch.tensor(z, requires_grad=True)
    loss_of(name)(logits, torch.tensor(y), torch.tensor(t), **settings).backward()
    return logits.grad.numpy()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("formula", "settings"), CASES)
def test_value_is_that_of_the_formula(formula, settings, shape):
    z, y, t = draw(shape)
    assert value_of(formula.__name__, z, y, t, **settings) == pytest.approx(formula(z, y, t, **settings), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize(("formula", "settings"), CASES)
def test_float32_logits_give_a_float32_scalar(formula, settings):
    z, y, t = draw((7, 13))
    loss = loss_of(formula.__name__)(torch.tensor(z).float(), torch.tensor(y), torch.tensor(t).float(), **settings)
    assert (loss.dtype, loss.shape) == (torch.float32, ())
    assert loss.item() == pytest.approx(formula(z, y, t, **settings), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("shape", [(1, 5), (4, 6)])
@pytest.mark.parametrize(("formula", "settings"), CASES)
def test_gradient_is_that_of_the_formula(formula, settings, shape):
    z, y, t = draw(shape, seed=1)
    step = 1e-5
    expected = np.empty(shape)
    for i in np.ndindex(shape):
        nudge = np.zeros(shape)
        nudge[i] = step
        expected[i] = (formula(z + nudge, y, t, **settings) - formula(z - nudge, y, t, **settings)) / (2 * step)
    np.testing.assert_allclose(gradient(formula.__name__, z, y, t, **settings), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("formula", "settings"), CASES)
def test_the_order_of_the_batch_does_not_matter(formula, settings):
    z, y, t = draw((7, 13))
    order = [3, 1, 6, 0, 5, 2, 4]
    value = value_of(formula.__name__, z[order], y[order], t[order], **settings)
    assert value == pytest.approx(value_of(formula.__name__, z, y, t, **settings), rel=1e-12)


@pytest.mark.parametrize(("formula", "settings"), [case for case in CASES if case not in FROM_LABELS])
def test_the_teacher_gets_no_gradient(formula, settings):
    z, y, t = (torch.tensor(part) for part in draw((4, 6)))
    loss = loss_of(formula.__name__)(z.requires_grad_(), y, t.requires_grad_(), **settings)
    loss.backward()
    assert z.grad.abs().sum() > 0
    assert t.grad is None


@pytest.mark.parametrize(("formula", "settings"), FROM_LABELS)
def test_an_objective_from_labels_ignores_the_teacher(formula, settings):
    z, y, t = (torch.tensor(part) for part in draw((7, 13)))
    loss = loss_of(formula.__name__)
    assert loss(z, y, None, **settings) == loss(z, y, t, **settings) == loss(z, y, **settings)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_of_ban_is_the_difference_of_the_outputs(shape):
    z, y, t = draw(shape)
    np.testing.assert_allclose(gradient("ban", z, y, t, **softened(1.0)), (softmax(z) - softmax(t)) / len(z), atol=1e-12)


@pytest.mark.parametrize(("formula", "settings"), TEACHER_OUTPUTS_ONLY)
def test_what_learns_from_the_outputs_only_does_not_use_the_labels(formula, settings):
    z, y, t = draw((7, 13))
    name = formula.__name__
    assert np.array_equal(gradient(name, z, y, t, **settings), gradient(name, z, (y + 1) % 13, t, **settings))


@pytest.mark.parametrize("shape", SHAPES)
def test_tolerant_and_ban_label_with_equal_weights_have_one_gradient(shape):
    z, y, t = draw(shape)
    born_again = gradient("ban_label", z, y, t, lambda_=0.5, **softened(1.0))
    np.testing.assert_allclose(
        gradient("tolerant", z, y, t, lambda_=0.5, lambda_weighs="label", **softened(1.0)), born_again, atol=1e-12
    )


def test_a_student_that_equals_its_teacher_has_no_divergence():
    _, y, t = draw((7, 13))
    settings = {"lambda_": 0.0, "lambda_weighs": "label", **softened(2.0)}
    assert loss_of("tolerant")(torch.tensor(t), torch.tensor(y), torch.tensor(t), **settings).item() == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(gradient("tolerant", t, y, t, **settings), 0, atol=1e-12)


def test_tolerant_is_ban_label_less_the_entropy_of_the_teacher():
    z, y, t = draw((7, 13))
    p = softmax(t)
    entropy = -np.sum(p * np.log(p)) / len(p)
    tolerant_value = value_of("tolerant", z, y, t, lambda_=0.6, lambda_weighs="label", **softened(1.0))
    assert tolerant_value == pytest.approx(value_of("ban_label", z, y, t, lambda_=0.6, **softened(1.0)) - 0.4 * entropy, rel=1e-12)


@pytest.mark.parametrize(("side", "alpha"), [("label", 1.0), ("teacher", 0.0)])
def test_all_weight_on_the_labels_leaves_cross_entropy(side, alpha):
    z, y, t = draw((7, 13))
    assert value_of("kd", z, y, t, alpha=alpha, alpha_weighs=side, **softened(4.0)) == value_of("cross_entropy", z, y, t)


def test_at_a_high_temperature_kd_regresses_the_centred_logits():
    """Hinton et al., 2015, section 2.1: with T^2, the gradient tends to that of l2_logits with the mean over classes."""
    z, y, t = draw((7, 13))
    z, t = (part - part.mean(axis=1, keepdims=True) for part in (z, t))
    soft = gradient("kd", z, y, t, alpha=1.0, alpha_weighs="teacher", **softened(1e6))
    np.testing.assert_allclose(soft, (z - t) / (7 * 13), atol=1e-6)
    for over_classes, count in (("sum", 7), ("mean", 7 * 13)):
        found = gradient("l2_logits", z, y, t, lambda_=0.0, over_classes=over_classes)
        np.testing.assert_allclose(found, (z - t) / count, atol=1e-12)
    unscaled = gradient("kd", z, y, t, alpha=1.0, alpha_weighs="teacher", **softened(1e6, squared=False))
    np.testing.assert_allclose(unscaled * 1e12, soft, atol=1e-9)


def test_weights_of_cwtm_sum_to_one_and_follow_the_confidence():
    teacher = torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.4, 0.3, 0.3], [0.01, 0.95, 0.04]], dtype=torch.float64))
    weights = sample_weights(teacher)
    assert weights.sum().item() == pytest.approx(1, rel=1e-14)
    np.testing.assert_allclose(weights, np.array([0.5, 0.8, 0.4, 0.95]) / 2.65, rtol=1e-12)


def test_cwtm_with_an_equally_confident_teacher_is_cross_entropy():
    z, y, t = draw((7, 13))
    t = np.stack([np.roll(t[0], i) for i in range(7)])
    assert value_of("cwtm", z, y, t) == pytest.approx(value_of("cross_entropy", z, y, t), rel=1e-12)


@pytest.mark.parametrize(("formula", "settings"), CASES)
def test_extreme_logits_give_finite_losses_and_gradients(formula, settings):
    z, y, t = (torch.tensor(part) for part in draw((4, 6)))
    z, t = 200 * z.float(), 200 * t.float()
    loss = loss_of(formula.__name__)(z.requires_grad_(), y, t, **settings)
    loss.backward()
    assert loss.isfinite()
    assert z.grad.isfinite().all()


@pytest.mark.parametrize(("u", "eta"), [(0.6, 3 / 7), (0.7, 7 / 15), (0.8, 1 / 2), (0.9, 9 / 17), (1.0, 5 / 9)])
def test_eta_is_that_of_the_paper(u, eta):
    assert eta_of(u, 5) == pytest.approx(eta, rel=1e-14)


def score_loss(scores, u):
    """The top score difference (K = 5) of one sample of class 0 with these probabilities."""
    logits = torch.tensor(np.log(np.maximum(scores, 1e-300)))[None]
    return loss_of("top_score_difference")(logits, torch.tensor([0]), u=u, top_k=5).item()


def spread(top, classes):
    """Probability `top` for class 0, the rest even on the next four, none on the others."""
    return np.array([top, *[(1 - top) / 4] * 4, *[0.0] * (classes - 5)])


@pytest.mark.parametrize("u", [0.6, 0.7, 0.8, 0.9])
def test_top_score_of_the_minimiser_is_u(u):
    found = minimize_scalar(
        lambda top: score_loss(spread(top, 10), u), bounds=(0.21, 1 - 1e-9), method="bounded", options={"xatol": 1e-9}
    )
    assert found.x == pytest.approx(u, abs=1e-4)
    start = np.array([0.4, 0.2, 0.17, 0.13, 0.1])
    simplex = [{"type": "eq", "fun": lambda p: p.sum() - 1}]
    found = minimize(score_loss, start, (u,), method="SLSQP", bounds=[(1e-6, 1)] * 5, constraints=simplex, options={"ftol": 1e-12})
    assert found.success
    assert found.x[0] == pytest.approx(u, abs=1e-3)


@pytest.mark.parametrize("u", [0.6, 0.9])
def test_no_other_scores_are_better_than_the_minimiser(u):
    best = score_loss(spread(u, 8), u)
    generator = np.random.default_rng(0)
    others = np.concatenate([generator.dirichlet(np.full(8, a), size=300) for a in (0.1, 0.3, 1.0)])
    assert min(score_loss(p, u) for p in others) > best
    assert min(score_loss(0.99 * spread(u, 8) + 0.01 * p, u) for p in others) > best - 1e-12


@pytest.mark.parametrize(("u", "top_k", "classes", "named"), [(0.19, 5, 10, "objective.u"), (0.6, 6, 5, "objective.top_k")])
def test_impossible_top_scores_are_refused(u, top_k, classes, named):
    with pytest.raises(SettingError, match=named):
        loss_of("top_score_difference")(torch.zeros(2, classes), torch.tensor([0, 1]), u=u, top_k=top_k)


@pytest.mark.parametrize(("u", "top_k", "classes"), [(0.2, 5, 10), (0.6, 5, 5)])
def test_extreme_top_scores_are_allowed(u, top_k, classes):
    assert loss_of("top_score_difference")(torch.zeros(2, classes), torch.tensor([0, 1]), u=u, top_k=top_k).isfinite()
