r"""Measure the lexicon table of Shi, Bai and Yao (arXiv 1507.05717) and its figure 4 on our models.

    python benchmarks/lexicons.py DATA --set iiit5k_train --set svt_train \
        --lexicon DATA/wordlists/lexicon_90k.txt --plot docs/delta.svg

It is their table 2. DATA holds one folder for each set, with `labels.tsv` (path<TAB>text) and
`images/`. Accuracy is case-insensitive and alphanumeric, as in `readers.py`, over the images whose
label has such characters. "none" is greedy decoding. "50" and "1000" are lexicons for single
images, as the benchmarks have them: the word of the image and distractors drawn from the other
words of its set by `--seed` (all of them where the set has fewer, marked +). `--lexicon` is one for
all images; "covered" is the share of the set's words that it has, and so the share that can be read
at all. Words are in small letters, and read in any case. Each lexicon is searched strictly and for
every `--delta`, the words within so many edits of the greedy reading.

The network runs once; times are those of decoding alone, in the batches that `crnn predict` forms,
on one core, as medians over `--rounds`, beside the time of the network. "proven": the share of
images for which the strict search has proven that no word is likelier; with lexicons for single
images that is all of them.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import Parser, confine, equal_share, labelled, markdown, processor

from crnn_cli import runners
from crnn_cli.config import DecodeOptions
from crnn_cli.core.codec import Codec
from crnn_cli.core.decoding import Decoder, Floats, Integers
from crnn_cli.core.metrics import alphanumeric
from crnn_cli.data import batching, images
from crnn_cli.data.lexicon_file import read_lexicon
from crnn_cli.reading import recognizer

DEFAULT_SETS = ("iiit5k_train", "svt_train", "icdar2003_train")
LEXICON_SIZES = (50, 1000)

BuildDecoder = Callable[[], Decoder]


@dataclass(frozen=True)
class NetworkOutput:
    """The output of the network for a set.

    Attributes:
        words: The label of each image in small letters, 0-9 and a-z alone.
        batches: The indices of images, their log-probabilities (N, T, K) and frames (N,).
        seconds: The seconds that the network took.
    """

    words: list[str]
    batches: list[tuple[list[int], Floats, Integers]]
    seconds: float


@dataclass(frozen=True)
class Row:
    """The figures of a lexicon under a search.

    Attributes:
        lexicon: The name of the lexicon.
        search: The name of the search.
        right: The share of images that are read right.
        proven: The share of images whose reading is proven the likeliest; strict search alone.
        milliseconds: The milliseconds for each image.
    """

    lexicon: str
    search: str
    right: float
    proven: float | None
    milliseconds: float

    def cells(self) -> tuple[str, ...]:
        proven = "" if self.proven is None else f"{self.proven:.1%}"
        return self.lexicon, self.search, f"{self.right:.2%}", proven, f"{self.milliseconds:.2f}"


def run_network(folder: Path, runner: runners.Runner, limit: int | None) -> NetworkOutput:
    """Run the network on the images of a folder whose label has letters or digits."""
    samples = [sample for sample in labelled(folder, limit) if alphanumeric(sample.text)]
    config = runner.config
    lines = []
    for sample in samples:
        image = images.decode(sample.image.read_bytes(), config.channels, str(sample.image))
        lines.append(images.to_height(image, config.scaling))
    start = time.perf_counter()
    batches = []
    for indices in batching.plan([line.shape[2] for line in lines], config.height, 64):
        batch = batching.collate([lines[index] for index in indices])
        batches.append((indices, *runner(*batch)))
    seconds = time.perf_counter() - start
    return NetworkOutput([alphanumeric(sample.text) for sample in samples], batches, seconds)


def image_lexicons(words: Sequence[str], size: int, seed: int) -> dict[str, list[str]]:
    """Return the word of each image and `size` - 1 distractors from its set, by image index."""
    vocabulary = sorted(set(words))
    lexicons = {}
    for index, word in enumerate(words):
        drawn = random.Random(f"{seed} {index}").sample(vocabulary, min(len(vocabulary), size))
        distractors = [other for other in drawn if other != word]
        lexicons[str(index)] = [word, *distractors][:size]
    return lexicons


def searches(
    codec: Codec,
    words: Sequence[Sequence[int]] | None,
    lexicons: Mapping[str, Sequence[str]] | None,
    deltas: Sequence[int],
) -> Iterator[tuple[str, BuildDecoder]]:
    """Yield the name of each search of a lexicon, and a function that builds its decoder.

    Args:
        codec: The codec of the model.
        words: A lexicon for all images, as labels, or None.
        lexicons: A lexicon for each image, by image index, or None.
        deltas: The distances in edits to search beside the strict search.
    """
    labels: dict[str, list[list[int]]] | None = None
    if lexicons is not None:
        labels = {}
        for name, lexicon in lexicons.items():
            labels[name] = list(map(codec.encode, lexicon))
    for delta in (None, *deltas):
        options = DecodeOptions(ignore_case=True, delta=delta)
        name = "strict" if delta is None else f"delta {delta}"
        yield name, partial(Decoder, codec, 1.0, options, words, None, labels)


def measure(
    output: NetworkOutput,
    codec: Codec,
    build_decoder: BuildDecoder,
    lexicon: str,
    search: str,
    rounds: int,
) -> Row:
    """Time one search over a set, with a new decoder in each round that is built off the clock."""
    texts = [""] * len(output.words)
    seconds = []
    unproven = 0
    for _ in range(rounds):
        unproven = 0
        decoder = build_decoder()
        start = time.perf_counter()
        for indices, log_probs, frames in output.batches:
            readings = decoder(log_probs, frames, [str(index) for index in indices])
            for index, hypotheses in zip(indices, readings, strict=True):
                texts[index] = codec.decode(hypotheses[0].labels)
                unproven += hypotheses[0].lexicon == "unproven"
        seconds.append(time.perf_counter() - start)
    count = len(texts)
    right = equal_share(zip(map(alphanumeric, texts), output.words, strict=True))
    proven = 1 - unproven / count if search == "strict" else None
    return Row(lexicon, search, right, proven, 1000 * statistics.median(seconds) / count)


def compare(output: NetworkOutput, codec: Codec, options: argparse.Namespace) -> Iterator[Row]:
    """Yield a row for every lexicon under every search."""
    yield measure(output, codec, lambda: Decoder(codec), "none", "greedy", options.rounds)
    distinct = len(set(output.words))
    for size in LEXICON_SIZES:
        lexicons = image_lexicons(output.words, size, options.seed)
        name = f"{min(size, distinct):,}" + ("+" if distinct < size else "")
        for search, build_decoder in searches(codec, None, lexicons, options.delta):
            yield measure(output, codec, build_decoder, name, search, options.rounds)
    if options.lexicon is not None:
        words, _ = read_lexicon(options.lexicon, codec)
        vocabulary = {alphanumeric(codec.decode(word)) for word in words}
        covered = sum(word in vocabulary for word in output.words) / len(output.words)
        name = f"{len(words):,} ({covered:.1%} covered)"
        for search, build_decoder in searches(codec, words, None, options.delta):
            yield measure(output, codec, build_decoder, name, search, options.rounds)


def plot(sets: Mapping[str, Sequence[Row]], path: Path) -> None:
    """Plot accuracy and time against delta, for the last lexicon; the suffix names the format."""
    from matplotlib import pyplot

    figure, (accuracy_panel, time_panel) = pyplot.subplots(
        1, 2, figsize=(9, 3.5), layout="constrained"
    )
    for name, rows in sets.items():
        deltas = []
        shares = []
        times = []
        for row in rows:
            if row.lexicon != rows[-1].lexicon:
                continue
            if row.search == "strict":
                strict = row
            else:
                deltas.append(int(row.search.removeprefix("delta ")))
                shares.append(100 * row.right)
                times.append(row.milliseconds)
        (line,) = accuracy_panel.plot(deltas, shares, marker="o", label=name)
        color = line.get_color()
        accuracy_panel.axhline(100 * strict.right, color=color, linestyle=":")
        time_panel.plot(deltas, times, marker="o", color=color, label=name)
        time_panel.axhline(strict.milliseconds, color=color, linestyle=":")
    ticks = range(1, 1 + max(deltas))
    accuracy_panel.set(xticks=ticks, ylabel="words right, %", title="dotted: strict search")
    time_panel.set(xticks=ticks, ylabel="ms an image", title="decoding on one core")
    for panel in (accuracy_panel, time_panel):
        panel.set_xlabel("delta, edits")
    accuracy_panel.legend()
    figure.savefig(path)
    pyplot.close(figure)


def parse_arguments() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_data()
    parser.add_sets(default=", ".join(DEFAULT_SETS))
    parser.add_argument("--model", default="base")
    parser.add_argument("--lexicon", type=Path, help="a word a line")
    parser.add_argument("--delta", type=int, action="append", help="repeatable; default: 1 2 3")
    parser.add_rounds(3)
    parser.add_limit()
    parser.add_argument("--seed", type=int, default=0, help="of the distractors")
    parser.add_plot("accuracy and time by delta")
    options = parser.parse_args()
    options.delta = options.delta or [1, 2, 3]
    return options


def main() -> None:
    options = parse_arguments()
    confine(1)
    runner = runners.load(recognizer.find_model(options.model, "cpu")[0], "cpu")
    codec = Codec.of(runner.config)
    print(f"{options.model}, one core of {processor()}")
    heads = ("lexicon", "search", "right", "proven", "ms an image")
    sets: dict[str, list[Row]] = {}
    for name in options.sets or DEFAULT_SETS:
        output = run_network(options.data / name, runner, options.limit)
        sets[name] = list(compare(output, codec, options))
        count = len(output.words)
        milliseconds = 1000 * output.seconds / count
        print(f"\n`{name}`: {count:,} images, the network {milliseconds:.2f} ms an image\n")
        print(markdown(heads, [row.cells() for row in sets[name]]), flush=True)
    if options.plot is not None:
        plot(sets, options.plot)


if __name__ == "__main__":
    main()
