"""float64 references and the proven bound |ŷ − y| ≤ γ(n + 2)·(Σ|w||x| + |b|), γ(m) = m·u / (1 − m·u), u = 2⁻²⁴."""

import numpy as np


def gamma(m):
    u = 2.0**-24
    return m * u / (1 - m * u)


def assert_linear_within_bound(y, x, w, bias=None):
    """y against x · wᵀ + bias for x (n, K), w dense with zeros (M, K)."""
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    b = np.zeros(len(w)) if bias is None else np.asarray(bias, np.float64)
    exact = x @ w.T + b
    terms = np.count_nonzero(w, axis=1)
    bound = gamma(terms + 2) * (np.abs(x) @ np.abs(w).T + np.abs(b))
    assert np.asarray(y).shape == exact.shape
    assert np.all(np.abs(np.asarray(y, np.float64) - exact) <= bound + 1e-40)


def sparse_weights(rng, shape, sparsity):
    w = rng.standard_normal(shape).astype(np.float32)
    w[rng.random(shape) < sparsity] = 0
    return w


def integers(rng, shape, largest, without_zero=False):
    values = rng.integers(1, largest + 1, shape) * rng.choice([-1, 1], shape)
    if not without_zero:
        values = values * (rng.random(shape) < 0.9)
    return values.astype(np.float32)


def assert_says_something(y):
    """A comparison of zeros proves nothing."""
    assert np.count_nonzero(np.asarray(y)) >= 0.1 * np.asarray(y).size
