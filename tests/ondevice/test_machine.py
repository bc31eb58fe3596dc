"""What the kernel tells of temperature and throttling, from folders made as the kernel makes them."""

from pathlib import Path

import pytest

from edgekd.ondevice.machine import isa_warning, slowed_down, temperature_c, throttle_marks


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_hottest_zone_is_the_temperature(tmp_path: Path) -> None:
    for zone, text in enumerate(["41000\n", "67500\n", "no number", "-274000\n"]):
        written(tmp_path / f"class/thermal/thermal_zone{zone}/temp", text)

    assert temperature_c(tmp_path) == 67.5
    assert temperature_c(tmp_path / "none") is None


def test_a_counter_that_grew_means_that_the_cpu_was_slowed_down(tmp_path: Path) -> None:
    counter = tmp_path / "devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    written(counter, "3\n")
    before = throttle_marks(tmp_path)
    same = throttle_marks(tmp_path)
    written(counter, "4\n")

    assert slowed_down(before, same) is False
    assert slowed_down(before, throttle_marks(tmp_path)) is True


@pytest.mark.parametrize(("flags", "now"), [("0", False), ("50000", False), ("50005", True), ("4", True)])
def test_a_raspberry_pi_s_low_bits_mean_right_now(tmp_path: Path, flags: str, now: bool) -> None:
    written(tmp_path / "devices/platform/soc/soc:firmware/get_throttled", f"{flags}\n")
    marks = throttle_marks(tmp_path)

    assert slowed_down(marks, marks) is now


def test_where_the_kernel_shows_nothing_nothing_is_claimed(tmp_path: Path) -> None:
    assert throttle_marks(tmp_path) is None
    assert slowed_down(None, None) is None


def test_another_cpu_is_a_warning_that_says_what_it_means() -> None:
    assert isa_warning("x86-vnni", 8, "x86-vnni") == ""
    assert "bit" not in isa_warning("x86-avx2", 0, "x86-vnni")
    assert "accuracy is LOST; export again with target.isa: x86-avx2" in isa_warning("x86-vnni", 8, "x86-avx2")
    assert "accuracy is LOST" in isa_warning("arm64", 8, "x86-avx2")
    assert "a bit of precision is given away" in isa_warning("x86-avx2", 7, "arm64")
    assert "results stay right, but layer widths" in isa_warning("x86-vnni", 8, "arm64")
