"""Our decoders beside those of other packages, on the same log-probabilities: text, its probability, time an image.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/decoding.py DATA --peers-python /opt/ctc/bin/python
    python benchmarks/decoding.py DATA --set icdar2015_train --limit 500 --lexicon words.txt --plot beams.svg

DATA holds a folder a set, with `labels.tsv` (path<TAB>text) and `images/`. The model reads each image once, in batches
as `crnn predict` forms them; its log-probabilities go to all decoders. Everything runs on one core: in each of
`--rounds` rounds the forward pass, our decoders and the peers all take their turn, after one round that does not count.
Times are medians over rounds, ratios medians of the ratios in a round; "to ours" above 1 is slower than we are.

ours        `Decoder` with all that it does for `crnn predict`: spans and confidences of characters, P(text | image) and
            within a lexicon alone the proof that no word is likelier. It gets batches, and is made anew each round:
            the states of its grammar, which it makes as it comes to them, count; the more images, the less they do.
ours, bare  `best_labels` or `beam_search` alone: texts only, as the peers give.
ours, one by one  `Decoder` without batches: what they are worth.

The peers run in an interpreter of their own, as one asks for another numpy than we do. They get one image after the
other, as their interfaces have it, and clock themselves. What is not installed there is left out, and said:

    python3.11 -m venv /opt/ctc && /opt/ctc/bin/pip install pyctcdecode fast-ctc-decode flashlight-text kenlm

pyctcdecode      Python. Its defaults: labels below e^-5 at a frame (`token_min_logp`) and beams e^-10 below the best
                 (`beam_prune_logp`) are dropped. Its language models and word lists are of words, and bar nothing.
fast-ctc-decode  Rust. `beam_cut_threshold` e^-5, as pyctcdecode has it (less than 1 / K is allowed); "defaults": 0.
                 `viterbi_search` is its greedy decoder. Neither knows lexicons or language models.
flashlight-text  C++, what torchaudio's `ctc_decoder` wraps. Ten labels and the blank at a frame (`beam_size_token`), as
                 we do; `beam_threshold` 10; `log_add`, so that the paths of a text are summed, as all others do.
                 "defaults": torchaudio's, all labels, 50, the best path alone. Its beam counts a prefix that ends in a
                 blank and in its last label as two, pyctcdecode's too. Its lexicon decoder strings words together; here
                 every word ends in a token of its own, to which only a frame that is added at the end gives any
                 probability, so that it reads one word, as we do. With kenlm it takes our language model's ARPA file.

The lexicon is `--lexicon` (a word a line, with a count or without; default: the common English words that come with the
package), every word as it stands, capitalised and in capitals, and the labels of the set, so that each image can be
read. The language model is one of characters, of the same words without the labels, at the default weight and without
a bonus for each character, which the peers lack.

"exact" and "alnum" are shares of texts as in `readers.py`; "same" of texts equal to ours under the same limits and
beam; "log P" is the mean of log P(text | image) over all CTC paths (`crnn_cli.core.decoding.score`); "likelier, less"
are the images for which a text unlike ours has more or less of what the search looks for: log P and what the lexicon,
the language model and the pattern add (a text that they bar: no probability). `--plot` needs matplotlib.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from readers import Sample, confine, labelled, markdown, positive, processor, tidy

from crnn_cli import runners, weights
from crnn_cli.config import DecodeOptions, ModelConfig
from crnn_cli.core import arpa, ngrams
from crnn_cli.core.codec import Codec
from crnn_cli.core.decoding import (
    Automaton,
    Decoder,
    Floats,
    Grammar,
    Integers,
    LanguageModel,
    Lexicon,
    Pattern,
    Scaled,
    beam_search,
    best_labels,
    score,
)
from crnn_cli.core.metrics import alphanumeric
from crnn_cli.data import batching, images
from crnn_cli.reading.pipeline import ReadOptions
from crnn_cli.runners import Runner
from crnn_cli.synth.corpus import BUILT_IN, Alphabetic, read_words

OURS, BARE, SINGLY = "ours", "ours, bare", "ours, one by one"
LIMITS = ("none", "lexicon", "lm", "lexicon+lm", "lexicon+lm+pattern")
WEIGHT = DecodeOptions.lm_weight
WIDTHS = (1, 2, 4, 8, 16, 32, 64)
PATTERN = r"re:[!-~]+( [!-~]+)*"
GREEDY = 0  # as a beam

Batches = list[tuple[Floats, Integers]]  # (N, T, K) log-probabilities and (N,) true lengths of each
Images = list[tuple[NDArray[np.uint8], Integers]]  # (N, C, H, W) and (N,) widths of each
Decode = Callable[[Floats, Integers], Iterable[Iterable[int]]]  # labels of each image

# Runs where the peers are installed, and imports nothing of ours. argv: the folder with task.json, log_probs.npz and
# lm.arpa. stdout: a line of JSON with what is there and what is not; then, for every line on stdin, one with
# [limits, name, beam, seconds, texts] of each decoder.
PEERS = """
import gc, json, logging, math, sys, time
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

