"""The command line of a bundle: classify images, self-test, bench."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from edgekd.ondevice.bench import bench, bench_lines
from edgekd.ondevice.classify import classify
from edgekd.ondevice.contents import MODEL, file_problems, read_manifest
from edgekd.ondevice.faults import Fault, printable
from edgekd.ondevice.limits import MOST_BATCH, MOST_THREADS
from edgekd.ondevice.machine import machine_facts
from edgekd.ondevice.selftest import self_test


def main(arguments: Optional[List[str]] = None) -> int:
    """Run with the arguments; exit code 0: success, 1: the self-test failed, 2: bad input."""
    parser = argparse.ArgumentParser(description="Classify images with this bundle's model, test it, measure it.")
    files = "image files or .npy arrays; with --bench ONNX files, all unless given"
    parser.add_argument("files", nargs="*", type=Path, help=files)
    parser.add_argument("--selftest", action="store_true", help="checksums, and the golden images' logits")
    parser.add_argument("--bench", action="store_true", help="latency of the ONNX files in interleaved rounds")
    parser.add_argument("--top", type=_up_to(sys.maxsize), default=5, help="classes of each image")
    parser.add_argument("--threads", type=_up_to(MOST_THREADS), default=1, help="threads of one inference, for --bench")
    parser.add_argument("--batch", type=_up_to(MOST_BATCH), default=1, help="images of one inference, for --bench")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    # Resolved: started through the link ``current``, it stays with one version even if a deploy switches meanwhile.
    folder = Path(__file__).resolve().parent
    try:
        if given.selftest:
            return _selftest(folder, given.json)
        if given.bench:
            return _bench(given, folder)
        if not given.files:
            parser.print_help()
            return 2
        return _classify(given, folder)
    except Fault as fault:
        print(f"edgekd_run: {fault}", file=sys.stderr)
        return 2
    except MemoryError:
        print("edgekd_run: memory is short; end other programs", file=sys.stderr)
        return 2


def _selftest(folder: Path, as_json: bool) -> int:
    found = self_test(folder, everything=False)
    if as_json:
        print(json.dumps({**found, "machine": machine_facts()}))
    else:
        for line in selftest_lines(found):
            print(line)
    return 0 if found["ok"] else 1


def selftest_lines(found: Dict[str, Any]) -> List[str]:
    """What the self-test found, in words."""
    lines = [f"FAIL  {printable(problem)}" for problem in found["problems"]]
    lines += [f"WARNING  {printable(warning)}" for warning in found["warnings"]]
    golden = found["golden"]
    if golden:
        lines.append(
            f"golden images: {golden['same_top1']} of {golden['images']} the same class, logits differ by up to "
            f"{golden['max_difference']:.4g} (allowed: {golden['tolerance']:.4g})"
        )
    return [*lines, f"{'PASS' if found['ok'] else 'FAIL'}  {printable(found['name'])}: {found['files']} files checked"]


def _bench(given: Any, folder: Path) -> int:
    files = given.files or _models(folder)
    found = bench(files, given.threads, given.batch, 0, lambda done, total: None)
    if given.json:
        print(json.dumps(found))
        return 0
    for line in bench_lines(found):
        print(line)
    return 0


def _models(folder: Path) -> List[Path]:
    found = [folder / about["file"] for about in read_manifest(folder)["models"]]
    return [path for path in found if path.is_file()]


def _classify(given: Any, folder: Path) -> int:
    manifest = read_manifest(folder)
    problems = file_problems(folder, manifest, everything=False)
    if problems:
        raise Fault(str(folder), problems[0], "copy the bundle again")
    for found in classify(folder / MODEL, manifest, given.files, given.top):
        if given.json:
            print(json.dumps(found))
        else:
            for line in classes_lines(found):
                print(line)
    return 0


def classes_lines(found: Dict[str, Any]) -> List[str]:
    """An image's classes in words."""
    rows = [f"  {100 * item['probability']:5.1f} %  {printable(item['name'])}" for item in found["classes"]]
    return [printable(found["image"]), *rows]


def _up_to(most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {most}")
        return int(text)

    return number


if __name__ == "__main__":
    sys.exit(main())
