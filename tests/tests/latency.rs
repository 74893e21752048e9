//! How long networks take: profiles that `pleach profile` measures, and searches under a limit. They
//! need libtorch, and say loudly that they skip without it.

use std::{
    path::Path,
    process::{Command, Output},
};

use pleach_tests::{pleach, stderr, stdout, supernet};
use serde_json::Value;
use tempfile::TempDir;

/// Layers that differ much in what they take.
const RUN: &str = "\
name: timed
seed: 3
plugins: [gevonas, datasets, baselines, SUPERNET]
space:
  use: gevonas/growing-blocks
  with:
    stem: { channels: 16, stride: 1 }
    blocks: [{ layers: 2, channels: 16, stride: 1 }, { layers: 2, channels: 32, stride: 2 }]
    operations: [identity, mb3_k3, mb6_k5]
    head: 32
dataset: { use: datasets/synthetic, with: { size: 32, train: 400, test: 10, classes: 4 } }
estimator:
  use: supernet/zero-cost
  with: { device: cpu, threads: 1, proxies: [naswot], batch: 16 }
operators:
  - { use: gevonas/uniform-crossover }
  - { use: gevonas/operation-mutation }
strategy: { use: baselines/random-search, with: { evaluations: 20, batch: 5, epochs: 0 } }
objectives: { naswot: maximise }
random_networks: 5
latency:
  by: { use: supernet/latency, with: { batch: 4, take: least, warm_up: 1, repeats: 3, milliseconds: 0 } }
";

const GROW: &str =
    "strategy={use: gevonas/grow-and-prune, with: {population: 6, generations: 2, epochs: {first: 0, later: 0}}}";

struct Folder(TempDir);