import numpy as np

logging.disable(logging.CRITICAL)
folder = Path(sys.argv[1])
task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
alphabet, beam, words = task["alphabet"], task["beam"], task["words"]
classes = len(alphabet) + 1
stored = np.load(folder / "log_probs.npz")
log_probs = [np.ascontiguousarray(own) for own in np.split(stored["frames"], np.cumsum(stored["lengths"])[:-1])]
versions, skipped, decoders = {}, {}, {}


def add(limits, name, width, decode, data):
    decoders[limits, name, width] = decode, data


def pyctcdecode():
    from pyctcdecode import build_ctcdecoder

    decoder = build_ctcdecoder(["", *alphabet])
    for width in task["widths"]:
        add("none", "pyctcdecode", width, lambda row, width=width: decoder.decode(row, beam_width=width), log_probs)


def fast_ctc_decode():
    from fast_ctc_decode import beam_search, viterbi_search

    symbols, rows = "-" + alphabet, [np.exp(row) for row in log_probs]
    cut = min(math.exp(-5), 0.9 / classes)
    add("none", "fast-ctc-decode", 0, lambda row: viterbi_search(row, symbols)[0], rows)
    for width in task["widths"]:
        add("none", "fast-ctc-decode", width, lambda row, width=width: beam_search(row, symbols, width, cut)[0], rows)
    add("none", "fast-ctc-decode, defaults", beam, lambda row: beam_search(row, symbols, beam)[0], rows)


def flashlight_text():
    from flashlight.lib.text import decoder as flashlight

    ctc, end = flashlight.CriterionType.CTC, classes

    def reader(decoder):
        def text(row):
            tokens = decoder.decode(row.ctypes.data, *row.shape)[0].tokens
            return "".join(alphabet[token - 1] for token, _ in groupby(tokens) if 0 < token < classes)

        return text

    def free(width, tokens, threshold, log_add, lm, weight):
        options = flashlight.LexiconFreeDecoderOptions(width, tokens, threshold, weight, 0.0, log_add, ctc)
        return reader(flashlight.LexiconFreeDecoder(options, lm, 0, 0, []))

    def within(lm, weight, of_tokens):
        options = flashlight.LexiconDecoderOptions(beam, 11, 10.0, weight, 0.0, -math.inf, 0.0, True, ctc)
        return reader(flashlight.LexiconDecoder(options, trie, lm, end, 0, 0, [], of_tokens))

    zero = flashlight.ZeroLM()
    for width in task["widths"]:
        add("none", "flashlight-text", width, free(width, 11, 10.0, True, zero, 0.0), log_probs)
    add("none", "flashlight-text, defaults", beam, free(beam, classes, 50.0, False, zero, 0.0), log_probs)

    trie = flashlight.Trie(classes + 1, 0)
    for number, word in enumerate(words):
        trie.insert([*word, end], number, 0.0)
    ended = []
    for row in log_probs:
        longer = np.full((len(row) + 1, classes + 1), -1e9, np.float32)
        longer[:-1, :-1], longer[-1, -1] = row, 0
        ended.append(longer)
    add("lexicon", "flashlight-text", beam, within(zero, 0.0, False), ended)

    try:
        import kenlm
        from flashlight.lib.text.decoder.kenlm import KenLM
        from flashlight.lib.text.dictionary import Dictionary

        versions["kenlm"] = version("kenlm")
    except ImportError as fault:
        skipped["flashlight-text with a language model"] = f"kenlm: {fault}"
        return
    tokens = ["<unk>", *("<space>" if character == " " else character for character in alphabet), "</s>"]
    lm, weight = KenLM(str(folder / "lm.arpa"), Dictionary(tokens)), task["weight"] * math.log(10)
    add("lm", "flashlight-text", beam, free(beam, 11, 10.0, True, lm, weight), log_probs)
    add("lexicon+lm", "flashlight-text", beam, within(lm, weight, True), ended)


