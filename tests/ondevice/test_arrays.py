"""Arrays in .npy files from elsewhere."""

import struct
from pathlib import Path

import numpy as np
import pytest

from edgekd.ondevice import arrays
from edgekd.ondevice.arrays import BadArrays, read_array


def written(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize("kind", ["f4", ">f8", "u1", "i2", "?"])
def test_an_array_comes_back_as_it_was_written(tmp_path: Path, kind: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(kind)

    for stored in (array, np.asfortranarray(array)):
        found = read_array(written(tmp_path / "a.npy", stored))
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)


def test_a_damaged_byte_gives_an_array_or_says_why_in_a_few_words(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.npy", np.arange(12.0).reshape(3, 4)).read_bytes()
    random, refused = np.random.default_rng(0), 0

    for _ in range(2000):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] = random.integers(256)
        (tmp_path / "a.npy").write_bytes(damaged[: len(whole) - random.integers(2)])
        try:
            assert read_array(tmp_path / "a.npy").nbytes <= len(whole)
        except BadArrays as error:
            refused += 1
            assert str(error).isprintable()  # noqa: PT017  (either outcome is right)

    assert refused > 1000


def test_code_and_claims_beyond_the_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117) + b"\n"
    (tmp_path / "claims.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)

    with pytest.raises(BadArrays, match="an array of float64"):
        read_array(tmp_path / "claims.npy")
    with pytest.raises(BadArrays, match="an array of object"):
        read_array(written(tmp_path / "code.npy", np.array([print], object)))
    monkeypatch.setattr(arrays, "MOST_ARRAY_BYTES", 100)
    with pytest.raises(BadArrays, match="more than 100 bytes"):
        read_array(written(tmp_path / "large.npy", np.zeros(50)))
