"""Builds networks from their description with PyTorch's own modules and compares logits and proxies.

usage: pytorch.py FOLDER, with pairs NAME.json (description, genome and proxies) and NAME.safetensors
(weights, images, labels, logits). Written after sdk/src/description.rs and nothing else of pleach;
the proxies after the code published with their papers (Mellor et al. 2021: BayesWatch/nas-without-training,
Abdelfattah et al. 2021: SamsungLabs/zero-cost-nas).
"""

import copy
import json
import pathlib
import struct
import sys

import numpy
import torch
from torch import nn

TOLERANCE = 1e-5

ACTIVATIONS = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "silu": nn.SiLU,
    "hard-swish": nn.Hardswish,
    "hard-sigmoid": nn.Hardsigmoid,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
}


def read_safetensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        kind = {"F32": "<f4", "I64": "<i8"}[entry["dtype"]]
        values = numpy.frombuffer(data[8 + length + start : 8 + length + end], dtype=kind)
        tensors[name] = torch.from_numpy(values.reshape(entry["shape"]).copy())
    return tensors


class SqueezeExcite(nn.Module):
    def __init__(self, channels, hidden, gate, weight):
        super().__init__()
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.expand = nn.Conv2d(hidden, channels, 1)
        self.relu = nn.ReLU()
        self.gate = ACTIVATIONS[gate]()
        for module, name in ((self.reduce, "reduce"), (self.expand, "expand")):
            module.weight.data = weight(f"{name}/weight")
            module.bias.data = weight(f"{name}/bias")

    def forward(self, x):
        return x * self.gate(self.expand(self.relu(self.reduce(x.mean((2, 3), keepdim=True)))))


