"""This project beside Tesseract and RapidOCR's recogniser: accuracy, CER and images/s on the same images in one run.

    python benchmarks/readers.py DATA --rapidocr-python /opt/rapidocr/bin/python
    python benchmarks/readers.py DATA --set iiit5k_train --model a.onnx --model b.safetensors --peer none --limit 200

DATA holds a folder a set, with `labels.tsv` (path<TAB>text) and `images/`. Every reader is a process of its own that
takes the list of images on stdin and runs on the CPU, on the same `--threads` cores:

crnn        `crnn predict -`, the command line alone; without `--model` the model that came with the installation.
            `--model base+tiny` lets both read together, `--model base+tta` is `--model base --tta`, and
            `--model base+plain` is `--model base --lm none`.
tesseract   Tesseract's command line in English, `--psm 8` for words and `--psm 7` for lines; several lines of a page
            are joined by a space. Install: apt-get install tesseract-ocr tesseract-ocr-eng
rapidocr    `TextRecognizer` of the package rapidocr-onnxruntime, without detection and angle. It is given a thousand
            images at a time and reads them one by one: on a CPU that was up to twice as fast as the batches of 6 that
            it has by default (`--rapidocr-batch 6`), with a CER within 0.3 points. What it needs may clash with what
            this project needs, so it may live in its own environment, named by `--rapidocr-python`: python -m venv
            /opt/rapidocr && /opt/rapidocr/bin/pip install 'rapidocr-onnxruntime<2'

Two rates are given. "images/s" counts the whole process from its start to its end: interpreter, imports, loading of the
model, decoding, reading. "after start" leaves the start out: (n - 1) images in the seconds of the run over all n less
those of a run over the first alone; RapidOCR's process clocks itself instead, from when its model is loaded. Both are
the median over `--rounds`, in each of which all readers run in turn, so that what else the machine does falls on all
alike; files are read once before, so that none pays for a cold disk. "strict" among the ratios is our whole process
against the peer after its start. Where a run is short, the start is most of it and what is left without it is noise.

Scores are those of `crnn_cli.core.metrics`, with their 95 % bootstrap intervals over samples. "alnum" is the share of
readings equal to their label after lower-casing and dropping all but 0-9 and a-z; samples whose label is empty then are
left out of it, and counted. "exact" and "CER" take the text as it stands, "CERi" lower-cases both sides, all three over
every sample. White space is treated alike in labels and readings: runs of it are one space, and none is at the ends.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from crnn_cli import devices
from crnn_cli.core.metrics import Estimate, alphanumeric, score
from crnn_cli.core.tsv import unescape

WORDS = ("iiit5k_train", "svt_train", "icdar2003_train", "icdar2015_train")
LINES = ("uw3_lines", "receipts_train", "memorials_train")
PEERS = ("tesseract", "rapidocr")
OPTIONS = {"tta": ["--tta"], "plain": ["--lm", "none"]}
RUNTIMES = ("onnxruntime", "onnxruntime-gpu")

# Runs where RapidOCR is installed, and imports nothing of ours. argv: threads, batch. stdin: paths, one a line.
# stdout: a row `path<TAB>text` an image, then an empty path and the seconds since the model was loaded.
RAPIDOCR = """
import sys, time
from pathlib import Path
import cv2, numpy, rapidocr_onnxruntime, yaml
from rapidocr_onnxruntime.ch_ppocr_rec import TextRecognizer

home = Path(rapidocr_onnxruntime.__file__).parent
config = yaml.safe_load((home / "config.yaml").read_text(encoding="utf-8"))["Rec"]
config["model_path"] = str(home / config["model_path"])
config["intra_op_num_threads"], config["rec_batch_num"] = map(int, sys.argv[1:])
recognizer = TextRecognizer(config)
start = time.perf_counter()
paths = sys.stdin.buffer.read().split(b"\\n")[:-1]
rows = []
for first in range(0, len(paths), 1000):
    part = paths[first : first + 1000]
    images = [cv2.imdecode(numpy.frombuffer(open(p, "rb").read(), numpy.uint8), cv2.IMREAD_COLOR) for p in part]
    for path, (text, _) in zip(part, recognizer(images)[0]):
        rows.append(path + b"\\t" + " ".join(text.split()).encode("utf-8") + b"\\n")
