r"""Compare this project with Tesseract and RapidOCR: accuracy, CER and images/s in one run.

    python benchmarks/readers.py DATA --rapidocr-python /opt/rapidocr/bin/python
    python benchmarks/readers.py DATA --set iiit5k_train --model a.onnx --model b.safetensors \
        --peer none --limit 200

DATA holds one folder for each set, with `labels.tsv` (path<TAB>text) and `images/`. Every reader
runs in a separate process that takes the list of images on stdin and works on the CPU, on the same
`--threads` cores:

crnn        `crnn predict -`, the command line alone; without `--model` the model that came with the
            installation. `--model base+tiny` lets both read together, `--model base+tta` is
            `--model base --tta`, and `--model base+plain` is `--model base --lm none`.
tesseract   Tesseract's command line in English, `--psm 8` for words and `--psm 7` for lines;
            several lines of a page are joined by a space.
            Install: apt-get install tesseract-ocr tesseract-ocr-eng
rapidocr    `TextRecognizer` of the package rapidocr-onnxruntime, without detection and angle. It
            gets a thousand images at a time and reads them one by one: on a CPU that was up to
            twice as fast as its default batches of 6 (`--rapidocr-batch 6`), with a CER within 0.3
            points. Its requirements may clash with those of this project, so it may live in a
            separate environment, which `--rapidocr-python` names: python -m venv /opt/rapidocr &&
            /opt/rapidocr/bin/pip install 'rapidocr-onnxruntime<2'

The tables show two rates. "images/s" counts the whole process from its start to its end:
interpreter, imports, loading of the model, decoding, reading. "after start" leaves the start out:
(n - 1) images in the seconds of the run over all n less those of a run over the first alone;
RapidOCR's process measures its time itself instead, from the moment when its model is loaded. Both
are medians over `--rounds`, in each of which all readers run in turn, so that other work on the
machine slows all alike; files are read once before, so that no reader pays for a cold disk.
"strict" among the ratios is our whole process against the peer after its start. In a short run the
start takes most of the time, and the remainder without it is noise.

Scores are those of `crnn_cli.core.metrics`, with their 95 % bootstrap intervals over samples.
"alnum" is the share of readings that equal their label after lower-casing and dropping everything
except 0-9 and a-z; samples whose label is empty then are left out of it, and counted. "exact" and
"CER" take the text as it stands, "CERi" lower-cases both sides, all three over every sample. In
labels and readings a run of white space counts as one space, and that at the ends is dropped.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bench import (
    LINE_SETS,
    WORD_SETS,
    Parser,
    Sample,
    confine,
    labelled,
    machine_record,
    markdown,
    positive,
    tidy,
)

from crnn_cli.core.metrics import Estimate, alphanumeric, score
from crnn_cli.core.tsv import unescape

PEERS = ("tesseract", "rapidocr")
MODEL_OPTIONS = {"tta": ["--tta"], "plain": ["--lm", "none"]}
RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
SCRIPTS = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Reader:
    """A program that takes paths of images on stdin, one on each line.

    Attributes:
        name: The name in the tables.
        version: The version of the program and of the libraries that decide its speed.
        command: Returns the program and its arguments; it is called with True for images of lines.
        parse: Takes stdout and the number of images; returns the texts in their order, and the
            seconds without the start where the program measures them.
        environment: Variables for the program beside those of this script.
    """

    name: str
    version: str
    command: Callable[[bool], list[str]]
    parse: Callable[[str, int], tuple[list[str], float | None]]
    environment: dict[str, str] = field(default_factory=dict)


class Reading(NamedTuple):
    """The result of one run of a reader.

    Attributes:
        texts: The texts of the images in order.
        seconds: The seconds of the whole process.
        after_start: The seconds without the start, where the program measures them.
    """

    texts: list[str]
    seconds: float
    after_start: float | None


@dataclass(frozen=True)
class Row:
    """The rates and scores of a reader on a set.

    Rates are in images per second; `after_start` is None where the runs are too short for it.
    """

    reader: str
    rate: float
    after_start: float | None
    seconds: list[float]
    alnum: Estimate
    exact: Estimate
    cer: Estimate
    ceri: Estimate


def parse_crnn(output: str, _count: int) -> tuple[list[str], None]:
    """Return the texts of rows `path<TAB>text<TAB>confidence`."""
    return [unescape(row.split("\t")[1]) for row in output.split("\n")[:-1]], None


def parse_tesseract(output: str, count: int) -> tuple[list[str], None]:
    """Return the texts of pages with a form feed between them, in some versions also at the end."""
    pages = output.split("\f")
    return pages[:-1] if len(pages) == count + 1 and not pages[-1].strip() else pages, None


def parse_rapidocr(output: str, _count: int) -> tuple[list[str], float]:
    """Return the texts, and the seconds that the last row holds."""
    *rows, last = (row.split("\t") for row in output.split("\n")[:-1])
    return [text for _, text in rows], float(last[1])


def crnn(model: str | None) -> Reader:
    """Return the reader of this project.

    Args:
        model: A model file, names joined by "+", or None for the bundled model.
    """
    command = [sys.executable, "-m", "crnn_cli.main", "predict", "-", "--device", "cpu"]
    if model is not None:
        parts = [model] if Path(model).exists() else model.split("+")
        for part in parts:
            path = str(Path(part).absolute()) if Path(part).exists() else part
            command += MODEL_OPTIONS.get(part) or ["--model", path]
    versions = installed_versions(sys.executable, "crnn-cli", *RUNTIMES, "torch")
    return Reader(f"crnn {model or '(bundled)'}", versions, lambda _lines: command, parse_crnn)


def tesseract(threads: int) -> Reader:
    install = (
        "install it with apt-get install tesseract-ocr tesseract-ocr-eng, "
        "or leave it out with --peer"
    )
    if shutil.which("tesseract") is None:
        raise SystemExit(f"tesseract: not found on the PATH: {install}")
    if "eng" not in stdout_of(["tesseract", "--list-langs"]).split():
        raise SystemExit(f"tesseract: its English model is missing: {install}")

    def command(lines: bool) -> list[str]:
        return ["tesseract", "stdin", "stdout", "-l", "eng", "--psm", "7" if lines else "8"]

    release = stdout_of(["tesseract", "--version"]).splitlines()[0].removeprefix("tesseract ")
    version = f"{release}, OMP_THREAD_LIMIT={threads}"
    environment = {"OMP_THREAD_LIMIT": str(threads)}
    return Reader("tesseract", version, command, parse_tesseract, environment)


def rapidocr(python: str, threads: int, batch_size: int) -> Reader:
    path = shutil.which(python)
    versions = installed_versions(path, "rapidocr-onnxruntime", *RUNTIMES) if path else ""
    if path is None or "rapidocr-onnxruntime" not in versions:
        raise SystemExit(
            f"rapidocr: not installed for {python}: install it with {python} -m pip install "
            "'rapidocr-onnxruntime<2', name an interpreter that has it with --rapidocr-python, or "
            "leave it out with --peer"
        )
    script = str(SCRIPTS / "peers_rapidocr.py")
    command = [str(Path(path).absolute()), script, str(threads), str(batch_size)]
    version = f"{versions}, batch {batch_size}"
    return Reader("rapidocr", version, lambda _lines: command, parse_rapidocr)


def installed_versions(python: str, *packages: str) -> str:
    """Return the names and versions of those packages that an interpreter has."""
    return stdout_of([python, str(SCRIPTS / "installed_versions.py"), *packages])


def stdout_of(command: Sequence[str]) -> str:
    """Return the stdout of a command without white space at its ends."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def read(reader: Reader, images: Sequence[Path], lines: bool) -> Reading:
    """Run a reader over images and time it."""
    stdin = b"".join(os.fsencode(image) + b"\n" for image in images)
    environment = {**os.environ, **reader.environment}
    environment.pop("CRNN_MODEL", None)
    # an empty folder has no model.safetensors that would replace the bundled model
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.run(
            reader.command(lines), input=stdin, capture_output=True, cwd=folder, env=environment
        )
        seconds = time.perf_counter() - start
    if process.returncode:
        message = b"\n".join(process.stderr.strip().splitlines()[-3:]).decode("utf-8", "replace")
        raise SystemExit(f"{reader.name}: exit status {process.returncode}: {message}")
    output = process.stdout.decode("utf-8", "surrogateescape")
    texts, after_start = reader.parse(output, len(images))
    if len(texts) != len(images):
        raise SystemExit(
            f"{reader.name}: {len(texts):,} readings of {len(images):,} images: "
            "is one of several pages?"
        )
    return Reading(list(map(tidy, texts)), seconds, after_start)