for offer in (pyctcdecode, fast_ctc_decode, flashlight_text):
    name = offer.__name__.replace("_", "-")
    try:
        offer()
        versions[name] = version(name)
    except Exception as fault:
        skipped[name] = f"{type(fault).__name__}: {fault}"
print(json.dumps({"versions": versions, "skipped": skipped}), flush=True)
gc.freeze()
for _ in sys.stdin:
    answer = []
    for key, (decode, rows) in decoders.items():
        gc.collect()
        start = time.perf_counter()
        texts = [decode(row) for row in rows]
        answer.append([*key, time.perf_counter() - start, texts])
    print(json.dumps(answer), flush=True)
"""


class Key(NamedTuple):
    """A decoder: one of LIMITS, its name, its beam or GREEDY."""

    limits: str
    name: str
    beam: int


@dataclass(frozen=True)
class Task:
    """What is decoded, and with what.

    Attributes:
        labels: of the images, in the order of `batches`.
        batches: (N, C, H, W) and (N,) each, images and widths.
        log_probs: what the model made of these. singly: the same, an image a batch.
        words: of the lexicon, as labels. model: of characters.
    """

    codec: Codec
    temperature: float
    labels: list[str]
    batches: Images
    log_probs: Batches
    singly: Batches
    words: list[list[int]]
    model: ngrams.NgramModel
    pattern: str


@dataclass(frozen=True)
class Row:
    """What a decoder did.

    Attributes:
        seconds: of each round, over all images.
        to_ours, to_forward: ratios of time, to our decoder of the same limits and beam, and to the forward pass.
        likelier, less: images; see the top of this file.
    """

    limits: str
    name: str
    beam: int
    seconds: list[float]
    milliseconds: float
    to_ours: float
    to_forward: float
    exact: float
    alnum: float
    same: float
    log_p: float
    likelier: int
    less: int


class Peers:
    """The other packages, in their interpreter.

    Attributes:
        versions: of those that are there. skipped: why others are not.
    """

    def __init__(self, python: str, folder: Path) -> None:
        found = shutil.which(python)
        if found is None:
            raise SystemExit(f"{python}: no such interpreter: name one with --peers-python")
        self._errors: IO[str] = (folder / "errors").open("w+", encoding="utf-8")
        command = [str(Path(found).absolute()), "-c", PEERS, str(folder)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
        )
        said = self._answer()
        self.versions: dict[str, str] = said["versions"]
        self.skipped: dict[str, str] = said["skipped"]

    def __enter__(self) -> Peers:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._errors.close()

    def decode(self) -> dict[Key, tuple[float, list[str]]]:
        """Seconds and texts of each, once over all images."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return {Key(*key): (seconds, texts) for *key, seconds, texts in self._answer()}

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise SystemExit(f"the peers ended: {' '.join(self._errors.read().splitlines()[-1:])}")
        return json.loads(line)


def formed(samples: Sequence[Sample], config: ModelConfig) -> tuple[Images, list[str]]:
    """Batches of like widths, and the labels of their images in order."""
    pixels = []
    for sample in samples:
        image = images.decode(sample.image.read_bytes(), config.channels, str(sample.image))
        pixels.append(images.to_height(image, config.scaling))
    plan = batching.plan([own.shape[2] for own in pixels], config.height, ReadOptions.batch_size)
    batches = [batching.collate([pixels[index] for index in batch]) for batch in plan]
    return batches, [samples[index].text for batch in plan for index in batch]


def prepare(samples: Sequence[Sample], runner: Runner, lexicon: Path, pattern: str) -> Task:
    """The images read once, and what limits the readings."""
    config, codec = runner.config, Codec.of(runner.config)
    batches, labels = formed(samples, config)
    alphabetic = Alphabetic(config.alphabet)
    words = read_words(lexicon, alphabetic)[0]
    forms = dict.fromkeys(
        form for word in words for form in (word, word.capitalize(), word.upper())
    )
    known = [form for form in forms if alphabetic.has(form)]
    allowed = dict.fromkeys(
        [*known, *(label for label in labels if label and not codec.unknown(label))]
    )
    log_probs = [runner(*batch) for batch in batches]
    rows = [(own, frames[k : k + 1]) for batch, frames in log_probs for k, own in enumerate(batch)]
    return Task(
        codec,
        config.temperature,
        labels,
        batches,
        log_probs,
        [(own[None, : frames[0]], frames) for own, frames in rows],
        [codec.encode(word) for word in allowed],
        ngrams.estimate(known),
        pattern,
    )


