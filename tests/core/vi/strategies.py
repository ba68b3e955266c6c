"""Arrays that the properties of the numerics are tried on."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

# Rows of log-probs as long completions have them, B x K.
log_values = arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 6)),
    elements=st.floats(-5000, 0),
)


def distributions(num_rows: int, num_values: int) -> st.SearchStrategy[np.ndarray]:
    """Rows of positive probabilities that sum to one."""
    masses = arrays(np.float64, (num_rows, num_values), elements=st.floats(0.01, 1.0))
    return masses.map(lambda mass: mass / mass.sum(axis=-1, keepdims=True))
