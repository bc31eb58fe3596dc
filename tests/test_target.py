"""The target decides numbers and widths."""

import io
import platform
import sys
from collections.abc import Iterator

import pytest
from rich.console import Console

from edgekd.cli.terminal import render_doctor
from edgekd.config import target, validate
from edgekd.config.schemes import INT8, Scheme
from edgekd.config.target import Target, round_width, width_step
from edgekd.errors import ConfigError
from edgekd.ondevice import machine as found_machine
from edgekd.ondevice.machine import Isa, cpu_flags, cpu_name, exact_bits, host_isa, multiplies_bf16

ISAS: tuple[Isa, ...] = ("x86-avx2", "x86-vnni", "arm64")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """What is found of this machine is forgotten before and after."""
    found = (host_isa, cpu_flags, cpu_name)
    for function in found:
        function.cache_clear()
    yield monkeypatch
    for function in found:
        function.cache_clear()


@pytest.mark.parametrize(("isa", "bits", "limit"), [("x86-avx2", 7, 63), ("x86-vnni", 8, 127), ("arm64", 8, 127)])
def test_weights_have_the_bits_that_the_cpu_multiplies_exactly(isa: Isa, bits: int, limit: int) -> None:
    scheme = Target(isa=isa).scheme
    assert (exact_bits(isa), scheme.weight_bits, scheme.weight_limit) == (bits, bits, limit)
    assert (2 * 255 * limit <= 32767) == (bits == 7)


@pytest.mark.parametrize(("bits", "limit"), [(2, 1), (4, 7), (7, 63), (8, 127)])
def test_the_largest_weight_is_symmetric_and_fits_its_bits(bits: int, limit: int) -> None:
    assert Scheme("any", bits).weight_limit == limit
    assert -(2 ** (bits - 1)) < -limit < limit < 2 ** (bits - 1)


@pytest.mark.parametrize(
    ("wanted", "channels", "isa", "expected"),
    [
        (12, 24, "x86-avx2", 16), (8, 16, "x86-avx2", 8), (3, 16, "x86-avx2", 8), (48, 96, "x86-avx2", 48),
        (20, 40, "x86-avx2", 16), (20, 40, "arm64", 24), (0, 64, "x86-avx2", 16), (64, 64, "x86-vnni", 64),
        (6, 6, "x86-avx2", 6), (39, 40, "x86-avx2", 32), (40, 40, "x86-avx2", 40), (1279, 1280, "x86-avx2", 1280),
        (15.5, 31, "x86-avx2", 16), (16, 32, "x86-avx2", 16), (24, 48, "x86-avx2", 32), (23.9, 48, "x86-avx2", 16),
        (23.9, 48, "arm64", 24), (0, 64, "arm64", 8), (4, 8, "arm64", 8), (1, 1, "arm64", 1), (20, 20, "x86-vnni", 20),
    ],
)  # fmt: skip
def test_widths_are_rounded_as_by_hand(wanted: float, channels: int, isa: Isa, expected: int) -> None:
    assert round_width(wanted, channels, isa) == expected


@pytest.mark.parametrize("isa", ISAS)
def test_a_width_is_whole_steps_or_the_layer_s_own_and_the_nearest_of_them(isa: Isa) -> None:
    for channels in range(1, 100):
        step = width_step(channels, isa)
        steps = [*range(step, channels + 1, step)]
        for wanted in range(channels + 1):
            width = round_width(wanted, channels, isa)

            assert width in {*steps, channels}
            assert abs(width - wanted) <= min((abs(other - wanted) for other in steps), default=channels)


@pytest.mark.parametrize("isa", ISAS)
def test_wanting_more_never_gives_less(isa: Isa) -> None:
    for channels in (5, 24, 40, 96):
        widths = [round_width(wanted, channels, isa) for wanted in range(channels + 1)]

        assert widths == sorted(widths)


@pytest.mark.parametrize(
    ("cpu", "lines", "isa"),
    [
        ("x86_64", ["flags\t\t: fpu avx2 avx512f avx512_vnni"], "x86-vnni"),
        ("AMD64", ["flags\t\t: fpu avx2 avx_vnni"], "x86-vnni"),
        ("x86_64", ["processor\t: 0", "flags\t\t: fpu avx2 avx512f", "vmx flags\t: avx_vnni"], "x86-avx2"),
        ("x86_64", ["flags\t\t: fpu avx2 avx512_vnni_not"], "x86-avx2"),
        ("x86_64", [], "x86-avx2"),
        ("aarch64", ["Features\t: fp asimd asimddp"], "arm64"),
        ("ARM64", [], "arm64"),
    ],
)
def test_the_host_s_isa_follows_from_its_kind_and_flags(
    cpu: str, lines: list[str], isa: str, machine: pytest.MonkeyPatch
) -> None:
    machine.setattr(platform, "machine", lambda: cpu)
    machine.setattr(found_machine, "cpuinfo", lambda: lines)

    assert Target().isa == "host"
    assert Target().resolved_isa == isa
    assert Target().scheme.weight_bits == (7 if isa == "x86-avx2" else 8)


