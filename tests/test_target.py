"""The target decides numbers and widths."""

import platform

import pytest

from edgekd import target
from edgekd.target import Isa, Target, round_width, weight_bits, weight_limit


@pytest.mark.parametrize(("isa", "bits", "limit"), [("x86-avx2", 7, 63), ("x86-vnni", 8, 127), ("arm64", 8, 127)])
def test_weights_have_the_bits_that_the_cpu_multiplies_exactly(isa: Isa, bits: int, limit: int) -> None:
    assert (weight_bits(isa), weight_limit(bits)) == (bits, limit)
    assert (2 * 255 * limit <= 32767) == (bits == 7)


@pytest.mark.parametrize(
    ("wanted", "channels", "isa", "expected"),
    [
        (12, 24, "x86-avx2", 16), (8, 16, "x86-avx2", 8), (3, 16, "x86-avx2", 8), (48, 96, "x86-avx2", 48),
        (20, 40, "x86-avx2", 16), (20, 40, "arm64", 24), (0, 64, "x86-avx2", 16), (64, 64, "x86-vnni", 64),
        (6, 6, "x86-avx2", 6), (39, 40, "x86-avx2", 32), (40, 40, "x86-avx2", 40), (1279, 1280, "x86-avx2", 1280),
    ],
)  # fmt: skip
def test_widths_are_rounded_as_by_hand(wanted: float, channels: int, isa: Isa, expected: int) -> None:
    assert round_width(wanted, channels, isa) == expected


@pytest.mark.parametrize(
    ("flags", "isa"),
    [({"avx2", "avx512_vnni"}, "x86-vnni"), ({"avx2", "avx_vnni"}, "x86-vnni"), ({"avx2"}, "x86-avx2")],
)
def test_the_host_s_isa_follows_from_its_flags(flags: set[str], isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    target.host_isa.cache_clear()

    found = Target().resolved_isa
    target.host_isa.cache_clear()

    assert found == isa


def test_a_declared_target_is_never_taken_from_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "host_isa", lambda: pytest.fail("asked the host"))

    assert Target(isa="x86-avx2").weight_bits == 7
    assert Target(isa="arm64").weight_bits == 8
