"""Times HRNet and Lite-HRNet in PyTorch: channels_last memory, bfloat16 by autocast."""

import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.torch_networks import NETWORKS, HighResolutionNet

STYLES = ("eager", "compile")
WARM_UP = 3  # calls, the first of which compiles and tunes


def measure(
    name: str, mode: str, batch: int, size: tuple[int, int], style: str, seconds: float
) -> dict:
    """Milliseconds and people per second of the network or of a training step with Adam."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    network = HighResolutionNet(**NETWORKS[name]).to(device, memory_format=torch.channels_last)
    images = torch.randn(batch, 3, *size, device=device)
    images = images.to(memory_format=torch.channels_last)
    call = {"forward": _forward, "train": _training}[mode](network, images, style, device)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    start = time.perf_counter()
    for _ in range(WARM_UP):
        call()
    wait()
    numbers = {"start_seconds": time.perf_counter() - start}
    times = []
    while len(times) < 3 or sum(times) < seconds:
        begin = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - begin)
    median = statistics.median(times)
    return numbers | {"ms": 1000 * median, "images_per_second": batch / median, "calls": len(times)}


def _forward(network, images, style, device) -> Callable:
    run = torch.compile(network.eval()) if style == "compile" else network.eval()

    def call():
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16):
            return run(images)

    return call


def _training(network, images, style, device) -> Callable:
    run = torch.compile(network.train()) if style == "compile" else network.train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=device == "cuda")
    height, width = images.shape[2] // 4, images.shape[3] // 4
    targets = torch.rand(len(images), network.final.out_channels, height, width, device=device)

    def call():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16):
            loss = 0.5 * (run(images).float() - targets).square().mean()
        loss.backward()
        optimizer.step()

    return call