@pytest.mark.parametrize("cpu", ["armv7l", "armv6l", "armhf", "riscv64", "ppc64le", "s390x", "i686", "loongarch64"])
def test_a_host_of_which_nothing_is_known_has_its_own_name_and_must_be_declared(
    cpu: str, machine: pytest.MonkeyPatch
) -> None:
    machine.setattr(platform, "machine", lambda: cpu)
    machine.setattr(found_machine, "cpuinfo", lambda: ["flags\t\t: sse4_1 neon", "model name\t: Some CPU"])

    with pytest.raises(ConfigError) as error:
        _ = Target().resolved_isa

    assert str(error.value) == (
        f"target.isa: host is {cpu}, whose integer arithmetic is not known; declare arm64 (8-bit weights) "
        "if edgekd doctor finds these exact there, else x86-avx2 (7-bit weights)"
    )
    assert host_isa() == cpu
    assert exact_bits(cpu) == 7
    assert Target(isa="arm64").scheme == INT8


def test_doctor_says_of_such_a_host_that_a_target_must_be_declared(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(platform, "machine", lambda: "riscv64")
    machine.setattr(found_machine, "cpuinfo", list)
    output = io.StringIO()

    Console(file=output, width=200).print(render_doctor())

    shown = " ".join(output.getvalue().split())
    assert "instruction set riscv64: its integer arithmetic is not known; declare target.isa" in shown
    assert "edgekd trains 7-bit weights" not in shown


@pytest.mark.parametrize("cpu", ["aarch64", "x86_64"])
def test_a_32_bit_python_on_a_64_bit_system_is_none_of_the_known(cpu: str, machine: pytest.MonkeyPatch) -> None:
    machine.setattr(platform, "machine", lambda: cpu)
    machine.setattr(found_machine, "cpuinfo", list)
    with machine.context() as narrow:
        narrow.setattr(sys, "maxsize", 2**31 - 1)
        found = host_isa()

    assert found == f"{cpu} (32-bit)"


def test_the_flags_and_the_name_are_those_of_the_first_core(machine: pytest.MonkeyPatch) -> None:
    core = ["model name\t: Some CPU: fast", "flags\t\t: fpu avx2", "bugs\t\t:"]
    machine.setattr(found_machine, "cpuinfo", lambda: [*core, *core])

    assert cpu_flags() == {"fpu", "avx2"}
    assert cpu_name() == "Some CPU: fast"


@pytest.mark.parametrize(
    ("lines", "multiplies"),
    [
        (["flags\t\t: avx512_bf16 avx2"], True),
        (["flags\t\t: amx_bf16 amx_tile"], True),
        (["Features\t: asimd bf16 i8mm"], True),
        (["flags\t\t: fpu avx2 avx512f avx512_vnni"], False),
        (["Features\t: asimd asimddp"], False),
        ([], False),
    ],
)
def test_bf16_is_multiplied_where_a_flag_says_so(
    lines: list[str], multiplies: bool, machine: pytest.MonkeyPatch
) -> None:
    machine.setattr(found_machine, "cpuinfo", lambda: lines)

    assert multiplies_bf16() == multiplies


def test_a_cpu_without_a_name_is_called_by_its_kind(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(found_machine, "cpuinfo", list)
    machine.setattr(platform, "processor", lambda: "")
    machine.setattr(platform, "machine", lambda: "riscv64")

    assert cpu_name() == "riscv64"


@pytest.mark.parametrize("isa", ISAS)
def test_a_declared_target_is_never_taken_from_this_machine(isa: Isa, machine: pytest.MonkeyPatch) -> None:
    machine.setattr(target, "host_isa", lambda: pytest.fail("asked the host"))
    machine.setattr(found_machine, "cpuinfo", lambda: pytest.fail("asked the host"))

    declared = Target(isa=isa)

    assert declared.resolved_isa == isa
    assert declared.scheme.weight_bits == exact_bits(isa)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"isa": "avx2"}, "isa: input should be 'host', 'any', 'x86-avx2', 'x86-vnni' or 'arm64', found 'avx2'"),
        ({"threads": 0}, "threads: input should be greater than or equal to 1, found 0"),
        ({"threads": 257}, "threads: input should be less than or equal to 256, found 257"),
        ({"batch": 0}, "batch: input should be greater than or equal to 1, found 0"),
        ({"batch": 1.0}, "batch: input should be a valid integer, found 1.0"),
        ({"cores": 1}, "cores: unknown key; known: batch, isa, threads"),
    ],
)
def test_a_target_that_cannot_be_is_refused(setting: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        validate(Target, setting, "target")

    assert error.value.lines == [f"target: {told}"]