def measure(
    readers: Sequence[Reader], samples: Sequence[Sample], lines: bool, rounds: int
) -> list[Row]:
    """Run every reader on the same images, in turn, for `rounds` rounds."""
    images = [sample.image for sample in samples]
    for image in images:
        image.read_bytes()  # so that no reader pays for a cold disk
    texts: dict[str, list[str]] = {}
    seconds: dict[str, list[float]] = {reader.name: [] for reader in readers}
    seconds_per_image: dict[str, list[float]] = {reader.name: [] for reader in readers}
    for _ in range(rounds):
        for reader in readers:
            reading = read(reader, images, lines)
            texts[reader.name] = reading.texts
            seconds[reader.name].append(reading.seconds)
            if reading.after_start is not None:
                seconds_per_image[reader.name].append(reading.after_start / len(images))
            elif len(images) > 1:
                remainder = reading.seconds - read(reader, images[:1], lines).seconds
                seconds_per_image[reader.name].append(remainder / (len(images) - 1))
    labels = [sample.text for sample in samples]
    rows = []
    for name in texts:
        row = score_reader(name, labels, texts[name], seconds[name], seconds_per_image[name])
        rows.append(row)
    return rows


def score_reader(
    name: str,
    labels: Sequence[str],
    texts: Sequence[str],
    seconds: list[float],
    seconds_per_image: Sequence[float],
) -> Row:
    """Return the rates and scores of one reader.

    Args:
        name: The name of the reader.
        labels: The labels of the images.
        texts: The readings of the images.
        seconds: The seconds of each whole run.
        seconds_per_image: The seconds without the start for each image, one value for each run;
            empty where they cannot be measured.
    """
    pairs = list(zip(labels, texts, strict=True))
    scores = score(pairs)
    alnum = score(pair for pair in pairs if alphanumeric(pair[0])).alphanumeric
    ceri = score((label.lower(), text.lower()) for label, text in pairs).cer
    median = statistics.median(seconds_per_image) if seconds_per_image else 0.0
    after_start = 1 / median if median > 0 else None
    rate = len(pairs) / statistics.median(seconds)
    return Row(name, rate, after_start, seconds, alnum, scores.exact, scores.cer, ceri)


