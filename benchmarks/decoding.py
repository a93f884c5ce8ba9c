r"""Compare our decoders with other packages on the same log-probabilities: accuracy and time.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/decoding.py DATA \
        --peers-python /opt/ctc/bin/python
    python benchmarks/decoding.py DATA --set icdar2015_train --limit 500 --lexicon words.txt \
        --plot beams.svg

DATA holds one folder for each set, with `labels.tsv` (path<TAB>text) and `images/`. The model reads
each image once, in the batches that `crnn predict` forms; its log-probabilities go to all decoders.
Everything runs on one core: in each of `--rounds` rounds the forward pass, our decoders and the
peers all take their turn, after one round that does not count. Times are medians over rounds,
ratios are medians of the ratios in a round; "to ours" above 1 is slower than we are.

ours        `Decoder` with all that it does for `crnn predict`: spans and confidences of characters,
            P(text | image) and, within a lexicon alone, the proof that no word is likelier. It gets
            batches, and a new one is built in each round: the states of its grammar, which it
            builds when it reaches them, count; the more images, the less they do.
ours, bare  `best_labels` or `beam_search` alone: texts only, as the peers return them.
ours, one by one  `Decoder` without batches, to show the gain of batches.

The peers run in a separate interpreter, because one of them needs another numpy than we do. They
get one image after the other, as their interfaces require, and measure their time themselves. A
package that is not installed there is left out, with a message:

    python3.11 -m venv /opt/ctc
    /opt/ctc/bin/pip install pyctcdecode fast-ctc-decode flashlight-text kenlm

pyctcdecode      Python. Its defaults: labels below e^-5 at a frame (`token_min_logp`) and beams
                 e^-10 below the best (`beam_prune_logp`) are dropped. Its language models and word
                 lists consist of words, and exclude nothing.
fast-ctc-decode  Rust. `beam_cut_threshold` e^-5, as in pyctcdecode (less than 1 / K is allowed);
                 "defaults": 0. `viterbi_search` is its greedy decoder. Neither knows lexicons or
                 language models.
flashlight-text  C++, which torchaudio's `ctc_decoder` wraps. Ten labels and the blank at a frame
                 (`beam_size_token`), as in our decoder; `beam_threshold` 10; `log_add`, so that the
                 paths of a text are summed, as in all the others. "defaults": torchaudio's, all
                 labels, 50, the best path alone. Its beam counts a prefix that ends in a blank and
                 in its last label as two, and so does pyctcdecode's. Its lexicon decoder strings
                 words together; here every word ends in an additional token, to which only a frame
                 that is appended at the end gives any probability, so that it reads one word, as we
                 do. With kenlm it takes the ARPA file of our language model.

The lexicon is `--lexicon` (a word on each line, with a count or without; default: the common
English words that come with the package), every word as it stands, capitalised and in capitals, and
the labels of the set, so that each image can be read. The language model is one of characters, of
the same words without the labels, at the default weight and without a bonus for each character,
which the peers lack.

"exact" and "alnum" are shares of texts as in `readers.py`; "same" is the share of texts equal to
ours under the same limits and beam; "log P" is the mean of log P(text | image) over all CTC paths
(`crnn_cli.core.decoding.score`); "likelier, less" are the numbers of images for which a text unlike
ours has more or less of what the search maximises: log P and the terms of the lexicon, the language
model and the pattern (a text that they exclude has no probability). `--plot` needs matplotlib.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
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
from bench import (
    Parser,
    Sample,
    confine,
    equal_share,
    labelled,
    machine_record,
    markdown,
    median_ratio,
    positive,
    take_turns,
    tidy,
)
from numpy.typing import NDArray

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
    Scaled,
    beam_search,
    best_labels,
    score,
)
from crnn_cli.core.decoding.lexicon_automaton import LexiconAutomaton
from crnn_cli.core.decoding.pattern import Pattern
from crnn_cli.core.metrics import alphanumeric
from crnn_cli.data import batching, images
from crnn_cli.reading.options import ReadOptions
from crnn_cli.runners import Runner
from crnn_cli.synth.corpus import BUILT_IN, AlphabetFilter, read_words

OURS = "ours"
BARE = "ours, bare"
ONE_BY_ONE = "ours, one by one"
LIMITS = ("none", "lexicon", "lm", "lexicon+lm", "lexicon+lm+pattern")
LM_WEIGHT = DecodeOptions.lm_weight
BEAM_WIDTHS = (1, 2, 4, 8, 16, 32, 64)
PATTERN = r"re:[!-~]+( [!-~]+)*"
GREEDY = 0  # in place of a beam

LogProbBatches = list[tuple[Floats, Integers]]  # (N, T, K) log-probabilities and (N,) true lengths
ImageBatches = list[tuple[NDArray[np.uint8], Integers]]  # (N, C, H, W) images and (N,) widths
Decode = Callable[[Floats, Integers], Iterable[Iterable[int]]]  # labels of each image


class Key(NamedTuple):
    """The identity of a decoder: one of LIMITS, its name, its beam or GREEDY."""

    limits: str
    name: str
    beam: int


class Timing(NamedTuple):
    """The seconds that a decoder took for all images, and the texts."""

    seconds: float
    texts: list[str]


@dataclass(frozen=True)
class Task:
    """The input of all decoders.

    Attributes:
        codec: The codec of the model.
        temperature: The temperature of the model.
        labels: The labels of the images, in the order of `batches`.
        batches: Batches of images (N, C, H, W) and their widths (N,).
        log_probs: The log-probabilities of these batches.
        single_log_probs: The same log-probabilities in batches of one image.
        words: The words of the lexicon, as labels.
        model: A language model of characters.
        pattern: The pattern that all texts match.
    """

    codec: Codec
    temperature: float
    labels: list[str]
    batches: ImageBatches
    log_probs: LogProbBatches
    single_log_probs: LogProbBatches
    words: list[list[int]]
    model: ngrams.NgramModel
    pattern: str


@dataclass(frozen=True)
class Row:
    """The figures of a decoder.

    Attributes:
        limits: One of LIMITS.
        name: The name of the decoder.
        beam: Its beam, or GREEDY.
        seconds: The seconds of each round, over all images.
        milliseconds: The median for each image.
        to_ours: The ratio of its time to that of our decoder with the same limits and beam.
        to_forward: The ratio of its time to that of the forward pass.
        exact: The share of texts that equal their label.
        alnum: The same share in lower case, of letters and digits alone.
        same: The share of texts that equal ours.
        log_p: The mean of log P(text | image).
        likelier: The number of images with a likelier text than ours; see the top of this file.
        less: The number of images with a less likely text than ours.
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
    """The other packages in their interpreter, which ends with the `with` block.

    Attributes:
        versions: The versions of the packages that are installed there.
        skipped: The reasons for which others are left out.
    """

    def __init__(self, python: str, folder: Path) -> None:
        path = shutil.which(python)
        if path is None:
            raise SystemExit(f"{python}: no such interpreter: name one with --peers-python")
        self._errors: IO[str] = (folder / "errors").open("w+", encoding="utf-8")
        script = Path(__file__).resolve().with_name("peers_ctc.py")
        self._process = subprocess.Popen(
            [str(Path(path).absolute()), str(script), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
        )
        packages = self._receive()
        self.versions: dict[str, str] = packages["versions"]
        self.skipped: dict[str, str] = packages["skipped"]

    def __enter__(self) -> Peers:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._errors.close()

    def decode(self) -> dict[Key, Timing]:
        """Let each decoder read all images once."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return {Key(*key): Timing(seconds, texts) for *key, seconds, texts in self._receive()}

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise SystemExit(f"the peers ended: {' '.join(self._errors.read().splitlines()[-1:])}")
        return json.loads(line)


def form_batches(samples: Sequence[Sample], config: ModelConfig) -> tuple[ImageBatches, list[str]]:
    """Return batches of similar widths, and the labels of their images in order."""
    lines = []
    for sample in samples:
        image = images.decode(sample.image.read_bytes(), config.channels, str(sample.image))
        lines.append(images.to_height(image, config.scaling))
    widths = [line.shape[2] for line in lines]
    batches: ImageBatches = []
    labels = []
    for indices in batching.plan(widths, config.height, ReadOptions.batch_size):
        batches.append(batching.collate([lines[index] for index in indices]))
        labels += [samples[index].text for index in indices]
    return batches, labels


def prepare(samples: Sequence[Sample], runner: Runner, lexicon: Path, pattern: str) -> Task:
    """Read the images once, and prepare the limits of the readings."""
    config = runner.config
    codec = Codec.of(config)
    batches, labels = form_batches(samples, config)
    words = cased_words(lexicon, AlphabetFilter(config.alphabet))
    readable_labels = [label for label in labels if label and not codec.unknown(label)]
    log_probs = [runner(*batch) for batch in batches]
    single_log_probs = []
    for batch_log_probs, frames in log_probs:
        for index, image_log_probs in enumerate(batch_log_probs):
            length = frames[index : index + 1]
            single_log_probs.append((image_log_probs[None, : length[0]], length))
    return Task(
        codec,
        config.temperature,
        labels,
        batches,
        log_probs,
        single_log_probs,
        list(map(codec.encode, dict.fromkeys([*words, *readable_labels]))),
        ngrams.estimate(words),
        pattern,
    )


def cased_words(path: Path, alphabetic: AlphabetFilter) -> list[str]:
    """Return the words of a list as they stand, capitalised and in capitals, without repeats."""
    forms: dict[str, None] = {}
    for word in read_words(path, alphabetic)[0]:
        forms.update(dict.fromkeys((word, word.capitalize(), word.upper())))
    return list(filter(alphabetic.has, forms))


def grammar(task: Task, limits: str) -> Grammar:
    """Build the grammar that `Decoder` builds for the same limits."""
    automata: list[Automaton] = []
    if "lexicon" in limits:
        automata.append(LexiconAutomaton(task.words, task.codec.classes))
    if "pattern" in limits:
        automata.append(Pattern(task.pattern, task.codec.alphabet.characters))
    if "lm" in limits:
        automata.append(Scaled(LanguageModel(task.model, task.codec.alphabet), LM_WEIGHT))
    return Grammar(task.codec.classes, automata)


def full_decoder(task: Task, key: Key) -> Decode:
    """Build a `Decoder` with the limits and the beam of `key`."""
    options = DecodeOptions("beam", key.beam, lm_bonus=0.0) if key.beam else DecodeOptions()
    if "pattern" in key.limits:
        options = replace(options, pattern=task.pattern)
    words = task.words if "lexicon" in key.limits else None
    language = LanguageModel(task.model, task.codec.alphabet) if "lm" in key.limits else None
    decoder = Decoder(task.codec, task.temperature, options, words, language)
    return lambda log_probs, frames: [texts[0].labels for texts in decoder(log_probs, frames)]


def bare_decoder(task: Task, key: Key) -> Decode:
    """Build the search alone."""
    if key.beam == GREEDY:
        return best_labels
    limits = grammar(task, key.limits)

    def search(log_probs: Floats, frames: Integers) -> list[tuple[int, ...]]:
        found = beam_search(log_probs, frames, limits, key.beam)
        return [texts[0].labels if texts else () for texts in found]

    return search


def time_decoder(task: Task, key: Key) -> Timing:
    """Build a decoder of ours and time it over all images."""
    decode = (bare_decoder if key.name == BARE else full_decoder)(task, key)
    batches = task.single_log_probs if key.name == ONE_BY_ONE else task.log_probs
    gc.collect()
    start = time.perf_counter()
    texts = [task.codec.decode(labels) for batch in batches for labels in decode(*batch)]
    return Timing(time.perf_counter() - start, texts)


def measure(
    task: Task, runner: Runner, peers: Peers, options: argparse.Namespace
) -> tuple[list[float], list[Row]]:
    """Return the seconds of the forward pass in each round, and a row for each decoder."""
    forward: list[float] = []

    def read_batches() -> dict[Key, Timing]:
        start = time.perf_counter()
        for batch in task.batches:
            runner(*batch)
        forward.append(time.perf_counter() - start)
        return {}

    def run_our_decoders() -> dict[Key, Timing]:
        return {key: time_decoder(task, key) for key in our_keys(options)}

    turns = {"forward": read_batches, "ours": run_our_decoders, "peers": peers.decode}
    results = take_turns(turns, options.rounds)
    seconds: dict[Key, list[float]] = {}
    texts: dict[Key, list[str]] = {}
    for result in (*results["ours"], *results["peers"]):
        for key, timing in result.items():
            seconds.setdefault(key, []).append(timing.seconds)
            texts[key] = timing.texts
    grammars = {limits: grammar(task, limits) for limits in LIMITS}
    scores = {key: score_texts(task, grammars[key.limits], texts[key]) for key in texts}
    forward = forward[1:]  # without the round that does not count

    def rank(key: Key) -> tuple[int, int, bool]:
        return LIMITS.index(key.limits), key.beam, not key.name.startswith(OURS)

    keys = sorted(texts, key=rank)
    return forward, [row(key, task.labels, seconds, forward, texts, scores) for key in keys]


def our_keys(options: argparse.Namespace) -> list[Key]:
    """Return the identities of our decoders in the order in which they run."""
    keys = []
    for beam in (GREEDY, *options.widths):
        keys += [Key("none", OURS, beam), Key("none", BARE, beam)]
    for beam in (GREEDY, options.beam):
        keys.append(Key("none", ONE_BY_ONE, beam))
    for limits in LIMITS[1:]:
        keys += [Key(limits, OURS, options.beam), Key(limits, BARE, options.beam)]
    return keys


def score_texts(task: Task, limits: Grammar, texts: Sequence[str]) -> list[tuple[float, float]]:
    """Return log P(text | image) of each text, and that plus the terms of its limits."""
    scores: list[tuple[float, float]] = []
    for log_probs, frames in task.log_probs:
        batch_texts = texts[len(scores) : len(scores) + len(frames)]
        labels = list(map(task.codec.encode, batch_texts))
        for log_p, label in zip(score(log_probs, frames, labels).tolist(), labels, strict=True):
            scores.append((log_p, log_p + limits.weigh(label)))
    return scores


def row(
    key: Key,
    labels: Sequence[str],
    seconds: dict[Key, list[float]],
    forward: Sequence[float],
    texts: dict[Key, list[str]],
    scores: dict[Key, list[tuple[float, float]]],
) -> Row:
    """Compute the figures of a decoder, with `Decoder` under the same limits as the reference."""
    reference = key._replace(name=OURS)
    row_texts = list(map(tidy, texts[key]))
    alnum_pairs = zip(map(alphanumeric, labels), map(alphanumeric, row_texts), strict=True)
    likelier = 0
    less = 0
    for row_score, reference_score in zip(scores[key], scores[reference], strict=True):
        likelier += row_score[1] > reference_score[1]
        less += row_score[1] < reference_score[1]
    return Row(
        *key,
        seconds[key],
        1000 * statistics.median(seconds[key]) / len(labels),
        median_ratio(seconds[key], seconds[reference]),
        median_ratio(seconds[key], forward),
        equal_share(zip(labels, row_texts, strict=True)),
        equal_share(pair for pair in alnum_pairs if pair[0]),
        equal_share(zip(row_texts, map(tidy, texts[reference]), strict=True)),
        statistics.mean(log_p for log_p, _ in scores[key]),
        likelier,
        less,
    )


def decoder_table(rows: Sequence[Row], beam: int) -> str:
    """Format the greedy decoders and those with one beam as Markdown."""
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
        "likelier, less",
    )
    cells = []
    for row in rows:
        if row.beam in (GREEDY, beam):
            shares = [f"{100 * share:.2f} %" for share in (row.exact, row.alnum, row.same)]
            times = [f"{row.milliseconds:.3f}", f"{row.to_ours:.2f}", f"{row.to_forward:.3f}"]
            name = [row.limits, row.name, str(row.beam or "greedy")]
            cells.append(
                [*name, *times, *shares, f"{row.log_p:.4f}", f"{row.likelier}, {row.less}"]
            )
    return markdown(heads, cells)


def curves(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each decoder that was run with several beams and without limits."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.limits == "none" and row.beam:
            found.setdefault(row.name, []).append(row)
    return {name: curve for name, curve in found.items() if len(curve) > 1}


def curve_table(rows: Sequence[Row]) -> str:
    """Format time and exact accuracy for each beam as Markdown."""
    lines = curves(rows)
    if not lines:
        return ""
    beams = [str(row.beam) for row in lines.get(OURS, [])]
    cells = []
    for name, curve in lines.items():
        figures = [f"{row.milliseconds:.3f} ms, {100 * row.exact:.2f} %" for row in curve]
        cells.append([name, *figures])
    return markdown(("beam", *beams), cells)


def plot(sets: Sequence[tuple[str, float, list[Row]]], path: Path) -> None:
    """Plot exact accuracy and time against beam width, with a row of panels for each set.

    Args:
        sets: The name, the milliseconds of the forward pass and the rows of each set.
        path: The file to write; its suffix names the format.
    """
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        len(sets), 2, figsize=(9, 3.2 * len(sets)), squeeze=False, sharex=True, layout="constrained"
    )
    for (name, forward, rows), (left, right) in zip(sets, panels, strict=True):
        exact = []
        for (decoder, curve), marker in zip(curves(rows).items(), cycle("os^vD")):
            beams = [row.beam for row in curve]
            shares = [100 * row.exact for row in curve]
            times = [row.milliseconds for row in curve]
            exact += shares
            left.plot(beams, shares, marker=marker, label=decoder, alpha=0.8)
            right.plot(beams, times, marker=marker, label=decoder, alpha=0.8)
        right.axhline(forward, color="grey", linestyle=":", label="forward pass")
        limits = (min(exact) - 1, max(exact) + 1)
        left.set(title=name, xlabel="beam", ylabel="exact, %", xscale="log", ylim=limits)
        right.set(title=name, xlabel="beam", ylabel="ms an image", xscale="log", yscale="log")
        for panel in (left, right):
            beams = [row.beam for row in curves(rows).get(OURS, [])]
            panel.set_xticks(beams, labels=list(map(str, beams)))
            panel.minorticks_off()
            panel.grid(alpha=0.3)
    handles, labels = panels[0][1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize="small")
    figure.savefig(path)


def parse_arguments() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_data()
    parser.add_sets(default="iiit5k_train")
    parser.add_argument("--model", default="base", help="left to right (default base)")
    parser.add_argument(
        "--peers-python",
        default=sys.executable,
        metavar="PATH",
        help="interpreter that has the peers",
    )
    parser.add_limit()
    parser.add_argument("--beam", type=positive, default=16, help="of the comparison (default 16)")
    parser.add_argument(
        "--widths", type=positive, nargs="*", default=BEAM_WIDTHS, help="beams of the curve"
    )
    parser.add_argument(
        "--lexicon", type=Path, default=BUILT_IN, metavar="FILE", help="words (default: built in)"
    )
    parser.add_argument(
        "--pattern", default=PATTERN, help=f"see `crnn predict --pattern` (default {PATTERN})"
    )
    parser.add_rounds(5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_plot("accuracy and time by beam")
    options = parser.parse_args()
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install matplotlib")
    options.widths = sorted({options.beam, *options.widths})
    return options


def compare(name: str, runner: Runner, options: argparse.Namespace) -> dict[str, Any]:
    """Run every decoder on the set `name`, print the tables, and return the figures."""
    samples = labelled(options.data / name, options.limit)
    task = prepare(samples, runner, options.lexicon, options.pattern)
    gc.freeze()  # no decoder pays for the data of this script
    with tempfile.TemporaryDirectory() as folder:
        write_peers_task(task, options, Path(folder))
        with Peers(options.peers_python, Path(folder)) as peers:
            forward, rows = measure(task, runner, peers, options)
    count = len(task.labels)
    milliseconds = 1000 * statistics.median(forward) / count
    versions = ", ".join(f"{peer} {version}" for peer, version in peers.versions.items())
    sizes = f"{count:,} images, {len(task.words):,} words, {len(task.model):,} n-grams"
    print(f"\n## {name}: {sizes}\n")
    print(f"Forward pass of {options.model}: {milliseconds:.3f} ms/image.")
    print(f"Peers: {versions or 'none'}.")
    for peer, reason in peers.skipped.items():
        print(f"Left out: {peer} ({reason}).")
    print(f"\n{decoder_table(rows, options.beam)}\n{curve_table(rows)}", end="", flush=True)
    return {
        "name": name,
        "images": count,
        "words": len(task.words),
        "forward": forward,
        "peers": peers.versions,
        "skipped": peers.skipped,
        "rows": rows,
    }


def write_peers_task(task: Task, options: argparse.Namespace, folder: Path) -> None:
    """Write the files that `peers_ctc.py` reads."""
    frames = [log_probs[0] for log_probs, _ in task.single_log_probs]
    lengths = list(map(len, frames))
    np.savez(folder / "log_probs.npz", frames=np.concatenate(frames), lengths=lengths)
    settings = {
        "alphabet": task.codec.alphabet.characters,
        "beam": options.beam,
        "widths": options.widths,
        "words": task.words,
        "weight": LM_WEIGHT,
    }
    (folder / "task.json").write_text(json.dumps(settings), encoding="utf-8")
    text = "".join(f"{line}\n" for line in arpa.to_arpa(task.model))
    (folder / "lm.arpa").write_text(text, encoding="utf-8")


def main() -> None:
    options = parse_arguments()
    confine(1)
    runner = runners.load(weights.path(options.model, weights.suffixes_for("cpu")), "cpu")
    machine = machine_record(1)
    software = f"{machine['processor']}, 1 core, Python {machine['python']}"
    print(f"{software}; rounds: {options.rounds}")
    sets = []
    for name in options.sets or ["iiit5k_train"]:
        sets.append(compare(name, runner, options))
        if options.json:
            write_report(sets, machine, options)
    if options.plot:
        panels = []
        for figures in sets:
            milliseconds = 1000 * statistics.median(figures["forward"]) / figures["images"]
            panels.append((figures["name"], milliseconds, figures["rows"]))
        plot(panels, options.plot)


def write_report(
    sets: Sequence[dict[str, Any]],
    machine: dict[str, str | int],
    options: argparse.Namespace,
) -> None:
    plain_sets = []
    for figures in sets:
        rows = list(map(asdict, figures["rows"]))
        plain_sets.append(figures | {"rows": rows})
    report = {
        "machine": machine,
        "model": options.model,
        "rounds": options.rounds,
        "sets": plain_sets,
    }
    options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
