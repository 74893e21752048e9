"""Runs exported networks as strangers do, and compares with the logits of the networks that were
trained: ONNX Runtime after the checker of onnx, PyTorch with model.py, TorchScript.

usage: export.py FOLDER..., each with exported networks in it at any depth
"""

import importlib.util
import pathlib
import sys

import numpy
import onnx
import onnxruntime
import torch
from safetensors.torch import load_file

TOLERANCE = 1e-4


def with_onnx(folder, images):
    model = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)], model.opset_import
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape[0] == "batch", "the number of images is free"
    run = lambda some: session.run(["logits"], {"images": some.float().numpy()})[0]
    yield run(images)
    yield numpy.concatenate([run(images[:1]), run(images[1:])])


def with_pytorch(folder, images):
    specification = importlib.util.spec_from_file_location("model", folder / "model.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    network = module.load()
    yield network(images).numpy()
    yield network(images.float()).numpy()


def with_torchscript(folder, images):
    network = torch.jit.load(folder / "model.pt").eval()
    yield network(images).numpy()
    yield torch.cat([network(images[:1].float()), network(images[1:].float())]).numpy()
    assert any(parameter.requires_grad for parameter in network.parameters()), "it can be trained further"


@torch.no_grad()
def main(folders):
    for folder in folders:
        worst = {run.__name__: 0.0 for run in (with_onnx, with_pytorch, with_torchscript)}
        exports = sorted(path.parent for path in folder.rglob("export.json"))
        for export in exports:
            known = load_file(export / "check.safetensors")
            images, logits = known["images"], known["logits"].numpy()
            scale = max(1.0, numpy.abs(logits).max())
            for run in (with_onnx, with_pytorch, with_torchscript):
                for found in run(export, images):
                    assert found.shape == logits.shape, (export, run.__name__, found.shape, logits.shape)
                    difference = float(numpy.abs(found - logits).max() / scale)
                    assert difference <= TOLERANCE, f"{export}: {run.__name__} differs by {difference:.1e}"
                    worst[run.__name__] = max(worst[run.__name__], difference)
        assert len(exports) >= 20, f"{folder} has {len(exports)} exports"
        shown = ", ".join(f"{name.removeprefix('with_')} {difference:.1e}" for name, difference in worst.items())
        print(f"{folder.name}: {len(exports)} networks, largest difference {shown}, allowed {TOLERANCE:.0e}")


if __name__ == "__main__":
    main([pathlib.Path(folder) for folder in sys.argv[1:]])