seconds = time.perf_counter() - start
sys.stdout.buffer.write(b"".join(rows) + b"\\t%.6f\\n" % seconds)
"""

# argv: names of packages. stdout: those that are installed there, with their versions.
VERSIONS = """
import sys
from importlib.metadata import distributions

found = {(each.metadata["Name"].replace("_", "-"), each.version) for each in distributions()}
print(", ".join(f"{name} {version}" for name, version in sorted(found) if name in sys.argv[1:]))
"""


@dataclass(frozen=True)
class Sample:
    image: Path
    text: str


@dataclass(frozen=True)
class Reader:
    """A program that takes paths of images on stdin, one a line.

    Attributes:
        name: in the tables.
        version: of the program and of what its speed and accuracy depend on.
        command: given whether the images are lines, the program and its arguments.
        parse: given stdout and the number of images, the texts in their order, and the seconds without its start where
            the program tells them.
        environment: variables that it is given beside the script's own.
    """

    name: str
    version: str
    command: Callable[[bool], list[str]]
    parse: Callable[[str, int], tuple[list[str], float | None]]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """What a reader did on a set; rates in images a second, `after_start` None where the runs are too short for it."""

    reader: str
    rate: float
    after_start: float | None
    seconds: list[float]
    alnum: Estimate
    exact: Estimate
    cer: Estimate
    ceri: Estimate


def labelled(folder: Path, limit: int | None) -> list[Sample]:
    """The samples of `folder`, or `limit` of them at equal distances."""
    if not (folder / "labels.tsv").is_file():
        raise SystemExit(
            f"{folder}: no labels.tsv here: give the folder that holds the sets, and --set NAME"
        )
    samples = []
    for number, line in enumerate(
        (folder / "labels.tsv").read_text(encoding="utf-8").split("\n"), start=1
    ):
        path, tab, text = line.partition("\t")
        if tab:
            samples.append(Sample((folder / path).absolute(), tidy(text)))
        elif line:
            raise SystemExit(
                f"{folder / 'labels.tsv'}:{number}: expected path<TAB>text, got 1 field"
            )
    return samples if limit is None else samples[:: max(1, len(samples) // limit)][:limit]


def tidy(text: str) -> str:
    """`text` with every run of white space as one space, and none at the ends."""
    return " ".join(text.split())


def parse_crnn(output: str, count: int) -> tuple[list[str], None]:
    """Texts of the rows `path<TAB>text<TAB>confidence`."""
    return [unescape(row.split("\t")[1]) for row in output.split("\n")[:-1]], None


def parse_tesseract(output: str, count: int) -> tuple[list[str], None]:
    """Texts of pages with a form feed between them, in some versions also after the last."""
    pages = output.split("\f")
    return pages[:-1] if len(pages) == count + 1 and not pages[-1].strip() else pages, None


def parse_rapidocr(output: str, count: int) -> tuple[list[str], float]:
    """Texts, and the process's own seconds, which the last row tells."""
    *rows, last = (row.split("\t") for row in output.split("\n")[:-1])
    return [text for _, text in rows], float(last[1])


def crnn(model: str | None) -> Reader:
    command = [sys.executable, "-m", "crnn_cli.main", "predict", "-", "--device", "cpu"]
    for part in [] if model is None else [model] if Path(model).exists() else model.split("+"):
        command += OPTIONS.get(part) or [
            "--model",
            str(Path(part).absolute()) if Path(part).exists() else part,
        ]
    versions = told([sys.executable, "-c", VERSIONS, "crnn-cli", *RUNTIMES, "torch"])
    return Reader(f"crnn {model or '(bundled)'}", versions, lambda lines: command, parse_crnn)


def tesseract(threads: int) -> Reader:
    install = "install it with apt-get install tesseract-ocr tesseract-ocr-eng, or leave it out with --peer"
    if shutil.which("tesseract") is None:
        raise SystemExit(f"tesseract: not found on the PATH: {install}")
    if "eng" not in told(["tesseract", "--list-langs"]).split():
        raise SystemExit(f"tesseract: its English model is missing: {install}")

    def command(lines: bool) -> list[str]:
        return ["tesseract", "stdin", "stdout", "-l", "eng", "--psm", "7" if lines else "8"]

    release = told(["tesseract", "--version"]).splitlines()[0].removeprefix("tesseract ")
    limit = {"OMP_THREAD_LIMIT": str(threads)}
    return Reader(
        "tesseract", f"{release}, OMP_THREAD_LIMIT={threads}", command, parse_tesseract, limit
    )