def grammar(task: Task, limits: str) -> Grammar:
    """What `Decoder` makes of the same limits."""
    automata: list[Automaton] = []
    if "lexicon" in limits:
        automata.append(Lexicon(task.words, task.codec.classes))
    if "pattern" in limits:
        automata.append(Pattern(task.pattern, task.codec.alphabet.characters))
    if "lm" in limits:
        automata.append(Scaled(LanguageModel(task.model, task.codec.alphabet), WEIGHT))
    return Grammar(task.codec.classes, automata)


def whole(task: Task, key: Key) -> Decode:
    """`Decoder`."""
    options = DecodeOptions("beam", key.beam, lm_bonus=0.0) if key.beam else DecodeOptions()
    if "pattern" in key.limits:
        options = replace(options, pattern=task.pattern)
    words = task.words if "lexicon" in key.limits else None
    language = LanguageModel(task.model, task.codec.alphabet) if "lm" in key.limits else None
    decoder = Decoder(task.codec, task.temperature, options, words, language)
    return lambda log_probs, frames: [own[0].labels for own in decoder(log_probs, frames)]


def bare(task: Task, key: Key) -> Decode:
    """The search alone."""
    if key.beam == GREEDY:
        return best_labels
    limits = grammar(task, key.limits)

    def search(log_probs: Floats, frames: Integers) -> list[tuple[int, ...]]:
        found = beam_search(log_probs, frames, limits, key.beam)
        return [own[0].labels if own else () for own in found]

    return search


def timed(task: Task, key: Key) -> tuple[float, list[str]]:
    """Seconds and texts of a decoder of ours, made anew."""
    decode = (bare if key.name == BARE else whole)(task, key)
    batches = task.singly if key.name == SINGLY else task.log_probs
    gc.collect()
    start = time.perf_counter()
    texts = [task.codec.decode(own) for batch in batches for own in decode(*batch)]
    return time.perf_counter() - start, texts


def measure(
    task: Task, runner: Runner, peers: Peers, given: argparse.Namespace
) -> tuple[list[float], list[Row]]:
    """Seconds of the forward pass in each round, and a row a decoder."""
    keys = [Key("none", name, beam) for beam in (GREEDY, *given.widths) for name in (OURS, BARE)]
    keys += [Key("none", SINGLY, beam) for beam in (GREEDY, given.beam)]
    keys += [Key(limits, name, given.beam) for limits in LIMITS[1:] for name in (OURS, BARE)]
    forward: list[float] = []
    seconds: dict[Key, list[float]] = {}
    texts: dict[Key, list[str]] = {}
    for round_ in range(given.rounds + 1):
        start = time.perf_counter()
        for batch in task.batches:
            runner(*batch)
        forward.append(time.perf_counter() - start)
        results = {key: timed(task, key) for key in keys}
        results |= peers.decode()
        for key, (own, texts[key]) in results.items():
            if round_:
                seconds.setdefault(key, []).append(own)
    grammars = {limits: grammar(task, limits) for limits in LIMITS}
    worth = {key: objective(task, grammars[key.limits], own) for key, own in texts.items()}
    ranked = sorted(
        texts, key=lambda key: (LIMITS.index(key.limits), key.beam, not key.name.startswith(OURS))
    )
    return forward[1:], [
        row(key, task.labels, seconds, forward[1:], texts, worth) for key in ranked
    ]


def objective(task: Task, limits: Grammar, texts: Sequence[str]) -> list[tuple[float, float]]:
    """Of each text log P(text | image), and that with what its limits add."""
    found: list[tuple[float, float]] = []
    for log_probs, frames in task.log_probs:
        labels = [task.codec.encode(text) for text in texts[len(found) : len(found) + len(frames)]]
        sure = score(log_probs, frames, labels).tolist()
        found += [(own, own + limits.weigh(label)) for own, label in zip(sure, labels, strict=True)]
    return found


