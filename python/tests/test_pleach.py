"""The package against the real program: PLEACH and PLEACH_PLUGIN_PATH say where it is."""

import json

import pandas
import pytest

import pleach

RUN = {
    "name": "python",
    "seed": 7,
    "plugins": ["gevonas", "baselines", "tabular"],
    "space": {
        "use": "gevonas/growing-blocks",
        "with": {
            "input": {"channels": 3, "height": 32, "width": 32},
            "classes": 10,
            "blocks": [
                {"layers": 3, "channels": 16, "stride": 2},
                {"layers": 3, "channels": 32, "stride": 2},
            ],
            "operations": ["identity", "mb3_k3", "mb6_k5"],
        },
    },
    "estimator": {"use": "tabular/nk-landscape"},
    "operators": [{"use": "gevonas/operation-mutation"}],
    "strategy": {
        "use": "baselines/regularized-evolution",
        "with": {"population": 10, "sample": 3, "evaluations": 60, "epochs": 1},
    },
    "objectives": {"accuracy": "maximise"},
    "random_networks": 0,
}


@pytest.fixture
def finished(tmp_path):
    return pleach.run(RUN, directory=tmp_path / "run", quiet=True)


def without_times(result):
    return {key: value for key, value in result.items() if key != "times"}


def test_a_mapping_and_a_file_give_the_same_search(tmp_path, finished):
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps(RUN))
    again = pleach.run(file, directory=tmp_path / "again", quiet=True)
    other = pleach.run(file, set={"seed": 8}, directory=tmp_path / "other", quiet=True)
    assert without_times(again.result) == without_times(finished.result)
    assert other.record["seed"] == 8
    assert other.candidates()["genome"].tolist() != again.candidates()["genome"].tolist()


def test_candidates_are_a_table_with_ancestors(finished):
    candidates = finished.candidates()
    assert len(candidates) == 60
    assert candidates["accuracy"].max() == finished.winner["objectives"]["accuracy"]
    assert candidates["failed"].isna().all() and not candidates["known"].any()
    seen = set()
    for _, candidate in candidates.iterrows():
        assert set(candidate["parents"]) <= seen
        seen.add(candidate["genome"])
    assert set(candidates["by"]) == {"random", "gevonas/operation-mutation"}
    assert candidates["at_seconds"].is_monotonic_increasing
    assert finished.trainings()["epochs"].tolist() == [1.0]


def test_a_mistake_says_where_it_is_and_what_to_do(tmp_path):
    with pytest.raises(pleach.PleachError, match="did you mean `population`") as caught:
        pleach.run(RUN, set={"strategy.with.populaton": 5}, directory=tmp_path / "run", quiet=True)
    assert caught.value.exit_code == 2
    assert caught.value.errors[0]["message"] == "unknown key `populaton`"
    with pytest.raises(pleach.PleachError, match="no-such-file") as caught:
        pleach.run(tmp_path / "no-such-file.yaml", quiet=True)
    assert caught.value.exit_code == 2


def test_a_search_goes_on_to_the_same_result(tmp_path, finished):
    part = pleach.run(RUN, set={"budget.evaluations": 25}, directory=tmp_path / "part", quiet=True)
    assert len(part.candidates()) == 25
    part.resume(set={"budget.evaluations": 60}, quiet=True)
    assert part.winner == finished.winner
    assert part.candidates()["genome"].tolist() == finished.candidates()["genome"].tolist()


def test_a_run_without_a_result_can_be_read(tmp_path, finished):
    (finished.directory / "result.json").unlink()
    with open(finished.directory / "events.jsonl", "a") as journal:
        journal.write('{"event": "evalu')
    unfinished = pleach.Run(finished.directory)
    assert not unfinished.is_finished and len(unfinished.candidates()) == 60
    with pytest.raises(FileNotFoundError, match="resume"):
        unfinished.result
    with pytest.raises(FileNotFoundError, match="no run directory"):
        pleach.Run(tmp_path)


def test_a_run_and_one_evaluation_are_reproduced(finished):
    assert finished.reproduce(quiet=True)["different"] == []
    genome = finished.winner["genome"]
    assert finished.reproduce(genome, quiet=True)["different"] == []
    journal = finished.directory / "events.jsonl"
    value = finished.winner["objectives"]["accuracy"]
    journal.write_text(journal.read_text().replace(repr(value), "0.125"))
    assert finished.reproduce(genome, quiet=True)["different"]


def test_strategies_are_compared(tmp_path):
    file = tmp_path / "compare.yaml"
    variants = {"evolution": [], "random": ["strategy={use: baselines/random-search, with: {epochs: 1}}"]}
    file.write_text(json.dumps({**RUN, "budget": {"evaluations": 40}, "compare": {"seeds": 3, "variants": variants}}))
    compared = pleach.compare(file, seeds=4, directory=tmp_path / "compared", quiet=True)
    table = compared.table()
    assert table.index.tolist() == ["evolution", "random"]
    assert (table["objective_count"] == 4).all()
    curves = compared.curves()
    assert isinstance(curves, pandas.DataFrame) and set(curves["variant"]) == {"evolution", "random"}
    assert curves.groupby("variant")["mean"].apply(lambda mean: mean.is_monotonic_increasing).all()


def test_components_are_listed():
    components = pleach.components()
    kinds = components.set_index("component")["kind"]
    assert kinds["gevonas/grow-and-prune"] == "strategy"
    assert not components.duplicated(["component", "kind"]).any()


def test_what_the_program_says_reaches_python_unless_it_shall_be_quiet(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PLEACH_LOG", "debug")
    pleach.run(RUN, directory=tmp_path / "loud")
    assert "loaded" in capsys.readouterr().err
    pleach.run(RUN, directory=tmp_path / "quiet", quiet=True)
    assert capsys.readouterr().err == ""


def test_a_missing_program_is_said(monkeypatch):
    monkeypatch.setenv("PLEACH", "/no/such/pleach")
    with pytest.raises(FileNotFoundError, match="PLEACH"):
        pleach.components()
