"""Protection: templates are kept turned by a secret rotation, so that a stolen gallery compares with no other one.

A rotation keeps every cosine, so nothing is lost in matching; without its key a turned template is a random direction;
with a new key every template is turned anew and no face is needed.

Source: ISO/IEC 24745:2022 (irreversibility, unlinkability, renewability of protected templates); Mezzadri 2007, "How
to generate random matrices from the classical compact groups" (QR of a Gaussian matrix, signs of R's diagonal moved).
"""

import hashlib

import numpy as np
from numpy.typing import NDArray


def make_rotation(secret: bytes, *, space: str, dimension: int) -> NDArray[np.float64]:
    """The rotation a secret stands for, another one in every embedding space.

    The random numbers come from SHAKE-256, whose output is a standard, and not from a library's generator, whose
    stream may change with its version: a template must be read years later.

    Args:
        secret: 32 bytes.
        space: The embedding space.
        dimension: D.

    Returns:
        (D, D) orthogonal, distributed uniformly (Haar) over secrets; row i of `vectors @ result.T` is protected.
    """
    seed = b"whodid rotation\0" + secret + space.encode()
    count = dimension * dimension
    words = np.frombuffer(hashlib.shake_256(seed).digest(16 * count), "<u8") >> np.uint64(11)
    uniform = (words.astype(np.float64) + 0.5) / 2**53  # open at both ends: no logarithm of 0
    radius, angle_rad = np.sqrt(-2 * np.log(uniform[:count])), 2 * np.pi * uniform[count:]
    q_DD, r_DD = np.linalg.qr((radius * np.cos(angle_rad)).reshape(dimension, dimension))
    rotation: NDArray[np.float64] = q_DD * np.sign(np.diagonal(r_DD))
    return rotation


def rotate(vectors: NDArray[np.float32], rotation: NDArray[np.float64]) -> NDArray[np.float32]:
    """Turn (N, D) or (D,) unit vectors, computed in float64; to turn back, give the transpose."""
    turned: NDArray[np.float64] = vectors.astype(np.float64) @ rotation.T
    turned /= np.linalg.norm(turned, axis=-1, keepdims=True)
    return turned.astype(np.float32)
