"""Compare the engines that run our networks on a CPU: speed, accuracy and share of the peak.

    python benchmarks/engines.py DATA --set iiit5k_train --model base [--limit 1000]

Every engine reads the same batches of similar widths, all in one process and in turn, in rounds of
which the first does not count; the times cover the networks alone, and only greedy decoding
follows.

torch              the model file, all cores for one batch; bf16: under autocast
ONNX Runtime       the exported fp32 and int8 (`crnn export --int8`), one batch on each core at
                   once, as in `crnn predict`
OpenVINO           the same two files where openvino is installed, one stream on each core; bf16:
                   its precision hint; "int8, bf16": the 8-bit file with that hint, so that its
                   recurrence is in bfloat16

GFLOP/s counts two operations for every multiplication of convolutions, recurrences and linear
layers, at the true widths of the images without padding. "of peak" is the share of a matrix product
of 2,048 x 2,048 in the same precision by torch (for fp32 by numpy, if that is faster), on as many
cores, measured in the same rounds; int8, with fp32 recurrences, is compared with int8.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench import (
    Parser,
    confine,
    equal_share,
    labelled,
    machine,
    markdown,
    median_ratio,
    take_turns,
    tidy,
)
from decoding import form_batches
from numpy.typing import NDArray
from torch import nn

from crnn_cli import checkpoint, runners, weights
from crnn_cli.core.codec import Codec
from crnn_cli.core.decoding import best_labels
from crnn_cli.core.metrics import alphanumeric
from crnn_cli.core.model import CRNN

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]
Outputs = tuple[NDArray[np.float32], NDArray[np.int64]]
Network = Callable[[NDArray[np.uint8], NDArray[np.int64]], Outputs]
Timing = tuple[float, list[Outputs]]  # seconds and outputs of all batches
PRECISIONS = ("fp32", "bf16", "int8")
REFERENCE = "ONNX Runtime fp32"
MATRIX_SIZE = 2048


class Engine:
    """A network that reads several batches at once.

    Attributes:
        name: The name in the table.
        precision: The precision of the peak with which it is compared.
    """

    def __init__(self, name: str, precision: str, network: Network, parallel: int) -> None:
        self.name = name
        self.precision = precision
        self._network = network
        self._pool = ThreadPoolExecutor(parallel)

    def time(self, batches: Sequence[Batch]) -> Timing:
        start = time.perf_counter()
        outputs = list(self._pool.map(lambda batch: self._network(*batch), batches))
        return time.perf_counter() - start, outputs


def torch_engine(model: CRNN, precision: str) -> Engine:
    @torch.inference_mode()
    def network(pixels: NDArray[np.uint8], widths: NDArray[np.int64]) -> Outputs:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            log_probs, frames = model(torch.from_numpy(pixels), torch.from_numpy(widths))
        return log_probs.numpy(), frames.numpy()

    return Engine(f"torch {precision}", precision, network, 1)


def onnx_engine(path: Path, precision: str) -> Engine:
    runner = runners.load(path, "cpu")
    return Engine(f"ONNX Runtime {precision}", precision, runner, runner.parallel)


def openvino_engine(path: Path, name: str, cores: int) -> Engine:
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if "bf16" in name else "f32",
        "INFERENCE_NUM_THREADS": cores,
        "NUM_STREAMS": cores,
    }
    compiled = core.compile_model(core.read_model(path), "CPU", settings)
    outputs = list(map(compiled.output, ("log_probs", "frames")))

    def network(pixels: NDArray[np.uint8], widths: NDArray[np.int64]) -> Outputs:
        results = compiled.create_infer_request().infer({"images": pixels, "widths": widths})
        log_probs, frames = (results[output] for output in outputs)
        return log_probs, frames

    return Engine(f"OpenVINO {name}", name.partition(",")[0], network, cores)


def peak(precision: str) -> float:
    """Return the GFLOP/s of a matrix product."""
    size = (MATRIX_SIZE, MATRIX_SIZE)
    if precision == "int8":
        a = torch.randint(-128, 128, size, dtype=torch.int8)
        product: Any = torch._int_mm
    else:
        a = torch.randn(*size, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
        product = torch.mm
    b = a.t().contiguous()
    products: list[Callable[[], object]] = [lambda: product(a, b)]
    if precision == "fp32":
        products.append(lambda: a.numpy() @ b.numpy())
    times = []
    for multiply in 3 * products:
        start = time.perf_counter()
        multiply()
        times.append(time.perf_counter() - start)
    return 2 * MATRIX_SIZE**3 / min(times) / 1e9


def count_operations(model: CRNN, batches: Sequence[Batch]) -> float:
    """Return the multiplications and additions for all images, at their true widths."""
    total = 0.0

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += 2 * output.numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.LSTM | nn.GRU):
            size = 0
            for name, parameter in layer.named_parameters():
                if name.startswith("weight"):
                    size += parameter.numel()
            total += 2 * inputs[0].shape[:2].numel() * size
        elif isinstance(layer, nn.Linear):
            total += 2 * inputs[0].shape[:-1].numel() * layer.weight.numel()

    handles = [layer.register_forward_hook(count) for layer in model.modules()]
    with torch.inference_mode():
        for _, widths in batches:
            for width in widths.tolist():
                image = torch.zeros((1, model.config.channels, model.config.height, width))
                model(image, torch.tensor([width]))
    for handle in handles:
        handle.remove()
    return total


def build_engines(name: str, model: CRNN, cores: int) -> list[Engine]:
    fp32_file = weights.path(name, [".onnx"])
    int8_file = weights.path(name, [".int8.onnx"])
    engines = [torch_engine(model, "fp32"), torch_engine(model, "bf16")]
    engines += [onnx_engine(fp32_file, "fp32"), onnx_engine(int8_file, "int8")]
    if importlib.util.find_spec("openvino") is not None:
        engines += [openvino_engine(fp32_file, hint, cores) for hint in ("fp32", "bf16")]
        engines += [openvino_engine(int8_file, hint, cores) for hint in ("int8", "int8, bf16")]
    return engines


def compare(name: str, folder: Path, options: argparse.Namespace, cores: int) -> None:
    """Run every engine on the set `name` and print its table."""
    model = checkpoint.load_model(weights.path(options.model))[0].eval()
    batches, labels = form_batches(labelled(folder, options.limit), model.config)
    engines = build_engines(options.model, model, cores)
    operations = count_operations(model, batches)
    turns: dict[str, Callable[[], Any]] = {}
    for engine in engines:
        turns[engine.name] = partial(engine.time, batches)
    for precision in PRECISIONS:
        turns[precision] = partial(peak, precision)
    results = take_turns(turns, options.rounds)
    peaks = {precision: statistics.median(results[precision]) for precision in PRECISIONS}
    gflop_per_image = operations / len(labels) / 1e9
    subject = f"{options.model} on {name}: {len(labels):,} images"
    print(f"\n## {subject}, {gflop_per_image:.3f} GFLOP each\n")
    peak_list = ", ".join(f"{precision} {rate:,.0f}" for precision, rate in peaks.items())
    print(f"Peak, GFLOP/s: {peak_list}.\n")
    codec = Codec.of(model.config)
    reference_seconds = [seconds for seconds, _ in results[REFERENCE]]
    rows = []
    for engine in engines:
        timings: list[Timing] = results[engine.name]
        seconds = [turn_seconds for turn_seconds, _ in timings]
        rate = operations / statistics.median(seconds) / 1e9
        figures = [
            f"{1000 * statistics.median(seconds) / len(labels):.3f}",
            f"{median_ratio(reference_seconds, seconds):.2f}",
            f"{rate:,.0f}",
            f"{rate / peaks[engine.precision]:.0%}",
        ]
        rows.append([engine.name, *figures, *accuracies(codec, labels, timings[-1][1])])
    heads = ("engine", "ms/image", f"to {REFERENCE}", "GFLOP/s", "of peak", "exact", "alnum")
    print(markdown(heads, rows), flush=True)


def accuracies(codec: Codec, labels: Sequence[str], outputs: Sequence[Outputs]) -> tuple[str, str]:
    """Return the shares of readings that are right, exactly and by letters and digits alone."""
    texts = []
    for log_probs, frames in outputs:
        texts += [tidy(codec.decode(label)) for label in best_labels(log_probs, frames)]
    labels = list(map(tidy, labels))
    plain_pairs = zip(map(alphanumeric, labels), map(alphanumeric, texts), strict=True)
    exact = equal_share(zip(labels, texts, strict=True))
    return f"{exact:.2%}", f"{equal_share(plain_pairs):.2%}"


def parse_arguments() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_data()
    parser.add_sets(default="iiit5k_train")
    parser.add_argument("--model", default="base", help="one that comes with crnn (default base)")
    parser.add_limit()
    parser.add_rounds(5)
    parser.add_threads()
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    cores = confine(options.threads)
    torch.set_num_threads(cores)
    software = f"{machine(cores)}; torch {torch.__version__}"
    print(f"machine: {software}; medians of {options.rounds} rounds")
    for name in options.sets or ["iiit5k_train"]:
        compare(name, options.data / name, options, cores)


if __name__ == "__main__":
    main()
