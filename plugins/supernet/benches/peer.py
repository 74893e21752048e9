"""Does what `cargo bench -p pleach-supernet --bench supernet -- --peer FILE` did, in plain PyTorch.

usage: peer.py FILE [--device cpu|cuda] [--children N] [--steps N] [--rounds N] [--bf16] [--only default|tuned]

The same network, weights, paths, augmentation and optimizer, as a careful user would write them:
first with PyTorch's defaults, then tuned (channels-last, the same threads, an allocator that keeps
its pages, foreach optimizer over the parameters of the path, inference mode, TF32 and the choice of
algorithms by cuDNN on CUDA, bfloat16 autocast where the benchmark computed so or it is asked for). The losses on the batch that the
benchmark wrote must be those that it found.
"""

import argparse
import ctypes
import itertools
import json
import pathlib
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "src/tests"))
from pytorch import Builder, read_safetensors  # noqa: E402


class SuperNet(nn.Module):
    """Every operation of every layer; a path chooses one of each."""

    def __init__(self, description, weights):
        super().__init__()
        operations = {operation["name"]: operation for operation in description["operations"]}
        channels = {"input": description["input"]["channels"]}
        self.nodes = description["network"]
        self.parts = nn.ModuleList()
        for node in self.nodes:
            incoming = channels[node["inputs"][0]]
            apply = node["apply"]
            if "slot" in apply:
                names = description["slots"][apply["slot"]]["choices"]
            else:
                names = [apply["operation"]]
            candidates = [Builder(operations[name], node, incoming, weights).build() for name in names]
            self.parts.append(nn.ModuleList(candidates))
            channels[node["name"]] = node["channels"] or incoming
        assert not weights, f"weights without a place: {sorted(weights)}"

    def chosen(self, path):
        """The modules of a path."""
        for node, part in zip(self.nodes, self.parts):
            apply = node["apply"]
            yield part[path[apply["slot"]] if "slot" in apply else 0]

    def forward(self, x, path):
        for module in self.chosen(path):
            x = module(x)
        return x.flatten(1)


def build(case, tensors, device, tuned):
    weights = {name: tensor.clone() for name, tensor in tensors.items() if name.startswith("weight:")}
    net = SuperNet(case["description"], weights)
    return net.to(device, memory_format=torch.channels_last if tuned else torch.contiguous_format)


class Steps:
    """Training: the gradients of a step's paths added up, one move."""

    def __init__(self, net, case, tuned, bf16):
        self.net, self.case, self.tuned, self.bf16 = net, case, tuned, bf16
        self.momenta = {}
        if not tuned:
            self.optimizer = torch.optim.SGD(
                net.parameters(), lr=case["learning_rate"], momentum=case["momentum"], weight_decay=case["weight_decay"]
            )

    def loss(self, images, labels, path):
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            return functional.cross_entropy(self.net(images, path), labels)

    def step(self, images, labels, paths):
        for path in paths:
            self.loss(images, labels, path).backward()
        if self.tuned:
            modules = [module for path in paths for module in self.net.chosen(path)]
            self.move(list(dict.fromkeys(one for module in modules for one in module.parameters())))
        else:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.case["clip"])
            self.optimizer.step()
            self.optimizer.zero_grad()

    @torch.no_grad()
    def move(self, parameters):
        """SGD over the paths alone, with PyTorch's foreach functions."""
        gradients = [one.grad for one in parameters]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        torch._foreach_mul_(gradients, (self.case["clip"] / (norm + 1e-6)).clamp_max_(1.0))
        momenta = [self.momenta.setdefault(one, torch.zeros_like(one)) for one in parameters]
        torch._foreach_add_(gradients, parameters, alpha=self.case["weight_decay"])
        torch._foreach_mul_(momenta, self.case["momentum"])
        torch._foreach_add_(momenta, gradients)
        torch._foreach_add_(parameters, momenta, alpha=-self.case["learning_rate"])
        for one in parameters:
            one.grad = None