def score_table(rows: Sequence[Row], count: int) -> str:
    """Format the rows of a set as Markdown."""
    heads = ("reader", "images", "images/s", "after start", "alnum", "exact", "CER", "CERi")
    cells = []
    for row in rows:
        after_start = "" if row.after_start is None else f"{row.after_start:.1f}"
        scores = map(percent, (row.alnum, row.exact, row.cer, row.ceri))
        cells.append([row.reader, f"{count:,}", f"{row.rate:.1f}", after_start, *scores])
    return markdown(heads, cells)


def ratio_table(rows: Sequence[Row]) -> str:
    """Format the ratios of our rates to those of the peers as Markdown; empty without peers."""
    peers: list[Row] = []
    models: list[Row] = []
    for row in rows:
        (peers if row.reader in PEERS else models).append(row)
    if not peers or not models:
        return ""
    cells = []
    for model in models:
        for peer in peers:
            pairs = (
                (model.rate, peer.rate),
                (model.after_start, peer.after_start),
                (model.rate, peer.after_start),
            )
            ratios = [f"{a / b:.2f}" if a and b else "" for a, b in pairs]
            cells.append([model.reader, peer.reader, *ratios])
    return markdown(("images/s of", "over", "whole process", "after start", "strict"), cells)


def percent(figure: Estimate) -> str:
    return f"{100 * figure.value:.2f} % ({100 * figure.low:.2f} to {100 * figure.high:.2f})"


def parse_arguments() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_data()
    parser.add_sets(default="those known")
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
    parser.add_limit()
    parser.add_rounds(1)
    parser.add_threads()
    parser.add_argument(
        "--tesseract-threads",
        type=positive,
        metavar="N",
        help="for Tesseract alone (default: same)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    threads = confine(options.threads)
    peers = options.peer or PEERS
    readers = list(map(crnn, options.model or [None]))
    if "tesseract" in peers:
        readers.append(tesseract(options.tesseract_threads or threads))
    if "rapidocr" in peers:
        readers.append(rapidocr(options.rapidocr_python, threads, options.rapidocr_batch))
    known_sets = [name for name in WORD_SETS + LINE_SETS if (options.data / name).is_dir()]
    names = options.sets or known_sets
    if not names:
        raise SystemExit(f"{options.data}: none of the sets known is here: name one with --set")
    machine = machine_record(threads)
    software = f"{machine['processor']}, {threads} core(s), Python {machine['python']}"
    print(f"{software}; rounds: {options.rounds}\n")
    for reader in readers:
        print(f"- {reader.name}: {reader.version}")
    report: dict[str, Any] = {
        "machine": machine,
        "rounds": options.rounds,
        "versions": {reader.name: reader.version for reader in readers},
        "sets": [],
    }
    for name in names:
        report["sets"].append(compare(name, readers, options))
        if options.json:
            options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def compare(name: str, readers: Sequence[Reader], options: argparse.Namespace) -> dict[str, object]:
    """Run every reader on a set, print the tables, and return the figures."""
    lines = name in LINE_SETS or name in options.lines
    samples = labelled(options.data / name, options.limit)
    left_out = sum(not alphanumeric(sample.text) for sample in samples)
    rows = measure(readers, samples, lines, options.rounds)
    kind = "lines" if lines else "words"
    print(f"\n## {name} ({kind}; {left_out:,} labels left out of alnum)\n")
    tables = filter(None, (score_table(rows, len(samples)), ratio_table(rows)))
    print("\n".join(tables), end="", flush=True)
    return {
        "name": name,
        "lines": lines,
        "images": len(samples),
        "left_out": left_out,
        "readers": list(map(asdict, rows)),
    }


if __name__ == "__main__":
    main()
