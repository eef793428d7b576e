"""Many faces of one track or one folder become one template."""

import numpy as np
from numpy.typing import NDArray


def pool_templates(
    vectors_ND: NDArray[np.float32], template_N: NDArray[np.int64], weight_N: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """The weighted mean direction of each template's faces.

    Args:
        vectors_ND: (N, D) unit vectors.
        template_N: (N,) from 0; every number up to the largest occurs.
        weight_N: (N,) such as qualities, not negative; equal without it.

    Returns:
        (T, D) unit vectors; a template whose weights are all 0 counts its faces equally.
    """
    weight_N = np.ones(len(vectors_ND), np.float32) if weight_N is None else weight_N
    totals = np.bincount(template_N, weight_N)
    weight_N = np.where(totals[template_N] > 0, weight_N, 1.0)
    sums = np.zeros((len(totals), vectors_ND.shape[1]), np.float64)
    np.add.at(sums, template_N, vectors_ND * weight_N[:, None])
    pooled: NDArray[np.float32] = (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
    return pooled