class Zero(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        y = self.inner(x)
        return x + y if x.shape == y.shape else y


def half_up(value):
    return int(value + 0.5)


class Builder:
    """One operation, primitive by primitive."""

    def __init__(self, operation, node, channels, weights):
        self.operation, self.node, self.input = operation, node, channels
        self.channels = channels
        self.weights = weights

    def weight(self, index, name):
        full = f"weight:{self.node['name']}/{self.operation['name']}/{index}/{name}"
        return self.weights.pop(full, None)

    def width(self, width):
        if width == "same":
            return self.channels
        if width == "output":
            return self.node["channels"] or self.input
        if "fixed" in width:
            return width["fixed"]
        return half_up(width["input"] * self.input)

    def stride(self, stride):
        return {"one": 1, "node": self.node["stride"]}.get(stride) if isinstance(stride, str) else stride["fixed"]

    def primitive(self, index, primitive):
        if isinstance(primitive, str):
            kind, fields = primitive, None
        else:
            ((kind, fields),) = primitive.items()
        if kind == "convolution":
            output = self.width(fields["channels"])
            groups = fields["groups"]
            groups = {"dense": 1, "depthwise": self.channels}[groups] if isinstance(groups, str) else groups["fixed"]
            module = nn.Conv2d(
                self.channels,
                output,
                fields["kernel"],
                self.stride(fields["stride"]),
                padding=fields["dilation"] * (fields["kernel"] // 2),
                dilation=fields["dilation"],
                groups=groups,
                bias=fields["bias"],
            )
            weight = self.weight(index, "weight")
            assert weight.shape == module.weight.shape, (weight.shape, module.weight.shape)
            module.weight.data = weight
            if fields["bias"]:
                module.bias.data = self.weight(index, "bias")
            self.channels = output
            return module
        if kind == "batch-norm":
            module = nn.BatchNorm2d(self.channels, momentum=None)
            # Without a scale or a shift there is no parameter.
            for name, own in (("weight", "scale"), ("bias", "shift")):
                value = self.weight(index, own)
                module.register_parameter(name, None if value is None else nn.Parameter(value))
            return module
        if kind == "activation":
            return ACTIVATIONS[fields]()
        if kind == "pool":
            padding = fields["kernel"] // 2
            if fields["kind"] == "max":
                return nn.MaxPool2d(fields["kernel"], self.stride(fields["stride"]), padding)
            return nn.AvgPool2d(fields["kernel"], self.stride(fields["stride"]), padding, count_include_pad=False)
        if kind == "squeeze-excite":
            hidden = max(1, half_up(fields["ratio"] * self.input))
            return SqueezeExcite(self.channels, hidden, fields["gate"], lambda name: self.weight(index, name))
        if kind == "global-average":
            return nn.AdaptiveAvgPool2d(1)
        if kind == "linear":
            output = self.width(fields["features"])
            module = nn.Linear(self.channels, output)
            module.weight.data, module.bias.data = self.weight(index, "weight"), self.weight(index, "bias")
            self.channels = output
            return nn.Sequential(nn.Flatten(1), module, nn.Unflatten(1, (output, 1, 1)))
        raise ValueError(f"unknown primitive {kind}")

    def build(self):
        meaning = self.operation["meaning"]
        if meaning == "zero":
            return Zero()
        if meaning in ("identity", "absent"):
            return nn.Identity()
        modules = [self.primitive(index, one) for index, one in enumerate(self.operation["primitives"])]
        inner = nn.Sequential(*modules)
        return Residual(inner) if self.operation["residual"] else inner


class Net(nn.Module):
    def __init__(self, description, genome, weights):
        super().__init__()
        operations = {operation["name"]: operation for operation in description["operations"]}
        channels = {"input": description["input"]["channels"]}
        self.nodes = description["network"]
        self.parts = nn.ModuleList()
        for node in self.nodes:
            arriving = [channels[name] for name in node["inputs"]]
            incoming = sum(arriving) if node["combine"] == "concat" else arriving[0]
            apply = node["apply"]
            if "slot" in apply:
                name = description["slots"][apply["slot"]]["choices"][genome[apply["slot"]]]
            else:
                name = apply["operation"]
            builder = Builder(operations[name], node, incoming, weights)
            self.parts.append(builder.build())
            channels[node["name"]] = node["channels"] or incoming
        assert not weights, f"weights without a place: {sorted(weights)}"

    def forward(self, images):
        outputs = {"input": images}
        for node, part in zip(self.nodes, self.parts):
            arriving = [outputs[name] for name in node["inputs"]]
            x = torch.cat(arriving, 1) if node["combine"] == "concat" else sum(arriving[1:], arriving[0])
            outputs[node["name"]] = part(x)
        return outputs[self.nodes[-1]["name"]].flatten(1)


def weighted(net):
    return [module for module in net.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]


def saliency(net):
    """Sum of |weight x gradient|."""
    layers = [layer for layer in weighted(net) if layer.weight.grad is not None]
    return sum((layer.weight * layer.weight.grad).abs().sum().item() for layer in layers)


def synflow(net, shape):
    net = copy.deepcopy(net)
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    net.zero_grad()
    net.double()
    for parameter in net.parameters():
        parameter.data.abs_()
    net(torch.ones((1, *shape), dtype=torch.float64)).sum().backward()
    return saliency(net)


def naswot(net, images):
    kernel = numpy.zeros((len(images), len(images)))

    def hook(module, inputs, output):
        codes = (inputs[0].flatten(1) > 0).double()
        kernel.__iadd__((codes @ codes.T + (1 - codes) @ (1 - codes).T).numpy())

    rectifiers = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU)
    handles = [module.register_forward_hook(hook) for module in net.modules() if isinstance(module, rectifiers)]
    with torch.no_grad():
        net(images)
    for handle in handles:
        handle.remove()
    return float(numpy.linalg.slogdet(kernel)[1])


def proxies(net, images, labels):
    # Running statistics, which a pass changes, are of no account here.
    net = copy.deepcopy(net)
    net.train()
    found = {"synflow": synflow(net, images.shape[1:]), "naswot": naswot(net, images)}
    net.double()
    nn.functional.cross_entropy(net(images.double()), labels).backward()
    layers = [layer for layer in weighted(net) if layer.weight.grad is not None]
    found["grad-norm"] = sum(layer.weight.grad.norm().item() for layer in layers)
    found["snip"] = saliency(net)
    return found


@torch.no_grad()
def main(folder):
    worst, worst_proxy, count = 0.0, 0.0, 0
    for path in sorted(folder.glob("*.json")):
        case = json.loads(path.read_text())
        tensors = read_safetensors(path.with_suffix(".safetensors"))
        weights = {name: tensor for name, tensor in tensors.items() if name.startswith("weight:")}
        net = Net(case["description"], case["genome"], weights)
        with torch.enable_grad():
            expected = proxies(net, tensors["images"], tensors["labels"])
        assert expected.keys() == case["proxies"].keys(), case["proxies"]
        relative = {name: abs(case["proxies"][name] / value - 1) for name, value in expected.items()}
        worst_proxy = max(worst_proxy, *relative.values())
        assert worst_proxy < TOLERANCE, f"{path.stem}: {relative} of {expected}"
        net.train()
        differences = {}
        # With momentum None, running statistics are the mean over batches.
        for index in range(3):
            net(tensors[f"recorded:{index}"])
        for mode in ("recorded", "batch"):
            net.train(mode == "batch")
            expected = net(tensors["images"])
            found = tensors[f"logits:{mode}"]
            assert expected.shape == found.shape, (path.name, expected.shape, found.shape)
            scale = max(1.0, expected.abs().max().item())
            differences[mode] = (expected - found).abs().max().item() / scale
        count += 1
        worst = max(worst, *differences.values())
        assert worst < TOLERANCE, f"{path.stem}: {differences}"
    print(
        f"{count} networks, PyTorch {torch.__version__}: largest difference {worst:.1e}, of proxies "
        f"{worst_proxy:.1e}, allowed {TOLERANCE:.0e}"
    )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
