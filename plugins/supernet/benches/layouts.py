"""Which memory layout and which numbers are fast on a CUDA device for networks of MBConv layers.

Plain PyTorch in eager mode on made-up images: milliseconds of a step (forward, backward, SGD), of it
those of kernels by PyTorch's profiler, and of a pass without gradients.
"""

import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import ProfilerActivity, profile

BATCH = 256


class MBConv(nn.Module):
    def __init__(self, inputs, outputs, kernel, expansion, stride):
        super().__init__()
        hidden = inputs * expansion
        self.expand = nn.Conv2d(inputs, hidden, 1, bias=False)
        self.depthwise = nn.Conv2d(hidden, hidden, kernel, stride, kernel // 2, groups=hidden, bias=False)
        self.project = nn.Conv2d(hidden, outputs, 1, bias=False)
        norm = lambda channels: nn.BatchNorm2d(channels, affine=False, track_running_stats=False)
        self.norms = nn.ModuleList([norm(hidden), norm(hidden), norm(outputs)])
        self.residual = inputs == outputs and stride == 1

    def forward(self, images):
        here = F.relu_(self.norms[0](self.expand(images)))
        here = F.relu_(self.norms[1](self.depthwise(here)))
        here = self.norms[2](self.project(here))
        return images + here if self.residual else here


def network(blocks, head, kernels):
    channels = 32
    layers = [nn.Conv2d(3, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
    for depth, outputs, stride in blocks:
        for layer in range(depth):
            kernel, expansion = kernels[layer % len(kernels)], (3, 6)[layer % 2]
            layers.append(MBConv(channels, outputs, kernel, expansion, stride if layer == 0 else 1))
            channels = outputs
    layers += [nn.Conv2d(channels, head, 1, bias=False), nn.BatchNorm2d(head), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(head, 10))


NETWORKS = {
    "NAS-Bench-Macro": lambda: network(((2, 64, 2), (3, 128, 2), (3, 256, 2)), 1280, (3, 5)),
    "gevonas-cifar10": lambda: network(((6, 40, 1), (6, 80, 2), (6, 128, 2)), 512, (3, 5, 7)),
}


def milliseconds(work):
    for _ in range(2):
        work()
    times = []
    for _ in range(3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(8):
            work()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / 8 * 1e3)
    return sorted(times)[1]


def main():
    torch.backends.cuda.matmul.allow_tf32 = True
    for name, make in NETWORKS.items():
        for layout in (torch.channels_last, torch.contiguous_format):
            for numbers in ("TF32", "bfloat16"):
                model = make().cuda().to(memory_format=layout)
                images = torch.randn(BATCH, 3, 32, 32, device="cuda").to(memory_format=layout)
                labels = torch.randint(10, (BATCH,), device="cuda")
                optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9, weight_decay=3e-4, foreach=True)

                def forward():
                    with torch.autocast("cuda", torch.bfloat16, enabled=numbers == "bfloat16"):
                        return model(images)

                def step():
                    F.cross_entropy(forward().float(), labels).backward()
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=False)

                def evaluate():
                    with torch.no_grad():
                        forward()

                whole, alone = milliseconds(step), milliseconds(evaluate)
                with profile(activities=[ProfilerActivity.CUDA]) as profiler:
                    step()
                    torch.cuda.synchronize()
                kernels = sum(entry.self_device_time_total for entry in profiler.key_averages()) / 1e3
                place = "channels-last" if layout == torch.channels_last else "channels-first"
                print(f"{name:16} {place:14} {numbers:9} step {whole:7.2f} ms, kernels {kernels:7.2f} ms, "
                      f"evaluation {alone:6.2f} ms", flush=True)


if __name__ == "__main__":
    main()
