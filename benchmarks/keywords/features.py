"""Mel-frequency cepstra of one second of sound, with numpy and scipy alone: what a device computes before the model.

Forty mel bands between 20 and 4000 Hz in windows of 40 ms every 20 ms; their logarithms, and of these the first ten
coefficients of the cosine transform: 49x10 numbers, as MLPerf Tiny's keyword task has them.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

RATE = 16_000
"""Samples of a second."""
WINDOW, STEP, BANDS, CEPSTRA = 640, 320, 40, 10
FFT = 1024
LOWEST_HZ, HIGHEST_HZ = 20.0, 4000.0
LOUDNESS = 8.0
"""The first coefficient, loudness, is divided by this: one range then suits all ten."""
QUIET = 1e-6
"""Power below which everything is silence; keeps the logarithm finite."""

Sound = NDArray[np.float32]


def cepstra(sound: Sound) -> NDArray[np.float32]:
    """Of one second of sound, samples from -1 to 1: float32, shape ``(49, 10, 1)``."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::STEP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), FFT)) ** 2 / WINDOW
    found: NDArray[np.float64] = dct(np.log(power @ mel_filters().T + QUIET), norm="ortho", axis=1)[:, :CEPSTRA]
    found[:, 0] /= LOUDNESS
    return found.astype(np.float32)[..., None]


@cache
def mel_filters() -> NDArray[np.float64]:
    """A triangle over frequencies for each band, shape ``(BANDS, FFT // 2 + 1)``."""
    borders = _hertz(np.linspace(_mel(LOWEST_HZ), _mel(HIGHEST_HZ), BANDS + 2))
    frequencies = np.fft.rfftfreq(FFT, 1 / RATE)
    rising = (frequencies - borders[:-2, None]) / (borders[1:-1] - borders[:-2])[:, None]
    falling = (borders[2:, None] - frequencies) / (borders[2:] - borders[1:-1])[:, None]
    return np.maximum(0, np.minimum(rising, falling))


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))