def row(
    key: Key,
    labels: Sequence[str],
    seconds: dict[Key, list[float]],
    forward: Sequence[float],
    texts: dict[Key, list[str]],
    worth: dict[Key, list[tuple[float, float]]],
) -> Row:
    """The figures of a decoder beside `Decoder` under the same limits."""
    ours, own = key._replace(name=OURS), [tidy(text) for text in texts[key]]
    pairs = list(zip(map(alphanumeric, labels), map(alphanumeric, own), strict=True))
    changes = [
        mine[1] - theirs[1]
        for mine, theirs in zip(worth[key], worth[ours], strict=True)
        if mine != theirs
    ]
    return Row(
        *key,
        seconds[key],
        1000 * statistics.median(seconds[key]) / len(labels),
        median_ratio(seconds[key], seconds[ours]),
        median_ratio(seconds[key], forward),
        share(zip(labels, own, strict=True)),
        share(pair for pair in pairs if pair[0]),
        share(zip(own, map(tidy, texts[ours]), strict=True)),
        statistics.mean(sure for sure, _ in worth[key]),
        sum(change > 0 for change in changes),
        sum(change < 0 for change in changes),
    )


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def share(pairs: Iterable[tuple[str, str]]) -> float:
    """Of pairs whose sides are equal."""
    equal = [a == b for a, b in pairs]
    return sum(equal) / max(1, len(equal))


def table(rows: Sequence[Row], beam: int) -> str:
    """Greedy decoders, and those with one beam, as Markdown."""
    heads = (
        "limits",
        "decoder",
        "beam",
        "ms/image",
        "to ours",
        "to forward",
        "exact",
        "alnum",
        "same",
        "log P",
    )
    cells = [
        [
            row.limits,
            row.name,
            str(row.beam or "greedy"),
            f"{row.milliseconds:.3f}",
            f"{row.to_ours:.2f}",
            f"{row.to_forward:.3f}",
            *(f"{100 * part:.2f} %" for part in (row.exact, row.alnum, row.same)),
            f"{row.log_p:.4f}",
            f"{row.likelier}, {row.less}",
        ]
        for row in rows
        if row.beam in (GREEDY, beam)
    ]
    return markdown((*heads, "likelier, less"), cells)


def curves(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Of each decoder that was run with several beams and without limits, its rows."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.limits == "none" and row.beam:
            found.setdefault(row.name, []).append(row)
    return {name: own for name, own in found.items() if len(own) > 1}


def curve_table(rows: Sequence[Row]) -> str:
    """Time and exact accuracy by beam, as Markdown."""
    lines = curves(rows)
    beams = [row.beam for row in lines.get(OURS, [])]
    cells = [
        [name, *(f"{row.milliseconds:.3f} ms, {100 * row.exact:.2f} %" for row in own)]
        for name, own in lines.items()
    ]
    return markdown(("beam", *map(str, beams)), cells) if cells else ""


def plot(sets: Sequence[tuple[str, float, list[Row]]], path: Path) -> None:
    """Exact accuracy and time against beam width, a row of panels a set; the suffix of `path` names the format.

    Args:
        sets: name, milliseconds of the forward pass, rows.
    """
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        len(sets), 2, figsize=(9, 3.2 * len(sets)), squeeze=False, sharex=True, layout="constrained"
    )
    for (name, forward, rows), (left, right) in zip(sets, panels, strict=True):
        for (decoder, own), marker in zip(curves(rows).items(), cycle("os^vD")):
            beams = [row.beam for row in own]
            left.plot(
                beams, [100 * row.exact for row in own], marker=marker, label=decoder, alpha=0.8
            )
            right.plot(
                beams, [row.milliseconds for row in own], marker=marker, label=decoder, alpha=0.8
            )
        right.axhline(forward, color="grey", linestyle=":", label="forward pass")
        exact = [100 * row.exact for own in curves(rows).values() for row in own]
        left.set(
            title=name,
            xlabel="beam",
            ylabel="exact, %",
            xscale="log",
            ylim=(min(exact) - 1, max(exact) + 1),
        )
        right.set(title=name, xlabel="beam", ylabel="ms an image", xscale="log", yscale="log")
        for panel in (left, right):
            beams = [row.beam for row in curves(rows).get(OURS, [])]
            panel.set_xticks(beams, labels=list(map(str, beams)))
            panel.minorticks_off()
            panel.grid(alpha=0.3)
    figure.legend(
        *panels[0][1].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=6,
        fontsize="small",
    )
    figure.savefig(path)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--set",
        action="append",
        help="folder under DATA; may be given again (default iiit5k_train)",
    )
    parser.add_argument("--model", default="base", help="left to right (default base)")
    parser.add_argument(
        "--peers-python",
        default=sys.executable,
        metavar="PATH",
        help="interpreter that has the peers",
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="take N images of a set, at equal distances"
    )
    parser.add_argument("--beam", type=positive, default=16, help="of the comparison (default 16)")
    parser.add_argument(
        "--widths", type=positive, nargs="*", default=WIDTHS, help="beams of the curve"
    )
    parser.add_argument(
        "--lexicon", type=Path, default=BUILT_IN, metavar="FILE", help="words (default: built in)"
    )
    parser.add_argument(
        "--pattern", default=PATTERN, help=f"see `crnn predict --pattern` (default {PATTERN})"
    )
    parser.add_argument(
        "--rounds", type=positive, default=5, metavar="N", help="medians of N rounds (default 5)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="write accuracy and time by beam as .svg or .png"
    )
    given = parser.parse_args()
    if given.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install matplotlib")
    given.widths = sorted({given.beam, *given.widths})
    return given


