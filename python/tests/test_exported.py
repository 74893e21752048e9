"""Exported networks in PyTorch and ONNX Runtime. The real ones need both, and the SuperNet's plugin: tests/pytorch.sh
has them, and says so with PLEACH_TEST_EXPORTED=1."""

import json
import os
import pickle
import sys

import pytest

import pleach

RUN = {
    "name": "exported",
    "seed": 5,
    "plugins": ["gevonas", "tabular", "datasets", "baselines", "supernet"],
    "space": {
        "use": "gevonas/growing-blocks",
        "with": {
            "stem": {"channels": 8, "stride": 1},
            "blocks": [{"layers": 2, "channels": 8, "stride": 1}, {"layers": 2, "channels": 16, "stride": 2}],
            "operations": ["identity", "mb3_k3", "mb6_k5"],
            "head": 32,
        },
    },
    "dataset": {"use": "datasets/synthetic", "with": {"size": 16, "train": 96, "test": 16, "classes": 4}},
    "estimator": {"use": "tabular/nk-landscape"},
    "strategy": {"use": "baselines/random-search", "with": {"evaluations": 1}},
    "objectives": {"accuracy": "maximise"},
    "random_networks": 0,
    "train": {
        "estimator": {
            "use": "supernet/stand-alone",
            "with": {"device": "cpu", "threads": 1, "epochs": 1, "batch": 32, "held_out": 0, "measure": "test", "auxiliary": 0},
        }
    },
}

needs_the_real_thing = pytest.mark.skipif(
    "PLEACH_TEST_EXPORTED" not in os.environ, reason="tests/pytorch.sh runs this one, with PyTorch and ONNX Runtime"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = pleach.run(RUN, directory=tmp_path_factory.mktemp("exported") / "run", quiet=True)
    return run, run.train(quiet=True)


def is_as_trained(known, logits):
    """As close as an export has to be: docs/export.md."""
    import torch

    return (logits - known).abs().max().item() <= 1e-4 * max(1.0, known.abs().max().item()) and not torch.equal(
        known, torch.zeros_like(known)
    )


@needs_the_real_thing
def test_a_network_that_was_trained_is_one_of_pytorch(trained):
    import torch
    from safetensors.torch import load_file

    run, training = trained
    known = load_file(training.directory / "export" / "check.safetensors")
    for network in (
        training.network(),
        pleach.load(run.directory),
        pleach.load(training.directory),
        pleach.load(training.directory / "export", device="cpu"),
    ):
        assert isinstance(network, torch.nn.Module) and not network.training
        with torch.no_grad():
            assert is_as_trained(known["logits"], network(known["images"]))
            assert not is_as_trained(known["logits"], network(255 - known["images"]))
    again = pickle.loads(pickle.dumps(training.network()))
    with torch.no_grad():
        assert is_as_trained(known["logits"], again(known["images"]))


@needs_the_real_thing
def test_a_network_that_was_trained_runs_in_onnx_runtime(trained):
    import torch
    from safetensors.torch import load_file

    run, training = trained
    known = load_file(training.directory / "export" / "check.safetensors")
    for session in (training.onnx(), pleach.load_onnx(run.directory)):
        (logits,) = session.run(["logits"], {"images": known["images"].float().numpy()})
        assert is_as_trained(known["logits"], torch.from_numpy(logits))


@needs_the_real_thing
def test_a_training_is_exported_anew(trained, tmp_path):
    _, training = trained
    exported = training.export(tmp_path / "network")
    assert exported.directory == tmp_path / "network"
    assert exported.record["genome"] == training.result["genome"]
    assert exported.network().state_dict().keys() == training.network().state_dict().keys()
    with pytest.raises(pleach.PleachError, match="something is there already") as caught:
        training.export(tmp_path / "network")
    assert caught.value.exit_code == 4


@pytest.fixture
def written(tmp_path):
    folder = tmp_path / "run" / "training" / "export"
    folder.mkdir(parents=True)
    (folder / "export.json").write_text(json.dumps({"format": 1}))
    return folder


def test_what_was_not_exported_is_said(tmp_path, written):
    with pytest.raises(FileNotFoundError, match="no directory"):
        pleach.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=f"`pleach export {tmp_path}` does it"):
        pleach.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no export.json"):
        pleach.Exported(tmp_path)
    with pytest.raises(FileNotFoundError, match="no model.py .* --format pytorch"):
        pleach.load(tmp_path / "run")
    (written / "model.py").write_text("")
    with pytest.raises(FileNotFoundError, match="no weights.safetensors"):
        pleach.load(written.parent)
    with pytest.raises(FileNotFoundError, match="no model.onnx .* --format onnx"):
        pleach.load_onnx(written)


def test_packages_that_are_missing_are_said(written, monkeypatch):
    for name in ("model.py", "weights.safetensors", "model.onnx"):
        (written / name).write_text("")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match=r"no torch, .* pip install 'pleach\[pytorch\]'"):
        pleach.load(written)
    with pytest.raises(ModuleNotFoundError, match=r"no onnxruntime, .* pip install 'pleach\[onnx\]'"):
        pleach.load_onnx(written)
