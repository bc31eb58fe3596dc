"""A small set of spoken keywords, made by Debian's espeak-ng: voices of train, val and test are different ones.

    apt install espeak-ng
    python -m benchmarks.keywords.speech                        # makes speech.npz here, some minutes
    python -m benchmarks.keywords.speech go new.npy             # a new recording, by a voice that the set has not

Each voice says each word with several accents, speeds and pitches; the word is moved within its second, and noise of a
random level and colour is added. ``unknown`` are other words, ``silence`` is noise alone.
"""

import io
import re
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from benchmarks.keywords.features import RATE, Sound, cepstra

FILE = Path(__file__).with_name("speech.npz")
KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHERS = (
    "bed", "bird", "cat", "dog", "eight", "five", "four", "happy", "house", "marvin", "nine", "one", "seven", "sheila",
    "six", "three", "tree", "two", "wow", "zero", "snow", "cup", "town", "lift", "own", "often", "step", "goat",
)  # fmt: skip
CLASSES = (*KEYWORDS, "silence", "unknown")
ACCENTS = ("en-gb", "en-us", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
SHARES = {"train": 0.62, "val": 0.14, "test": 0.2}
"""Of the families of voices; those that are left over are in none."""
TIMES = 6
"""How often each voice says each word."""
SPEEDS, PITCHES = (110, 220), (20, 90)
"""Words a minute, and espeak-ng's own unit."""

Generator = np.random.Generator


def keywords() -> dict[str, Any]:
    """The dataset, as a pipeline file names it."""
    with np.load(FILE) as made:
        parts = {part: (made[part], made[f"{part}_labels"]) for part in SHARES}
    return {"class_names": list(CLASSES), **parts}


def make() -> None:
    """Let every voice speak, and write cepstra and labels."""
    arrays: dict[str, Any] = {}
    for part, voices in voices_by_part().items():
        if part == "none":
            continue
        made = [pair for voice in voices for pair in _spoken_by(voice)]
        arrays[part] = np.stack([features for features, _ in made])
        arrays[f"{part}_labels"] = np.array([label for _, label in made])
        low, high = np.percentile(arrays[part], (0.1, 99.9))
        print(f"{part}: {len(voices)} voices, {len(made)} seconds; 99.8 % of the numbers are {low:.1f} to {high:.1f}")
    np.savez_compressed(FILE, **arrays)


def voices_by_part() -> dict[str, list[str]]:
    """espeak-ng's voices: ``klatt``, ``klatt2`` and so on are one family, and stay together."""
    listed = _espeak("--voices=variant").decode()
    voices = sorted(re.findall(r"!v/(\S+)", listed))
    family = {voice: voice.lower().rstrip("0123456789") for voice in voices}
    families = np.random.default_rng(0).permutation(sorted(set(family.values())))
    ends = np.cumsum([round(share * len(families)) for share in SHARES.values()])
    groups = dict(zip([*SHARES, "none"], np.split(families, ends), strict=True))
    return {part: [voice for voice in voices if family[voice] in group] for part, group in groups.items()}


def _spoken_by(voice: str) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Features and class of everything that a voice says."""
    generator = np.random.default_rng([ord(letter) for letter in voice])
    for label, name in enumerate(CLASSES):
        for _ in range(TIMES):
            yield cepstra(_second(voice, name, generator)), label


def _second(voice: str, name: str, generator: Generator) -> Sound:
    """One second in which a word, or nothing, is heard through noise."""
    word = str(generator.choice(OTHERS)) if name == "unknown" else name
    speech = np.zeros(0, np.float32) if name == "silence" else spoken(voice, word, generator)
    second = np.zeros(RATE, np.float32)
    start = int(generator.integers(max(1, RATE - len(speech))))
    kept = speech[:RATE]
    second[start : start + len(kept)] = kept * generator.uniform(0.3, 1.0)
    return second + _noise(generator)


def spoken(voice: str, word: str, generator: Generator) -> Sound:
    """A word as espeak-ng says it, without the silence around it, its peak at 1."""
    accent, speed, pitch = generator.choice(ACCENTS), generator.integers(*SPEEDS), generator.integers(*PITCHES)
    said = _espeak("-v", f"{accent}+{voice}", "-s", str(speed), "-p", str(pitch), "--stdout", word)
    # espeak-ng does not know the length when it writes the header, and says it is endless.
    with wave.open(io.BytesIO(said)) as file:
        rate, samples = file.getframerate(), np.frombuffer(said[44:], np.int16).astype(np.float32)
    sound: Sound = resample_poly(samples, RATE, rate)
    sound = sound / max(1.0, float(np.abs(sound).max()))
    loud = np.flatnonzero(np.abs(sound) > 0.02)
    heard: Sound = sound[loud[0] : loud[-1] + 1] if len(loud) else sound
    return heard.astype(np.float32)


def _espeak(*arguments: str) -> bytes:
    return subprocess.run(["espeak-ng", *arguments], capture_output=True, check=True).stdout  # noqa: S603, S607


def _noise(generator: Generator) -> Sound:
    """Between white (0) and red noise (1), from hardly heard to nearly as loud as speech."""
    colour, level = generator.uniform(0, 1), 10 ** generator.uniform(-3, -1)
    spectrum = np.fft.rfft(generator.normal(0, 1, RATE)) / np.maximum(1, np.arange(RATE // 2 + 1)) ** (colour / 2)
    noise = np.fft.irfft(spectrum, RATE)
    found: Sound = (noise * level / noise.std()).astype(np.float32)
    return found


def record(word: str, path: Path) -> None:
    """A new recording by a voice that neither train nor val nor test has."""
    voice, generator = voices_by_part()["none"][0], np.random.default_rng()
    np.save(path, cepstra(_second(voice, word, generator)))
    print(f"{path}: {voice} says {word!r}")


if __name__ == "__main__":
    record(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) == 3 else make()
