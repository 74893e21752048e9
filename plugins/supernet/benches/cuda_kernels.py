"""Times the kernels of `kernels/cuda/` beside what libtorch computes, on a CUDA device.

usage: cuda_kernels.py        (with PyTorch and CuPy)

Microseconds of a launch, and the bytes that it must read and write in that time. Depthwise convolutions are
held against PyTorch's too (the distance as a share). PyTorch chooses cuDNN's fastest algorithms first.
"""

import pathlib

import cupy
import numpy
import torch
from torch.nn import functional

FOLDER = pathlib.Path(__file__).parent.parent / "kernels/cuda"
SOURCE = "".join((FOLDER / f"{name}.cu").read_text() for name in ("numbers", "norms", "depthwise"))
GROUP, COLUMNS, WARPS, MOST_PARTS, HEADER = 64, 4, 4, 128, 8192
INFINITY = numpy.float32(numpy.inf)
BATCH_NORM = [("scale", "u8"), ("shift", "u8"), ("mean", "u8"), ("variance", "u8"), ("momentum", "f8"),
              ("epsilon", "f8"), ("rows", "f8"), ("normal", "u8")]  # fmt: skip
functions = {}


def launch(name, grid, threads, *arguments):
    """Starts a kernel, compiled if it is the first time. Tensors are passed as their addresses."""
    if name not in functions:
        module = cupy.RawModule(code=SOURCE, options=("--std=c++17",), name_expressions=[name])
        functions[name] = module, module.get_function(name)
    address = lambda one: numpy.uint64(one.data_ptr()) if isinstance(one, torch.Tensor) else one
    functions[name][1](grid, (threads,), tuple(map(address, arguments)))