class Data:
    """Images of noise, on the device as bytes where that is tuned."""

    def __init__(self, case, device, tuned):
        shape = case["description"]["input"]
        self.size = (shape["channels"], shape["height"], shape["width"])
        count = max(case["evaluate"], case["recalibrate"], 4 * case["batch"])
        self.bytes = torch.randint(0, 256, (count, *self.size), dtype=torch.uint8)
        self.labels = torch.arange(count) % case["description"]["classes"]
        self.device, self.tuned, self.crop = device, tuned, case["crop"]
        if tuned:
            self.bytes, self.labels = self.bytes.to(device), self.labels.to(device)

    def normalised(self, images):
        images = (images.to(self.device).float() - 127.5) / 73.9
        return images.contiguous(memory_format=torch.channels_last) if self.tuned else images

    def plain(self, start, count):
        return self.normalised(self.bytes[start : start + count]), self.labels[start : start + count].to(self.device)

    def augmented(self, number, count):
        start = number * count % (len(self.bytes) - count + 1)
        images = functional.pad(self.bytes[start : start + count], [self.crop] * 4)
        place = images.device
        rows = torch.randint(0, 2 * self.crop + 1, (count, 1), device=place)
        columns = torch.randint(0, 2 * self.crop + 1, (count, 1), device=place)
        flipped = torch.randint(0, 2, (count, 1), device=place).bool()
        across = torch.arange(self.size[2], device=place)
        across = torch.where(flipped, across.flip(0), across) + columns
        down = torch.arange(self.size[1], device=place) + rows
        image = torch.arange(count, device=place)[:, None, None]
        windows = images.permute(0, 2, 3, 1)[image, down[:, :, None], across[:, None, :]].permute(0, 3, 1, 2)
        return self.normalised(windows), self.labels[start : start + count].to(self.device)


def synchronise(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(device, work):
    synchronise(device)
    start = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - start


def evaluate(net, case, data, path, bf16):
    """Statistics of batch norms taken anew, then the accuracy."""
    batch = case["evaluation_batch"]
    for module in net.chosen(path):
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.reset_running_stats()
    with torch.inference_mode(), torch.autocast(data.device.type, torch.bfloat16, enabled=bf16):
        net.train()
        for start in range(0, case["recalibrate"], batch):
            net(data.plain(start, min(batch, case["recalibrate"] - start))[0], path)
        net.eval()
        correct = torch.zeros((), dtype=torch.int64, device=data.device)
        for start in range(0, case["evaluate"], batch):
            images, labels = data.plain(start, min(batch, case["evaluate"] - start))
            correct += (net(images, path).argmax(1) == labels).sum()
        net.train()
    return correct.item() / case["evaluate"]


def measure(case, tensors, device, tuned, arguments):
    net = build(case, tensors, device, tuned).train()
    data = Data(case, device, tuned)
    mixed = case["precision"] == "mixed"
    bf16 = tuned and (mixed or arguments.bf16)
    steps = Steps(net, case, tuned, bf16)
    images, labels = tensors["images"].to(device), tensors["labels"].to(device)
    if tuned:
        images = images.contiguous(memory_format=torch.channels_last)
    allowed = 5e-2 if mixed or bf16 else 2e-3 if device.type == "cuda" else 1e-4
    for path, expected in zip(case["paths"], case["losses"]):
        found = steps.loss(images, labels, path).item()
        assert abs(found - expected) < allowed * max(1, abs(expected)), (path, found, expected)
    count = itertools.count()

    def training():
        for _ in range(arguments.steps):
            number = next(count)
            steps.step(*data.augmented(number, case["batch"]), case["steps"][number % len(case["steps"])])

    children = case["children"][: arguments.children]

    def generation():
        for path in children:
            evaluate(net, case, data, path, bf16)

    training()
    trained = statistics.median(timed(device, training) for _ in range(arguments.rounds))
    evaluate(net, case, data, children[0], bf16)
    evaluated = statistics.median(timed(device, generation) for _ in range(arguments.rounds))
    measured = (case["evaluate"] + case["recalibrate"]) * len(children)
    return {
        "training_images_per_second": arguments.steps * len(case["steps"][0]) * case["batch"] / trained,
        "evaluation_images_per_second": measured / evaluated,
        "seconds_for_all_children": evaluated / len(children) * len(case["children"]),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--children", type=int, default=5, help="networks of the generation that are timed")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--only", choices=["default", "tuned"], help="leave the other one out")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    case = json.loads(arguments.file.read_text())
    tensors = read_safetensors(arguments.file.with_suffix(".safetensors"))
    device = torch.device(arguments.device)
    torch.set_num_threads(case["threads"])
    results = {}
    for name, tuned in (("default", False), ("tuned", True)):
        if arguments.only not in (None, name):
            continue
        if tuned:
            if device.type == "cpu":
                libc = ctypes.CDLL(None)
                libc.mallopt(-4, 0)  # M_MMAP_MAX
                libc.mallopt(-1, -1)  # M_TRIM_THRESHOLD
            torch.backends.cudnn.benchmark = True
            torch.backends.cuda.matmul.allow_tf32 = True
        results[name] = measure(case, tensors, device, tuned, arguments)
        print(f"PyTorch {torch.__version__}, {name}:", ", ".join(f"{k} {v:.1f}" for k, v in results[name].items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


main()