def rapidocr(python: str, threads: int, batch: int) -> Reader:
    found = shutil.which(python)
    versions = told([found, "-c", VERSIONS, "rapidocr-onnxruntime", *RUNTIMES]) if found else ""
    if found is None or "rapidocr-onnxruntime" not in versions:
        raise SystemExit(
            f"rapidocr: not installed for {python}: install it with {python} -m pip install 'rapidocr-onnxruntime<2', "
            "name an interpreter that has it with --rapidocr-python, or leave it out with --peer"
        )
    command = [str(Path(found).absolute()), "-c", RAPIDOCR, str(threads), str(batch)]
    return Reader("rapidocr", f"{versions}, batch {batch}", lambda lines: command, parse_rapidocr)


def told(command: Sequence[str]) -> str:
    """Stdout of a command, without white space at its ends."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def read(
    reader: Reader, images: Sequence[Path], lines: bool
) -> tuple[list[str], float, float | None]:
    """Texts of `images`, the seconds of the whole process, and those without its start where it tells them."""
    stdin = b"".join(os.fsencode(image) + b"\n" for image in images)
    environment = {
        key: value for key, value in os.environ.items() if key != "CRNN_MODEL"
    } | reader.environment
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # where there is no model.safetensors to be taken for the bundled one
        start = time.perf_counter()
        done = subprocess.run(
            reader.command(lines), input=stdin, capture_output=True, cwd=folder, env=environment
        )
        seconds = time.perf_counter() - start
    if done.returncode:
        said = b"\n".join(done.stderr.strip().splitlines()[-3:]).decode("utf-8", "replace")
        raise SystemExit(f"{reader.name}: exit status {done.returncode}: {said}")
    texts, own = reader.parse(done.stdout.decode("utf-8", "surrogateescape"), len(images))
    if len(texts) != len(images):
        raise SystemExit(
            f"{reader.name}: {len(texts):,} readings of {len(images):,} images: is one of several pages?"
        )
    return [tidy(text) for text in texts], seconds, own


def measure(
    readers: Sequence[Reader], samples: Sequence[Sample], lines: bool, rounds: int
) -> list[Row]:
    """Every reader on the same images, `rounds` times in turn."""
    images = [sample.image for sample in samples]
    for image in images:
        image.read_bytes()
    texts: dict[str, list[str]] = {}
    whole: dict[str, list[float]] = {reader.name: [] for reader in readers}
    rest: dict[str, list[float]] = {reader.name: [] for reader in readers}
    for _ in range(rounds):
        for reader in readers:
            texts[reader.name], seconds, own = read(reader, images, lines)
            whole[reader.name].append(seconds)
            if own is not None:
                rest[reader.name].append(own / len(images))
            elif len(images) > 1:
                rest[reader.name].append(
                    (seconds - read(reader, images[:1], lines)[1]) / (len(images) - 1)
                )
    labels = [sample.text for sample in samples]
    return [row(name, labels, texts[name], whole[name], rest[name]) for name in texts]


def row(
    name: str,
    labels: Sequence[str],
    texts: Sequence[str],
    whole: list[float],
    rest: Sequence[float],
) -> Row:
    """Rates and scores of one reader.

    Args:
        whole: seconds of each run.
        rest: seconds an image of each run without the start; none where that cannot be told.
    """
    pairs = list(zip(labels, texts, strict=True))
    scores = score(pairs)
    alnum = score(pair for pair in pairs if alphanumeric(pair[0])).alphanumeric
    ceri = score((label.lower(), text.lower()) for label, text in pairs).cer
    each = statistics.median(rest) if rest else 0.0
    rate = len(pairs) / statistics.median(whole)
    return Row(
        name, rate, 1 / each if each > 0 else None, whole, alnum, scores.exact, scores.cer, ceri
    )


def table(rows: Sequence[Row], count: int) -> str:
    """The rows of a set as Markdown."""
    heads = ("reader", "images", "images/s", "after start", "alnum", "exact", "CER", "CERi")
    cells = [
        [
            row.reader,
            f"{count:,}",
            f"{row.rate:.1f}",
            "" if row.after_start is None else f"{row.after_start:.1f}",
            *(percent(figure) for figure in (row.alnum, row.exact, row.cer, row.ceri)),
        ]
        for row in rows
    ]
    return markdown(heads, cells)


def ratios(rows: Sequence[Row]) -> str:
    """How many times the images/s of every peer each model of ours has, as Markdown."""
    peers = [row for row in rows if row.reader in PEERS]
    cells = []
    for ours in (row for row in rows if row.reader not in PEERS):
        for peer in peers:
            pairs = (
                (ours.rate, peer.rate),
                (ours.after_start, peer.after_start),
                (ours.rate, peer.after_start),
            )
            cells.append(
                [ours.reader, peer.reader, *(f"{a / b:.2f}" if a and b else "" for a, b in pairs)]
            )
    return (
        markdown(("images/s of", "over", "whole process", "after start", "strict"), cells)
        if cells
        else ""
    )


def percent(figure: Estimate) -> str:
    return f"{100 * figure.value:.2f} % ({100 * figure.low:.2f} to {100 * figure.high:.2f})"


def markdown(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *cells]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def processor() -> str:
    """The processor's name, as Linux tells it; elsewhere what Python knows of it."""
    try:
        names = re.findall(
            r"^model name\s*:\s*(.+)$",
            Path("/proc/cpuinfo").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def confine(threads: int | None) -> int:
    """Keep this process, and so those that it starts, to `threads` cores; None: to those that it has. Their number."""
    if threads is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    threads = min(threads or devices.cores(), devices.cores())
    os.environ["OMP_NUM_THREADS"] = str(threads)
    return threads


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--set",
        action="append",
        help="folder under DATA; may be given again (default: those known)",
    )
    parser.add_argument(
        "--lines",
        action="append",
        default=[],
        metavar="NAME",
        help="a set that holds lines, not words",
    )
    parser.add_argument(
        "--model", action="append", metavar="FILE", help="for crnn; may be given again"
    )
    parser.add_argument(
        "--peer",
        action="append",
        choices=(*PEERS, "none"),
        help="may be given again (default: both)",
    )
    parser.add_argument(
        "--rapidocr-python", default=sys.executable, metavar="PATH", help="interpreter that has it"
    )
    parser.add_argument(
        "--rapidocr-batch", type=positive, default=1, metavar="N", help="images at once (default 1)"
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="take N images of a set, at equal distances"
    )
    parser.add_argument(
        "--rounds", type=positive, default=1, metavar="N", help="median time of N runs (default 1)"
    )
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="cores for every reader (default: all)"
    )
    parser.add_argument(
        "--tesseract-threads",
        type=positive,
        metavar="N",
        help="for Tesseract alone (default: same)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser.parse_args()


def positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def main() -> None:
    given = arguments()
    threads = confine(given.threads)
    peers = given.peer or PEERS
    readers = [crnn(model) for model in given.model or [None]]
    if "tesseract" in peers:
        readers.append(tesseract(given.tesseract_threads or threads))
    if "rapidocr" in peers:
        readers.append(rapidocr(given.rapidocr_python, threads, given.rapidocr_batch))
    names = given.set or [name for name in WORDS + LINES if (given.data / name).is_dir()]
    if not names:
        raise SystemExit(f"{given.data}: none of the sets known is here: name one with --set")
    machine = {"processor": processor(), "cores": threads, "python": platform.python_version()}
    print(
        f"{machine['processor']}, {threads} core(s), Python {machine['python']}; rounds: {given.rounds}\n"
    )
    for reader in readers:
        print(f"- {reader.name}: {reader.version}")
    sets = []
    for name in names:
        lines = name in LINES or name in given.lines
        samples = labelled(given.data / name, given.limit)
        left_out = sum(not alphanumeric(sample.text) for sample in samples)
        rows = measure(readers, samples, lines, given.rounds)
        print(
            f"\n## {name} ({'lines' if lines else 'words'}; {left_out:,} labels left out of alnum)\n"
        )
        print(
            "\n".join(filter(None, (table(rows, len(samples)), ratios(rows)))), end="", flush=True
        )
        sets.append({"name": name, "lines": lines, "images": len(samples), "left_out": left_out})
        sets[-1]["readers"] = [asdict(row) for row in rows]
        if given.json:
            versions = {reader.name: reader.version for reader in readers}
            report = {
                "machine": machine,
                "rounds": given.rounds,
                "versions": versions,
                "sets": sets,
            }
            given.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