impl Folder {
    /// With the run file, and its profile in `profiled`; none without libtorch.
    fn new() -> Option<Self> {
        let folder = Folder(tempfile::tempdir().expect("a temporary folder"));
        let text = RUN.replace("SUPERNET", &supernet()?.display().to_string());
        std::fs::write(folder.path().join("run.yaml"), text).expect("the file can be written");
        let output =
            folder.call(&["profile", "run.yaml", "--dir", "profiled", "--networks", "8", "--rounds", "2"], &[]);
        assert!(output.status.success(), "{}", stderr(&output));
        let told = stdout(&output);
        assert!(told.contains("over 8 unseen networks") && told.contains("profile.json"), "{told}");
        Some(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, arguments: &[&str], sets: &[&str]) -> Command {
        let mut command = pleach();
        command.args(arguments).current_dir(self.path());
        for set in sets {
            command.args(["--set", set]);
        }
        command
    }

    fn call(&self, arguments: &[&str], sets: &[&str]) -> Output {
        self.command(arguments, sets).output().expect("the program starts")
    }

    fn json(&self, file: &str) -> Value {
        let text = std::fs::read_to_string(self.path().join(file)).expect("the file is there");
        serde_json::from_str(&text).expect("it is JSON")
    }

    /// Replaces what the predictor of the profile adds up by times of which it is known how many networks are
    /// below the limit in milliseconds that comes back, on whatever machine.
    fn make_known(&self) -> f64 {
        let mut profile = self.json("profiled/profile.json");
        profile["fit"]["constant"] = 0.into();
        for operation in profile["operations"].as_array_mut().expect("a list") {
            let milliseconds = if operation["name"] == "mb6_k5" { 3 } else { 1 };
            operation["nanoseconds"] = (milliseconds * 1_000_000).into();
        }
        std::fs::write(self.path().join("known.json"), profile.to_string()).expect("the file can be written");
        9.0
    }

    /// A search with a profile, and its result.
    fn search(&self, folder: &str, sets: &[&str]) -> Value {
        let output = self.call(&["run", "run.yaml", "--dir", folder], sets);
        assert!(output.status.success(), "{}", stderr(&output));
        self.json(&format!("{folder}/result.json"))
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_space_is_profiled_and_a_limit_is_kept_from_the_first_network_to_the_last() {
    let Some(folder) = Folder::new() else { return };
    let profile = folder.json("profiled/profile.json");
    // A stem, a head, and two operations at three shapes: the second layer of a Block has its own.
    let operations = profile["operations"].as_array().expect("a list");
    let names: Vec<&str> = operations.iter().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(names, ["stem", "mb3_k3", "mb6_k5", "mb3_k3", "mb6_k5", "mb3_k3", "mb6_k5", "head"]);
    assert!(operations.iter().all(|it| number(&it["milliseconds"]) > 0.0), "{operations:?}");
    assert_eq!(profile["networks"].as_array().map(Vec::len), Some(16));
    assert_eq!(profile["by"]["use"], "supernet/latency");
    assert_eq!((&profile["measured_on"]["threads"], &profile["measured_on"]["batch"]), (&1.into(), &4.into()));
    // How well it predicts is what tests/latency.sh says of an idle machine; that it tells the truth of
    // it, on networks that the predictor was made without, holds on a busy one too.
    let networks = profile["networks"].as_array().expect("a list");
    let unseen: Vec<&Value> = networks.iter().filter(|network| network["unseen"] == true).collect();
    assert_eq!(unseen.len(), 8);
    let off = |network: &&Value| number(&network["predicted"]) / number(&network["milliseconds"]) - 1.0;
    let errors: Vec<f64> = unseen.iter().map(off).collect();
    let told = |name: &str| number(&profile["error"][name]);
    assert!((told("mean") - errors.iter().map(|error| error.abs()).sum::<f64>() / 8.0).abs() < 1e-9, "{errors:?}");
    assert!((told("bias") - errors.iter().sum::<f64>() / 8.0).abs() < 1e-9, "{errors:?}");
    assert!((told("worst") - errors.iter().fold(0.0, |worst, error| error.abs().max(worst))).abs() < 1e-9);

    let limit = folder.make_known();
    let bounded = format!("objectives={{naswot: maximise, latency: {{at_most: {limit}}}}}");
    for (name, strategy) in [("random", None), ("grown", Some(GROW))] {
        let sets = [Some("latency.profile=known.json"), Some(bounded.as_str()), Some("latency.margin=0.1"), strategy];
        let result = folder.search(name, &sets.into_iter().flatten().collect::<Vec<_>>());
        let of_winner = number(&result["winner"]["objectives"]["latency"]);
        assert_eq!(number(&result["winner"]["nanoseconds"]) / 1e6, of_winner);
        let journal = std::fs::read_to_string(folder.path().join(name).join("events.jsonl")).expect("it is there");
        let events = journal.lines().map(|line| serde_json::from_str::<Value>(line).expect("it is JSON"));
        let evaluated: Vec<Value> = events.filter(|event| event["event"] == "evaluated").collect();
        let candidates = evaluated.iter().flat_map(|event| event["candidates"].as_array().expect("a list"));
        let latencies: Vec<f64> = candidates.map(|candidate| number(&candidate["values"][0])).collect();
        assert_eq!(evaluated[0]["objectives"][0], "latency");
        // No network beyond the limit was asked for: strategies know of it beforehand.
        assert!(latencies.len() > 5 && latencies.iter().all(|it| *it <= limit / 1.1), "{limit} {latencies:?}");

        let output = folder.call(&["--json", "profile", name, "--rounds", "2"], &[]);
        assert!(output.status.success(), "{}", stderr(&output));
        let found: Value = serde_json::from_str(&stdout(&output)).expect("the answer is JSON");
        let found = &found["found"];
        assert_eq!(number(&found["limit"]), limit);
        assert_eq!(found["networks"][0]["genome"], result["winner"]["genome"]);
        assert!((number(&found["networks"][0]["predicted"]) - of_winner).abs() < 1e-9);
        for network in found["networks"].as_array().expect("a list") {
            assert_eq!(network["keeps_limit"], number(&network["milliseconds"]) <= limit);
        }
    }

    // Without the margin this seed draws a network at the limit.
    let train = "train={estimator: {use: supernet/stand-alone, with: {device: cpu, threads: 1, epochs: 1, \
                 batch: 50, held_out: 0, measure: test, auxiliary: 0}}}";
    let output = folder.call(&["train", "random", "--random", "5"], &[train]);
    assert!(output.status.success(), "{}", stderr(&output));
    let trained = folder.json("random/training-random-5/training.json");
    let blocks = trained["blocks"].as_object().expect("a list for each Block");
    let operations: Vec<&Value> = blocks.values().filter_map(Value::as_array).flatten().collect();
    let taken = |name: &str| operations.iter().filter(|it| **it == name).count() as f64;
    let latency = 2.0 + taken("mb3_k3") + 3.0 * taken("mb6_k5");
    assert!(operations.len() > 1 && latency <= limit / 1.1, "{latency} ms: {operations:?}");
}

#[test]
fn a_front_is_searched_with_latency_as_an_objective_and_a_run_goes_on_with_the_profile_that_it_began_with() {
    let Some(folder) = Folder::new() else { return };
    let wanted = [
        "latency.profile=profiled/profile.json",
        "objectives={naswot: maximise, latency: minimise}",
        "strategy={use: baselines/nsga-2, with: {population: 4, evaluations: 12, epochs: 0}}",
        "budget.evaluations=4",
    ];
    let whole = folder.search("whole", &wanted[..3]);
    let front = whole["front"]["networks"].as_array().expect("several objectives have a front");
    assert!(front.iter().all(|network| number(&network["objectives"]["latency"]) > 0.0), "{front:?}");
    // The worst of the space, which follows from the profile.
    assert_eq!(whole["front"]["reference"][0]["from"], "space");

    folder.search("cut", &wanted);
    assert_eq!(folder.json("cut/profile.json"), folder.json("profiled/profile.json"));
    std::fs::remove_file(folder.path().join("profiled/profile.json")).expect("it is there");
    let output = folder.call(&["resume", "cut", "--set", "budget.evaluations=100"], &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let mut resumed = folder.json("cut/result.json");
    let mut whole = whole;
    for result in [&mut resumed, &mut whole] {
        assert!(result.as_object_mut().and_then(|keys| keys.remove("times")).is_some());
    }
    assert_eq!(resumed, whole);
    let output = folder.call(&["reproduce", "cut", "--dir", "again"], &[]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert_eq!(folder.json("again/profile.json"), folder.json("cut/profile.json"));
}

#[test]
fn what_cannot_be_predicted_is_refused_with_its_reason() {
    let Some(folder) = Folder::new() else { return };
    let check = |sets: &[&str], expected: &[&str]| {
        let output = folder.call(&["check", "run.yaml"], sets);
        assert_eq!(output.status.code(), Some(2), "{sets:?}: {}", stdout(&output));
        let message = stderr(&output);
        assert!(expected.iter().all(|text| message.contains(text)), "{sets:?}: {message}");
    };
    let profile = "latency.profile=profiled/profile.json";
    let limit = "objectives={naswot: maximise, latency: {at_most: 1000}}";
    check(&[limit], &["unknown objective `latency`", "names what `pleach profile` wrote"]);
    check(&["latency={margin: 0.1}"], &["neither what measures latency nor where a profile of it is"]);
    check(&["latency.by.use=supernet/latancy"], &["did you mean `supernet/latency`?"]);
    check(&["latency.by.with.batch=0"], &["at `latency.by.with.batch"]);
    check(&["latency.profile=nowhere.json"], &["the profile nowhere.json cannot be read: No such file"]);
    check(
        &[profile, "latency.by.with.threads=2"],
        &["the profile was measured by supernet/latency with", "measures anew"],
    );
    check(
        &[profile, "space.with.blocks.0.channels=24"],
        &["has no time for `mb3_k3` of node", "16 x 32 x 32 -> 24", "other operations", "`pleach profile run.yaml`"],
    );
    check(&[profile, "space.with.operations=[identity, mb3_k3, mb6_k7]"], &["has no time for `mb6_k7`"]);
    let unkept = "objectives={naswot: maximise, latency: {at_most: 0.000001}}";
    check(&[profile, unkept], &["no network can keep latency at most"]);
    let measured_too = "estimator={use: supernet/latency}";
    check(&[profile, measured_too, "objectives={latency: minimise}"], &["there is one too many"]);

    // An estimator may measure it instead.
    let output = folder.call(&["check", "run.yaml"], &[measured_too, "objectives={latency: minimise}"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let output = folder.call(&["check", "run.yaml"], &[profile, limit]);
    let told = stdout(&output);
    assert!(
        output.status.success() && told.contains("unseen networks") && told.contains("limit       1000 ms"),
        "{told}"
    );
    let output =
        folder.call(&["profile", "run.yaml"], &["latency.by={use: supernet/zero-cost, with: {proxies: [synflow]}}"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("it does not measure `latency`, it measures synflow"), "{}", stderr(&output));
    let without = RUN.split("latency:\n").next().expect("a text has a beginning");
    let text = without.replace("SUPERNET", &supernet().expect("it is there").display().to_string());
    std::fs::write(folder.path().join("without.yaml"), text).expect("the file can be written");
    let output = folder.call(&["profile", "without.yaml"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("does not say what measures how long networks take"), "{}", stderr(&output));
    assert!(!folder.path().join("runs").exists(), "nothing was left by what was refused");
}
