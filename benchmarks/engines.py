"""What runs our networks fastest on a CPU, at which loss, and how near that is to what the machine can do.

    python benchmarks/engines.py DATA --set iiit5k_train --model base [--limit 1000]

Every engine reads the same batches of like widths, all in one process and in turn, in rounds of which the first does
not count; only networks are timed, and only greedy decoding follows.

torch              the model file, all cores for one batch; bf16: under autocast
ONNX Runtime       the exported fp32 and int8 (`crnn export --int8`), a batch a core at once, as `crnn predict` does
OpenVINO           the same two files where openvino is installed, a stream a core; bf16: its precision hint; "int8,
                   bf16": the 8-bit file with that hint, so that its recurrence is in bfloat16

GFLOP/s counts two for every multiplication of convolutions, recurrences and linear layers, of the images' own widths
without padding. "of peak" is its share of a matrix product of 2,048 x 2,048 in the same precision by torch (for fp32 by
numpy, if that is faster), on as many cores, measured in the same rounds; int8, with fp32 recurrences, against int8.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from decoding import formed
from numpy.typing import NDArray
from readers import confine, labelled, markdown, positive, processor, tidy
from torch import nn

from crnn_cli import checkpoint, runners, weights
from crnn_cli.core.codec import Codec
from crnn_cli.core.decoding import best_labels
from crnn_cli.core.metrics import alphanumeric
from crnn_cli.core.model import CRNN

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]
Outputs = tuple[NDArray[np.float32], NDArray[np.int64]]
Network = Callable[[NDArray[np.uint8], NDArray[np.int64]], Outputs]
SIDE = 2048


class Engine:
    """A network that is given `parallel` batches at once. `precision` names the peak that it is held against."""

    def __init__(self, name: str, precision: str, network: Network, parallel: int) -> None:
        self.name, self.precision, self._network = name, precision, network
        self._pool = ThreadPoolExecutor(parallel)

    def __call__(self, batches: Sequence[Batch]) -> list[Outputs]:
        return list(self._pool.map(lambda batch: self._network(*batch), batches))


def with_torch(model: CRNN, precision: str) -> Engine:
    @torch.inference_mode()
    def network(pixels: NDArray[np.uint8], widths: NDArray[np.int64]) -> Outputs:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            log_probs, frames = model(torch.from_numpy(pixels), torch.from_numpy(widths))
        return log_probs.numpy(), frames.numpy()

    return Engine(f"torch {precision}", precision, network, 1)


def with_onnx(path: Path, precision: str) -> Engine:
    runner = runners.load(path, "cpu")
    return Engine(f"ONNX Runtime {precision}", precision, runner, runner.parallel)


def with_openvino(path: Path, name: str, cores: int) -> Engine:
    import openvino

    core = openvino.Core()
    hint = "bf16" if "bf16" in name else "f32"
    settings = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": cores,
        "NUM_STREAMS": cores,
    }
    compiled = core.compile_model(core.read_model(path), "CPU", settings)
    outputs = [compiled.output(name) for name in ("log_probs", "frames")]

    def network(pixels: NDArray[np.uint8], widths: NDArray[np.int64]) -> Outputs:
        found = compiled.create_infer_request().infer({"images": pixels, "widths": widths})
        log_probs, frames = (found[output] for output in outputs)
        return log_probs, frames

    return Engine(f"OpenVINO {name}", name.partition(",")[0], network, cores)


def peak(precision: str) -> float:
    """GFLOP/s of a matrix product."""
    if precision == "int8":
        a = torch.randint(-128, 128, (SIDE, SIDE), dtype=torch.int8)
        product: Any = torch._int_mm
    else:
        a = torch.randn(SIDE, SIDE, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
        product = torch.mm
    b = a.t().contiguous()
    products: list[Callable[[], object]] = [lambda: product(a, b)]
    if precision == "fp32":
        products.append(lambda: a.numpy() @ b.numpy())
    times = []
    for own in (*products, *products, *products):
        start = time.perf_counter()
        own()
        times.append(time.perf_counter() - start)
    return 2 * SIDE**3 / min(times) / 1e9


def operations(model: CRNN, batches: Sequence[Batch]) -> float:
    """Multiplications and additions for all images, by their own widths."""
    total = 0.0

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += 2 * output.numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.LSTM | nn.GRU):
            matrices = [own for name, own in layer.named_parameters() if name.startswith("weight")]
            total += 2 * inputs[0].shape[:2].numel() * sum(own.numel() for own in matrices)
        elif isinstance(layer, nn.Linear):
            total += 2 * inputs[0].shape[:-1].numel() * layer.weight.numel()

    handles = [layer.register_forward_hook(count) for layer in model.modules()]
    with torch.inference_mode():
        for width in (width for _, widths in batches for width in widths.tolist()):
            model(
                torch.zeros((1, model.config.channels, model.config.height, width)),
                torch.tensor([width]),
            )
    for handle in handles:
        handle.remove()
    return total


def compare(name: str, folder: Path, given: argparse.Namespace, cores: int) -> None:
    model = checkpoint.load_model(weights.path(given.model))[0].eval()
    batches, labels = formed(labelled(folder, given.limit), model.config)
    files = {suffix: weights.path(given.model, [suffix]) for suffix in (".onnx", ".int8.onnx")}
    engines = [with_torch(model, "fp32"), with_torch(model, "bf16")]
    engines += [with_onnx(files[".onnx"], "fp32"), with_onnx(files[".int8.onnx"], "int8")]
    if importlib.util.find_spec("openvino") is not None:
        engines += [with_openvino(files[".onnx"], name, cores) for name in ("fp32", "bf16")]
        engines += [
            with_openvino(files[".int8.onnx"], name, cores) for name in ("int8", "int8, bf16")
        ]
    codec, work = Codec.of(model.config), operations(model, batches)
    seconds: dict[str, list[float]] = {engine.name: [] for engine in engines}
    peaks: dict[str, list[float]] = {"fp32": [], "bf16": [], "int8": []}
    texts: dict[str, list[str]] = {}
    for round_ in range(given.rounds + 1):
        for engine in engines:
            start = time.perf_counter()
            outputs = engine(batches)
            if round_:
                seconds[engine.name].append(time.perf_counter() - start)
            texts[engine.name] = [
                codec.decode(own) for both in outputs for own in best_labels(*both)
            ]
        for precision, found in peaks.items():
            found.append(peak(precision))
    print(
        f"\n## {given.model} on {name}: {len(labels):,} images, {work / len(labels) / 1e9:.3f} GFLOP each\n"
    )
    print(
        "Peak, GFLOP/s: "
        + ", ".join(f"{name} {statistics.median(own):,.0f}" for name, own in peaks.items())
        + ".\n"
    )
    first = seconds["ONNX Runtime fp32"]
    rows = []
    for engine in engines:
        own = seconds[engine.name]
        middle = statistics.median(own)
        ratio = statistics.median(a / b for a, b in zip(first, own, strict=True))
        rate = work / middle / 1e9
        pairs = [(tidy(a), tidy(b)) for a, b in zip(labels, texts[engine.name], strict=True)]
        plain = [(alphanumeric(a), alphanumeric(b)) for a, b in pairs]
        rows.append(
            (
                engine.name,
                f"{1000 * middle / len(labels):.3f}",
                f"{ratio:.2f}",
                f"{rate:,.0f}",
                f"{rate / statistics.median(peaks[engine.precision]):.0%}",
                *(f"{sum(a == b for a, b in some) / len(some):.2%}" for some in (pairs, plain)),
            )
        )
    heads = ("engine", "ms/image", "to ONNX Runtime fp32", "GFLOP/s", "of peak", "exact", "alnum")
    print(markdown(heads, rows), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--set",
        action="append",
        help="folder under DATA; may be given again (default iiit5k_train)",
    )
    parser.add_argument("--model", default="base", help="one that comes with crnn (default base)")
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="take N images of a set, at equal distances"
    )
    parser.add_argument(
        "--rounds", type=positive, default=5, metavar="N", help="medians of N rounds (default 5)"
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="use N cores (default: all)")
    given = parser.parse_args()
    cores = confine(given.threads)
    torch.set_num_threads(cores)
    print(
        f"machine: {processor()}, {cores} core(s); torch {torch.__version__}; medians of {given.rounds} rounds"
    )
    for name in given.set or ["iiit5k_train"]:
        compare(name, given.data / name, given, cores)


if __name__ == "__main__":
    main()
