r"""The lexicon table of Shi, Bai and Yao (arXiv 1507.05717, table 2), and its figure 4, on our models.

    python benchmarks/lexicons.py DATA --set iiit5k_train --set svt_train --lexicon DATA/wordlists/lexicon_90k.txt \
        --plot docs/delta.svg

DATA holds a folder a set, with `labels.tsv` (path<TAB>text) and `images/`. Accuracy is case-insensitive and
alphanumeric, as in `readers.py`, over the images whose label has such characters. "none" is greedy decoding. "50" and
"1000" are lexicons of an image's own, as the benchmarks have them: its word and distractors drawn from the other words
of its set by `--seed` (all of them where the set has fewer, marked +). `--lexicon` is one for all images; "covered"
says how many of the set's words it has, and so what can be read at all. Words are in small letters, and read in any
case. Each lexicon is searched strictly and for every `--delta`, the words within so many edits of the greedy reading.

The network runs once; times are of decoding alone, in batches as `crnn predict` forms them, on one core, as medians
over `--rounds`, beside the network's own time. "proven": for how many images the strict search has proven that no word
is likelier; of an image's own list it always has.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from readers import confine, labelled, markdown, processor

from crnn_cli import runners
from crnn_cli.config import DecodeOptions
from crnn_cli.core.codec import Codec
from crnn_cli.core.decoding import Decoder, Floats, Integers
from crnn_cli.core.metrics import alphanumeric
from crnn_cli.data import batching, images
from crnn_cli.data.lexicon_file import read_lexicon
from crnn_cli.reading import recognizer

SIZES = (50, 1000)

Make = Callable[[], Decoder]


@dataclass(frozen=True)
class Heard:
    """What the network says of a set.

    Attributes:
        words: of each image, its label in small letters, 0-9 and a-z alone.
        batches: places of images, their log-probabilities (N, T, K) and frames (N,).
        seconds: of the network.
    """

    words: list[str]
    batches: list[tuple[list[int], Floats, Integers]]
    seconds: float


@dataclass(frozen=True)
class Row:
    """A lexicon under a search: the share of images right, proven (strict alone), milliseconds an image."""

    lexicon: str
    search: str
    right: float
    proven: float | None
    milliseconds: float

    def cells(self) -> tuple[str, ...]:
        proven = "" if self.proven is None else f"{self.proven:.1%}"
        return self.lexicon, self.search, f"{self.right:.2%}", proven, f"{self.milliseconds:.2f}"


def listen(folder: Path, runner: runners.Runner, limit: int | None) -> Heard:
    """What the network says of the images of a folder whose label has letters or digits."""
    samples = [sample for sample in labelled(folder, limit) if alphanumeric(sample.text)]
    config = runner.config
    pixels = [
        images.decode(sample.image.read_bytes(), config.channels, str(sample.image))
        for sample in samples
    ]
    lines = [images.to_height(image, config.scaling) for image in pixels]
    started = time.perf_counter()
    batches = [
        (batch, *runner(*batching.collate([lines[place] for place in batch])))
        for batch in batching.plan([line.shape[2] for line in lines], config.height, 64)
    ]
    return Heard(
        [alphanumeric(sample.text) for sample in samples], batches, time.perf_counter() - started
    )


def own_lexicons(words: Sequence[str], size: int, seed: int) -> dict[str, list[str]]:
    """By the place of each image, its word and `size` - 1 distractors from the other words of its set."""
    every = sorted(set(words))
    found = {}
    for place, word in enumerate(words):
        drawn = random.Random(f"{seed} {place}").sample(every, min(len(every), size))
        found[str(place)] = [word, *(other for other in drawn if other != word)][:size]
    return found


def searches(
    codec: Codec,
    words: Sequence[Sequence[int]] | None,
    own: Mapping[str, Sequence[str]] | None,
    deltas: Sequence[int],
) -> Iterator[tuple[str, Make]]:
    """The name of each search of a lexicon, and what makes its decoder."""
    each = (
        None
        if own is None
        else {name: [codec.encode(word) for word in listed] for name, listed in own.items()}
    )
    for delta in (None, *deltas):
        options = DecodeOptions(ignore_case=True, delta=delta)
        make = _maker(codec, options, words, each)
        yield ("strict" if delta is None else f"delta {delta}"), make


def _maker(
    codec: Codec,
    options: DecodeOptions,
    words: Sequence[Sequence[int]] | None,
    own: Mapping[str, Sequence[Sequence[int]]] | None,
) -> Make:
    return lambda: Decoder(codec, 1.0, options, words, None, own)


def measure(heard: Heard, codec: Codec, make: Make, lexicon: str, search: str, rounds: int) -> Row:
    """One search over a set, by a decoder that is made anew each round, outside the clock."""
    texts, seconds = [""] * len(heard.words), []
    unproven = 0
    for _ in range(rounds):
        unproven = 0
        decoder = make()
        started = time.perf_counter()
        for batch, log_probs, frames in heard.batches:
            readings = decoder(log_probs, frames, [str(place) for place in batch])
            for place, own in zip(batch, readings, strict=True):
                texts[place] = codec.decode(own[0].labels)
                unproven += own[0].lexicon == "unproven"
        seconds.append(time.perf_counter() - started)
    count = len(texts)
    right = sum(alphanumeric(text) == word for text, word in zip(texts, heard.words, strict=True))
    proven = 1 - unproven / count if search == "strict" else None
    return Row(lexicon, search, right / count, proven, 1000 * statistics.median(seconds) / count)


def compare(heard: Heard, codec: Codec, given: argparse.Namespace) -> Iterator[Row]:
    """Every lexicon under every search."""
    yield measure(heard, codec, lambda: Decoder(codec), "none", "greedy", given.rounds)
    distinct = len(set(heard.words))
    for size in SIZES:
        own = own_lexicons(heard.words, size, given.seed)
        name = f"{min(size, distinct):,}" + ("+" if distinct < size else "")
        for search, make in searches(codec, None, own, given.delta):
            yield measure(heard, codec, make, name, search, given.rounds)
    if given.lexicon is not None:
        words, _ = read_lexicon(given.lexicon, codec)
        known = {alphanumeric(codec.decode(word)) for word in words}
        covered = sum(word in known for word in heard.words) / len(heard.words)
        for search, make in searches(codec, words, None, given.delta):
            yield measure(
                heard, codec, make, f"{len(words):,} ({covered:.1%} covered)", search, given.rounds
            )


def plot(sets: Mapping[str, Sequence[Row]], path: Path) -> None:
    """Accuracy and time against delta, for the lexicon of all images; the suffix of `path` names the format."""
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for name, rows in sets.items():
        last = rows[-1].lexicon
        own = [row for row in rows if row.lexicon == last]
        near = [row for row in own if row.search != "strict"]
        deltas = [int(row.search.removeprefix("delta ")) for row in near]
        (strict,) = [row for row in own if row.search == "strict"]
        (line,) = above.plot(deltas, [100 * row.right for row in near], marker="o", label=name)
        above.axhline(100 * strict.right, color=line.get_color(), linestyle=":")
        below.plot(
            deltas,
            [row.milliseconds for row in near],
            marker="o",
            color=line.get_color(),
            label=name,
        )
        below.axhline(strict.milliseconds, color=line.get_color(), linestyle=":")
    given = range(1, 1 + max(deltas))
    above.set(
        xticks=given, xlabel="delta, edits", ylabel="words right, %", title="dotted: strict search"
    )
    below.set(
        xticks=given, xlabel="delta, edits", ylabel="ms an image", title="decoding on one core"
    )
    above.legend()
    figure.savefig(path)
    pyplot.close(figure)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", action="append", help="folder of DATA (repeatable)")
    parser.add_argument("--model", default="base")
    parser.add_argument("--lexicon", type=Path, help="a word a line")
    parser.add_argument("--delta", type=int, action="append", help="repeatable; default: 1 2 3")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="images of each set, at equal distances")
    parser.add_argument("--seed", type=int, default=0, help="of the distractors")
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    given.set = given.set or ["iiit5k_train", "svt_train", "icdar2003_train"]
    given.delta = given.delta or [1, 2, 3]
    return given


def main() -> None:
    given = arguments()
    confine(1)
    runner = runners.load(recognizer.find_model(given.model, "cpu")[0], "cpu")
    codec = Codec.of(runner.config)
    print(f"{given.model}, one core of {processor()}")
    sets: dict[str, list[Row]] = {}
    for name in given.set:
        heard = listen(given.data / name, runner, given.limit)
        sets[name] = list(compare(heard, codec, given))
        count = len(heard.words)
        print(
            f"\n`{name}`: {count:,} images, the network {1000 * heard.seconds / count:.2f} ms an image\n"
        )
        heads = ("lexicon", "search", "right", "proven", "ms an image")
        print(markdown(heads, [row.cells() for row in sets[name]]), flush=True)
    if given.plot is not None:
        plot(sets, given.plot)


if __name__ == "__main__":
    main()
