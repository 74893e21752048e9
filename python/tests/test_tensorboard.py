"""Event files of real runs, read by TensorBoard's own reader. PLEACH and PLEACH_PLUGIN_PATH say where the program is."""

import io
import json
import math
import shutil
import sys
import threading

import numpy
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

import pleach
from pleach import tensorboard
from pleach.drawing import network_rows
from pleach.series import Point, SearchSeries

RUN = {
    "name": "board",
    "seed": 3,
    "plugins": ["gevonas", "datasets", "misbehaving"],
    "space": {
        "use": "gevonas/growing-blocks",
        "with": {
            "stem": {"channels": 8, "stride": 1},
            "blocks": [{"layers": 2, "channels": 8, "stride": 1}, {"layers": 3, "channels": 16, "stride": 2}],
            "operations": ["identity", "mb3_k3", "mb6_k5"],
            "head": 32,
        },
    },
    "dataset": {"use": "datasets/synthetic", "with": {"size": 8, "train": 400, "test": 10, "classes": 4}},
    "estimator": {"use": "misbehaving/formula"},
    "operators": [{"use": "gevonas/operation-mutation"}],
    "strategy": {
        "use": "gevonas/grow-and-prune",
        "with": {"population": 12, "generations": 3, "epochs": {"first": 2, "later": 1}},
    },
    "objectives": {"accuracy": "maximise", "params": {"at_most": 12000}},
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    return pleach.run(RUN, directory=tmp_path_factory.mktemp("board") / "run", quiet=True)


@pytest.fixture
def run(searched, tmp_path):
    return pleach.Run(shutil.copytree(searched.directory, tmp_path / "run"))


def read(directory):
    """Scalars and images of every folder, by TensorBoard's reader."""
    scalars, images, tensors = {}, {}, {}
    for folder in sorted({file.parent for file in directory.rglob("events.out.tfevents.*")}):
        accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
        accumulator.Reload()
        name = folder.relative_to(directory).as_posix()
        for tag in accumulator.Tags()["scalars"]:
            scalars[name, tag] = [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["images"]:
            images[name, tag] = accumulator.Images(tag)
        for tag in accumulator.Tags()["tensors"]:
            tensors[name, tag] = accumulator.summary_metadata[tag]
    return scalars, images, tensors


def single(value):
    """As event files keep it, in 32 bits."""
    return float(numpy.float32(value))


def expected_of_search(run):
    """Every scalar of a search in stages, from its tables and not from the code that writes them."""
    table = run.candidates()
    table = table[~table["known"]].drop_duplicates(["step", "genome"]).reset_index(drop=True)
    table["number"] = table.index + 1
    events = [event for event in run.events() if event["event"] in ("trained", "evaluated")]
    trained = [event for event in events if event["event"] == "trained"]
    stage = lambda step: sum(event["step"] < step for event in trained)  # noqa: E731
    table["stage"] = table["step"].map(stage)
    scalars = {}
    add = lambda tag, step, value: scalars.setdefault(("search", tag), []).append((step, single(value)))  # noqa: E731
    for name in ("accuracy", "params"):
        for _, row in table.iterrows():
            add(f"{name}/candidate", row["number"], row[name])
    for step, rows in table.groupby("step"):
        last = rows["number"].max()
        before = table[(table["number"] <= last) & (table["stage"] == stage(step))]
        recent = before.tail(max(10, len(rows)))
        allowed = before[before["params"] <= 12000]
        for name in ("accuracy", "params"):
            if len(allowed):
                add(f"{name}/best", last, allowed.loc[allowed["accuracy"].idxmax()][name])
            add(f"{name}/mean", last, math.fsum(recent[name]) / len(recent))
        until = [event for event in events if event["step"] <= step]
        add("time/total", last, until[-1]["at_seconds"])
        for part, kind in (("training", "trained"), ("evaluation", "evaluated")):
            add(f"time/{part}", last, sum(event["seconds"] for event in until if event["event"] == kind))
    for number, event in enumerate(trained, start=1):
        add("supernet/epochs", number, sum(one["epochs"] for one in trained[:number]))
        add("region/log10_networks", number, math.log10(math.prod(map(len, event["region"]))))
        rows = table[table["stage"] == number]
        add("supernet/held_out_mean", number, math.fsum(rows["accuracy"]) / len(rows))
        add("supernet/held_out_best", number, rows[rows["params"] <= 12000]["accuracy"].max())
    return scalars


def expected_of_result(run):
    result = run.result
    winner = result["winner"]
    values = {"found/accuracy": winner["objectives"]["accuracy"], "found/params": winner["params"]}
    values["found/flops"] = winner["flops"]
    values.update({f"search/{name}": result[name] for name in ("evaluations", "known", "failed")})
    times = result["times"]
    values["search/workers_lost"] = times.pop("workers_lost")
    values.update({f"time/{name}": value for name, value in times.items()})
    for random in result["random_networks"]:
        for name in ("mean", "standard_deviation", "best"):
            values[f"random/{random['drawn_from']}/{name}"] = random[name]
    return {("result", tag): [(result["evaluations"], single(value))] for tag, value in values.items()}


def same(found, expected):
    assert found.keys() == expected.keys()
    for tag, series in expected.items():
        assert [step for step, _ in found[tag]] == [step for step, _ in series], tag
        assert [value for _, value in found[tag]] == pytest.approx([value for _, value in series], rel=2e-7), tag


def test_tensorboard_reads_every_scalar_as_the_run_has_it(run):
    directory = run.tensorboard()
    assert directory == run.directory / "tensorboard"
    scalars, _, _ = read(directory)
    expected = {**expected_of_search(run), **expected_of_result(run)}
    assert len({tag for _, tag in expected}) > 20
    same(scalars, expected)
    candidates = expected["search", "accuracy/candidate"]
    assert len(candidates) == run.result["evaluations"]
    assert scalars["search", "accuracy/candidate"] == candidates


def test_training_by_itself_is_told_epoch_by_epoch(run):
    folder = run.directory / "training" / "seed-1"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    lines = [{"event": "started", "number": 0, "at_seconds": 0.1}]
    for epoch, loss in enumerate((1.5, 1.25), start=1):
        metrics = {"epoch": epoch, "epochs": 2.0, "loss": loss, "accuracy": None}
        lines.append({"event": "epoch", "number": epoch, "at_seconds": epoch, "seconds": 0.5, "metrics": metrics})
    lines.append({"event": "finished", "number": 3, "at_seconds": 3, "epochs": 2, "measured": {"accuracy": 0.75}})
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "result.json").write_text("{}")
    (folder.parent / "training.json").write_text(json.dumps({"measured": {"accuracy": {"mean": 0.75}}}))
    scalars, _, _ = read(run.tensorboard())
    assert {tag: series for (name, tag), series in scalars.items() if name == "training/seed-1"} == {
        "training/loss": [(1, 1.5), (2, 1.25)],
        "training/seconds": [(1, 0.5), (2, 0.5)],
        "measured/accuracy": [(2, 0.75)],
    }
    assert scalars["result", "trained/accuracy"] == [(run.result["evaluations"], 0.75)]


def test_networks_are_drawn_block_by_block(run):
    winner = run.winner
    _, images, _ = read(run.tensorboard())
    assert [image.step for image in images["result", "network"]] == [run.result["evaluations"]]
    assert len(images["search", "network"]) == len(run.trainings())
    for image in images["search", "network"] + images["result", "network"]:
        picture = Image.open(io.BytesIO(image.encoded_image_string))
        assert picture.format == "PNG" and picture.size == (image.width, image.height)
        assert len(picture.getcolors(maxcolors=1 << 20)) > 20
    computed = {
        row.title: [operation for operation, meaning in row.layers if meaning == "sequence"]
        for row in network_rows(run.network, winner["genome"])
    }
    assert computed == winner["blocks"]


def test_hyper_parameters_are_the_run_file_on_one_level(run):
    _, _, tensors = read(run.tensorboard())
    content = lambda tag: plugin_data_pb2.HParamsPluginData.FromString(  # noqa: E731
        tensors["result", tag].plugin_data.content
    )
    given = content("_hparams_/session_start_info").session_start_info.hparams
    assert given["seed"].number_value == 3
    assert given["strategy.use"].string_value == "gevonas/grow-and-prune"
    assert given["strategy.with.epochs.first"].number_value == 2
    assert json.loads(given["space.with.blocks"].string_value) == RUN["space"]["with"]["blocks"]
    end = content("_hparams_/session_end_info").session_end_info
    assert end.status == 1  # STATUS_SUCCESS


def test_writing_again_leaves_the_same_and_nothing_twice(run, tmp_path):
    directory = run.tensorboard(tmp_path / "elsewhere")
    strange = directory / "search" / "events.out.tfevents.1.host.1.0"
    strange.write_bytes(b"")
    first = read(directory)[0]
    files = sorted(directory.rglob("*.pleach"))
    assert run.tensorboard(directory) == directory
    assert read(directory)[0] == first
    assert strange.exists() and not any(file.exists() for file in files)
    assert len(list(directory.rglob("*.pleach"))) == len(files)


def test_a_run_is_followed_while_it_grows_and_when_it_is_taken_back(run, monkeypatch):
    monkeypatch.setattr(tensorboard, "POLL_SECONDS", 0.02)
    whole = (run.directory / "events.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    result = (run.directory / "result.json").read_bytes()
    (run.directory / "result.json").unlink()
    half = len(lines) // 2
    # What a search that was killed did after its last checkpoint, and will do otherwise.
    lost = lines[half].replace(b'"candidates"', b'"candidates" ') + lines[half + 1]
    (run.directory / "events.jsonl").write_bytes(b"".join(lines[:half]) + lost)
    following = threading.Thread(target=run.tensorboard, kwargs={"follow": True})
    following.start()

    def wait_for(events):
        for _ in range(500):
            if len(read(run.directory / "tensorboard")[0].get(("search", "accuracy/mean"), [])) == events:
                return
            following.join(0.02)
        raise AssertionError(f"{events} steps were not seen")

    evaluated = lambda some: sum(b'"event":"evaluated"' in line for line in some)  # noqa: E731
    wait_for(evaluated(lines[: half + 2]))
    (run.directory / "events.jsonl").write_bytes(b"".join(lines[: half - 1]))
    wait_for(evaluated(lines[: half - 1]))
    with open(run.directory / "events.jsonl", "ab") as journal:
        journal.write(lines[half - 1][:40])
        journal.flush()
        following.join(0.1)
        journal.write(lines[half - 1][40:] + b"".join(lines[half:]))
    assert following.is_alive()
    (run.directory / "result.json").write_bytes(result)
    following.join(30)
    assert not following.is_alive()
    same(read(run.directory / "tensorboard")[0], {**expected_of_search(run), **expected_of_result(run)})


def test_a_live_search_is_followed_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "POLL_SECONDS", 0.02)
    directory = tmp_path / "live"
    search = threading.Thread(target=pleach.run, args=(RUN,), kwargs={"directory": directory, "quiet": True})
    search.start()
    while not (directory / "run.json").is_file():
        assert search.is_alive()
        search.join(0.01)
    written = pleach.Run(directory).tensorboard(follow=True)
    search.join()
    run = pleach.Run(directory)
    same(read(written)[0], {**expected_of_search(run), **expected_of_result(run)})


def test_known_failed_and_forbidden_networks_count_as_they_should():
    series = SearchSeries({"loss": "minimise", "params": {"at_most": 10}})
    step = lambda *candidates: {  # noqa: E731
        "event": "evaluated",
        "at_seconds": 1.0,
        "seconds": 0.5,
        "objectives": ["loss", "params"],
        "candidates": [dict(zip(("genome", "values", "known", "failed"), one)) for one in candidates],
    }
    event = step(([0], [4.0, 5]), ([0], [4.0, 5]), ([1], [1.0, 11]), ([2], [3.0, 10]), ([3], [9.0, 1], True))
    event["candidates"].append({"genome": [4], "failed": "no memory"})
    event["candidates"].append({"genome": [5]})  # Behind the end of the budget.
    points = [point for point in series.add(event) if isinstance(point, Point)]
    told = lambda tag: [(point.step, point.value) for point in points if point.tag == tag]  # noqa: E731
    assert told("loss/candidate") == [(1, 4.0), (2, 1.0), (3, 3.0)]
    assert told("loss/best") == [(4, 3.0)] and told("params/best") == [(4, 10)]
    assert told("loss/mean") == [(4, pytest.approx(8 / 3))]
    assert series.evaluations == 4
    assert list(series.add(step(([0], [4.0, 5], True)))) == []


def test_what_cannot_be_written_is_said(run, tmp_path, monkeypatch, capsys):
    assert tensorboard.main([str(tmp_path)]) == 4
    assert "no run directory" in capsys.readouterr().err
    assert tensorboard.main([str(run.directory)]) == 0
    assert "tensorboard --logdir" in capsys.readouterr().out
    with open(run.directory / "events.jsonl", "a") as journal:
        journal.write("{nothing}\n")
    assert tensorboard.main([str(run.directory)]) == 2
    assert "is damaged" in capsys.readouterr().err
    monkeypatch.delitem(sys.modules, "pleach.tensorboard_events")
    monkeypatch.delattr(pleach, "tensorboard_events")
    for module in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert tensorboard.main([str(run.directory)]) == 2
    assert "pip install 'pleach[tensorboard]'" in capsys.readouterr().err