def compare(name: str, runner: Runner, given: argparse.Namespace) -> dict[str, Any]:
    """Every decoder on the set `name`; prints, and gives what it has found."""
    task = prepare(labelled(given.data / name, given.limit), runner, given.lexicon, given.pattern)
    gc.freeze()  # no decoder pays for what only this script holds
    with tempfile.TemporaryDirectory() as folder:
        hand_over(task, given, Path(folder))
        with Peers(given.peers_python, Path(folder)) as peers:
            forward, rows = measure(task, runner, peers, given)
    count, each = len(task.labels), 1000 * statistics.median(forward) / len(task.labels)
    print(
        f"\n## {name}: {count:,} images, {len(task.words):,} words, {len(task.model):,} n-grams\n"
    )
    print(f"Forward pass of {given.model}: {each:.3f} ms/image.")
    print(
        "Peers: "
        + (", ".join(f"{peer} {version}" for peer, version in peers.versions.items()) or "none")
        + "."
    )
    for peer, why in peers.skipped.items():
        print(f"Left out: {peer} ({why}).")
    print(f"\n{table(rows, given.beam)}\n{curve_table(rows)}", end="", flush=True)
    figures = {"name": name, "images": count, "words": len(task.words), "forward": forward}
    return figures | {"peers": peers.versions, "skipped": peers.skipped, "rows": rows}


def hand_over(task: Task, given: argparse.Namespace, folder: Path) -> None:
    """Write what the peers need."""
    frames = [own[0] for own, _ in task.singly]
    np.savez(
        folder / "log_probs.npz",
        frames=np.concatenate(frames),
        lengths=[len(own) for own in frames],
    )
    wanted = {
        "alphabet": task.codec.alphabet.characters,
        "beam": given.beam,
        "widths": given.widths,
    }
    wanted |= {"words": task.words, "weight": WEIGHT}
    (folder / "task.json").write_text(json.dumps(wanted), encoding="utf-8")
    text = "".join(f"{line}\n" for line in arpa.to_arpa(task.model))
    (folder / "lm.arpa").write_text(text, encoding="utf-8")


def main() -> None:
    given = arguments()
    confine(1)
    runner = runners.load(weights.path(given.model, weights.suffixes_for("cpu")), "cpu")
    machine = {"processor": processor(), "cores": 1, "python": platform.python_version()}
    print(f"{machine['processor']}, 1 core, Python {machine['python']}; rounds: {given.rounds}")
    sets = []
    for name in given.set or ["iiit5k_train"]:
        sets.append(compare(name, runner, given))
        if given.json:
            plain = [own | {"rows": [asdict(row) for row in own["rows"]]} for own in sets]
            report = {
                "machine": machine,
                "model": given.model,
                "rounds": given.rounds,
                "sets": plain,
            }
            given.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if given.plot:
        milliseconds = [1000 * statistics.median(own["forward"]) / own["images"] for own in sets]
        plot(
            [
                (own["name"], each, own["rows"])
                for own, each in zip(sets, milliseconds, strict=True)
            ],
            given.plot,
        )


if __name__ == "__main__":
    main()