def up(number, by):
    return -(-number // by)


def struct(fields, *values):
    return numpy.array([values], dtype=fields)[0]


def timed(work, count=20):
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(count):
        work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / count * 1e3


def images(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)


class Room:
    """What kernels leave to each other."""

    def __init__(self, channels, rows):
        self.memory = torch.zeros(HEADER + 2 * MOST_PARTS * channels, device="cuda")
        self.normal = torch.randn(4, channels, device="cuda")
        self.rows = rows

    def sums(self):
        start = self.memory.data_ptr()
        return struct([("parts", "u8"), ("ended", "u8")], start + 4 * HEADER, start)

    def norm(self, is_wanted=True):
        return struct(BATCH_NORM, 0, 0, 0, 0, 0.1, 1e-5, self.rows, self.normal.data_ptr() if is_wanted else 0)


NOTHING = numpy.uint64(0)


def depthwise(count, channels, side, kernel):
    """Stride 1: forward with statistics, gradient of the input, gradient of the weight."""
    processors = torch.cuda.get_device_properties(0).multi_processor_count
    x, gradient = images(count, channels, side, side), images(count, channels, side, side)
    output, back = torch.empty_like(x), torch.empty_like(x)
    weight = torch.randn(channels, 1, kernel, kernel, device="cuda") / kernel
    of_weight = torch.empty_like(weight)
    shape = struct([(name, "i4") for name in "abcdef"], count, channels, side, side, side, side)
    groups, across, room = up(channels, GROUP), up(side, COLUMNS), Room(channels, float(x.numel() // channels))

    def strips(wanted):
        rows = side
        while count * across * up(side, rows) * groups < wanted and rows >= 4 * kernel:
            rows = up(rows, 2)
        return rows, count * across * up(side, rows)

    rows, number = strips(16 * processors)
    # Followed by statistics, and by nothing.
    with_statistics, alone = (f"depthwise<Half, {kernel}, {COLUMNS}, {following}>" for following in (1, 0))

    def forward():
        grid = (groups, min(up(number, WARPS), MOST_PARTS))
        launch(with_statistics, grid, 32 * WARPS, x, weight, numpy.int32(0), NOTHING, -INFINITY, INFINITY, shape,
               numpy.int32(rows), output, room.sums(), room.norm())  # fmt: skip

    def backward():
        grid = (groups, min(up(number, WARPS), 65535))
        launch(alone, grid, 32 * WARPS, gradient, weight, numpy.int32(1), NOTHING, -INFINITY, INFINITY, shape,
               numpy.int32(rows), back, room.sums(), room.norm(False))  # fmt: skip

    wanted = (16 if kernel == 3 else 8) * processors
    fewer, pieces = strips(wanted)
    down = up(min(pieces, up(wanted, groups)), WARPS)
    parts = torch.empty(down * WARPS, kernel * kernel, channels, device="cuda")

    def backward_weight():
        launch(f"depthwise_weight<Half, {kernel}, {COLUMNS}>", (groups, down), 32 * WARPS, x, gradient, shape,
               numpy.int32(fewer), parts)  # fmt: skip
        launch("add_weights", (up(of_weight.numel(), 32),), 256, parts, numpy.int32(len(parts)),
               numpy.int32(kernel * kernel), numpy.int32(channels), of_weight)  # fmt: skip

    narrow = weight.to(torch.bfloat16)
    plain = lambda: functional.conv2d(x, narrow, None, 1, kernel // 2, 1, channels)

    def libtorch(*wanted):
        return torch.ops.aten.convolution_backward(
            gradient, x, narrow, None, [1, 1], [kernel // 2] * 2, [1, 1], False, [0, 0], channels, [*wanted, False]
        )

    of_input, of_libtorchs_weight, _ = libtorch(True, True)
    cases = [
        ("forward", forward, plain, output, plain()),
        ("gradient", backward, lambda: libtorch(True, False), back, of_input),
        ("weight", backward_weight, lambda: libtorch(False, True), of_weight, of_libtorchs_weight),
    ]
    for what, own, theirs, found, expected in cases:
        own()
        distance = ((found.float() - expected.float()).norm() / expected.float().norm()).item()
        show(f"depthwise {kernel}, {channels} channels, {side} x {side}, {what}", own, theirs, 4 * x.numel(), distance)


def batch_norm(count, channels, side):
    """Statistics and ReLU forward, and both back."""
    values, gradient = images(count, channels, side, side), images(count, channels, side, side)
    output, slopes = torch.empty_like(values), torch.empty(2, channels, device="cuda")
    rows, groups = values.numel() // channels, up(channels, GROUP)
    room, processors = Room(channels, float(rows)), torch.cuda.get_device_properties(0).multi_processor_count
    grid = lambda of_each, most: (groups, max(1, min(up(rows, 256), up(of_each * processors, groups), most)))
    size, zero = (numpy.int64(rows), numpy.int32(channels)), numpy.float32(0)

    def forward():
        launch("moments<Half>", grid(4, MOST_PARTS), 256, values, *size, room.sums(), room.norm())
        launch("affine<Half>", grid(8, 65535), 256, values, room.normal, room.normal[1], zero, INFINITY, NOTHING,
               *size, output)  # fmt: skip

    def backward():
        launch("gradient_moments<Half>", grid(4, MOST_PARTS), 256, gradient, values, room.normal, zero, INFINITY,
               *size, room.sums(), slopes, NOTHING)  # fmt: skip
        launch("gradient_affine<Half>", grid(8, 65535), 256, gradient, values, room.normal, slopes, zero, INFINITY,
               *size, output)  # fmt: skip

    leaf = values.clone().requires_grad_()
    plain = lambda: functional.batch_norm(leaf, None, None, None, None, True, 0.1, 1e-5).relu_()
    name = f"batch norm, {channels} channels, {side} x {side}"
    show(f"{name}, forward", forward, plain, 6 * values.numel())
    both = lambda: (forward(), backward())
    show(f"{name}, and back", both, lambda: plain().backward(gradient), 16 * values.numel())


def show(name, own, theirs, size, distance=None):
    ours, libtorchs = timed(own), timed(theirs)
    off = "" if distance is None else f", {distance:.0e} off"
    print(f"{name:48} own {ours:5.0f} us ({size / ours / 1e3:5.0f} GB/s), libtorch {libtorchs:5.0f} us{off}", flush=True)


def main():
    torch.backends.cudnn.benchmark = True
    for case in [(128, 240, 32, 3), (128, 240, 32, 5), (128, 240, 32, 7), (128, 480, 16, 5), (128, 768, 8, 7)]:
        depthwise(*case)
    for case in [(128, 240, 32), (128, 40, 32), (128, 480, 16)]:
        batch_norm(*case)


if __name__ == "__main__":
    main()
