//! What the report of a run says, held against the run's own files; directories that cannot be
//! reported; and the server of the page.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Output, Stdio},
};

use pleach::report::{Marks, Report};
use pleach_tests::{checkout, pleach, stderr, stdout};
use serde_json::{Value, json};

/// A finished run, in a folder that goes away.
fn run() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = checkout().join("tests/small.yaml");
    let directory = folder.path().join("run");
    let output = pleach().arg("run").arg(&file).arg("--dir").arg(&directory).output().expect("the program starts");
    assert!(output.status.success(), "{}", stderr(&output));
    (folder, directory)
}

fn document(directory: &Path) -> Value {
    let report = Report::read(directory).expect("the run can be reported");
    report.document(Marks::default()).expect("the document is JSON")
}

fn read_json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("the file is there")).expect("the file is JSON")
}

fn journal(directory: &Path) -> String {
    fs::read_to_string(directory.join("events.jsonl")).expect("the run has a journal")
}

fn write_journal(directory: &Path, text: &str) {
    fs::write(directory.join("events.jsonl"), text).expect("the journal can be written");
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().expect("it is a list")
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().map(|text| text.as_str().expect("it is a text").to_owned()).collect()
}

/// A genome as the report writes it: a digit for each slot.
fn digits(genome: &Value) -> String {
    list(genome).iter().map(Value::to_string).collect()
}

fn report(arguments: &[&str]) -> Output {
    pleach().arg("report").args(arguments).output().expect("the program starts")
}

#[test]
fn a_report_says_what_result_and_journal_say() {
    let (_folder, directory) = run();
    let (document, result) = (document(&directory), read_json(&directory.join("result.json")));
    assert_eq!(document["problems"], json!([]));
    assert_eq!(document["state"]["kind"], "ended");
    assert_eq!(document["times"], result["times"]);
    assert_eq!(document["final_region"], result["final_region"]);
    let genomes = texts(&document["evaluations"]["genomes"]);
    assert_eq!(json!(genomes.len()), result["evaluations"]);
    assert_eq!(list(&document["elites"]).len(), list(&result["elites"]).len());
    for (elite, found) in list(&document["elites"]).iter().zip(list(&result["elites"])) {
        let index = elite["evaluation"].as_u64().expect("an elite was evaluated") as usize;
        assert_eq!(genomes[index], digits(&found["genome"]));
        assert_eq!(document["evaluations"]["values"][0][index], found["objectives"]["accuracy"]);
        assert_eq!(document["evaluations"]["values"][1][index], found["objectives"]["params"]);
    }
    // Each stage's best network, from the columns alone.
    let stages = list(&result["stages"]);
    assert!(stages.len() > 1, "a search in one stage shows no regions");
    assert_eq!(list(&document["trainings"]).len(), stages.len());
    for (index, (training, stage)) in list(&document["trainings"]).iter().zip(stages).enumerate() {
        assert_eq!(training["region"], stage["region"]);
        let from = training["first"].as_u64().expect("a number") as usize;
        let next = document["trainings"]
            .get(index + 1)
            .map_or(genomes.len() as u64, |next| next["first"].as_u64().expect("a number"));
        assert_eq!(json!(next as usize - from), stage["evaluations"]);
        let values = &list(&document["evaluations"]["values"][0])[from..next as usize];
        let params = &list(&document["evaluations"]["values"][1])[from..next as usize];
        let allowed = values.iter().zip(params).filter(|(_, params)| params.as_f64() <= Some(20000.0));
        let best = allowed.map(|(value, _)| value.as_f64().expect("a number")).fold(f64::MIN, f64::max);
        assert_eq!(json!(best), stage["best"]);
        // What the elites of a stage use is what its region is pruned to.
        let elites = list(&training["elites"]);
        assert!(!elites.is_empty(), "a stage ends with elites");
        let after = document["trainings"].get(index + 1).map_or(&document["final_region"], |next| &next["region"]);
        for elite in elites {
            let fits = list(elite).iter().zip(list(after)).filter(|(choice, allowed)| list(allowed).contains(choice));
            assert!(fits.count() + 2 >= list(after).len(), "only layers that are born now differ");
        }
    }
}

#[test]
fn every_ancestor_is_the_last_evaluation_of_a_parent_in_the_journal() {
    let (_folder, directory) = run();
    let document = document(&directory);
    let genomes = texts(&document["evaluations"]["genomes"]);
    let mut origins = BTreeMap::new();
    for line in journal(&directory).lines() {
        let event: Value = serde_json::from_str(line).expect("an event is JSON");
        for candidate in event["candidates"].as_array().into_iter().flatten().filter(|one| one["known"] != true) {
            let step = event["step"].as_u64().expect("a step has a number");
            origins.insert((step, digits(&candidate["genome"])), candidate["origin"].clone());
        }
    }
    let firsts = list(&document["steps"]["first"]);
    let (mut with_parents, mut exact) = (0, 0);
    for (index, genome) in genomes.iter().enumerate() {
        let step = firsts.partition_point(|first| first.as_u64() <= Some(index as u64)) - 1;
        let number = document["steps"]["step"][step].as_u64().expect("a number");
        let origin = &origins[&(number, genome.clone())];
        let by = document["evaluations"]["by"][index].as_u64().expect("a number") as usize;
        assert_eq!(document["origins"][by], origin["by"]);
        let parents = origin["parents"].as_array().cloned().unwrap_or_default();
        let told = list(&document["evaluations"]["parents"][index]);
        assert_eq!(told.len(), parents.len());
        for (parent, told) in parents.iter().zip(told) {
            let told = told.as_u64().expect("parents here were evaluated") as usize;
            assert!(told < index, "an ancestor comes before");
            with_parents += 1;
            exact += usize::from(genomes[told] == digits(parent));
        }
    }
    // Others are the same network with layers that pass through written in another place.
    assert!(with_parents > 20 && exact * 2 > with_parents, "{exact} of {with_parents}");
}

#[test]
fn a_run_that_is_not_over_is_reported_as_far_as_it_came() {
    let (_folder, directory) = run();
    fs::remove_file(directory.join("result.json")).expect("the result can be removed");
    let text = journal(&directory);
    let lines: Vec<&str> = text.lines().collect();
    let evaluated = |line: &&&str| line.contains("\"event\":\"evaluated\"");
    let count = lines.iter().rposition(|line| evaluated(&line)).expect("there are evaluations") + 1;
    write_journal(&directory, &(lines[..count].join("\n") + "\n{\"event\":\"evalua"));
    let told = document(&directory);
    assert_eq!(told["state"]["kind"], "unfinished");
    assert_eq!(told["problems"], json!([]));
    let first = told["trainings"].as_array().and_then(|all| all.last()).expect("there are trainings")["first"].clone();
    let from = first.as_u64().expect("a number") as usize;
    let columns = |index: usize| list(&told["evaluations"]["values"][index])[from..].to_vec();
    let within = columns(0).into_iter().zip(columns(1)).filter(|(_, params)| params.as_f64() <= Some(20000.0));
    let best = within.map(|(value, _)| value.as_f64().expect("a number")).fold(f64::MIN, f64::max);
    assert_eq!(told["elites"][0]["objectives"]["accuracy"], json!(best));
    // Nothing was measured yet.
    write_journal(&directory, &(lines[0].to_owned() + "\n"));
    let told = document(&directory);
    assert_eq!((&told["elites"], &told["evaluations"]["genomes"]), (&json!([]), &json!([])));
    write_journal(&directory, "");
    assert_eq!(document(&directory)["state"]["kind"], "unfinished");
    let stopped =
        json!({ "event": "stopped", "at_seconds": 1.0, "exit_code": 130, "errors": [{ "message": "interrupted" }] });
    write_journal(&directory, &format!("{}\n{stopped}\n", lines[0]));
    assert_eq!(document(&directory)["state"]["kind"], "interrupted");
}

#[test]
fn what_cannot_be_used_is_told_and_does_no_harm() {
    let (_folder, directory) = run();
    let whole = document(&directory);
    let evaluated = |candidate: Value, objectives: Value| {
        json!({ "event": "evaluated", "step": 900, "objectives": objectives, "candidates": [candidate] }).to_string()
    };
    let both = json!(["accuracy", "params"]);
    let lines = [
        "no JSON at all".to_owned(),
        "[]".to_owned(),
        json!({ "event": "watered", "at_seconds": 1e9, "litres": 3 }).to_string(),
        json!({ "event": "trained", "step": 901, "region": [[0]], "report": null }).to_string(),
        evaluated(json!({ "genome": [0, 1], "values": [0.5, 1.0] }), both.clone()),
        evaluated(json!({ "genome": [0, 99, 0, 0, 0], "values": [0.5, 1.0] }), both.clone()),
        evaluated(json!({ "genome": [0, 1, 0, 1, 1], "values": [0.5] }), both.clone()),
        evaluated(json!({ "genome": [0, 1, 0, 1, 1], "values": [0.5] }), json!(["beauty"])),
        evaluated(json!({ "genome": [0, 1, 0, 1, 1], "failed": "</script><b>" }), both),
    ];
    let text = journal(&directory);
    let (before, last) = text.trim_end().rsplit_once('\n').expect("a journal has lines");
    write_journal(&directory, &format!("{before}\n{}\n{last}\n", lines.join("\n")));
    fs::write(directory.join("result.json"), "{}").expect("the result can be written");
    let told = document(&directory);
    let problems = texts(&told["problems"]).join("\n");
    for expected in [
        "result.json cannot be used",
        "is no event",
        "the training of step 901 has no region of this space",
        "has 2 genes, the space has 5 slots",
        "picks choice 99",
        "has not one value for each objective",
        "step 900 has other objectives than the run: beauty",
    ] {
        assert!(problems.contains(expected), "{expected} is not in\n{problems}");
    }
    let happened: Vec<&str> = list(&told["happenings"]).iter().filter_map(|one| one["what"].as_str()).collect();
    assert!(happened.contains(&"watered, which this pleach does not know"), "{happened:?}");
    let count = |document: &Value| list(&document["evaluations"]["genomes"]).len();
    assert!(count(&told) <= count(&whole) + 1, "only the network that failed is one more");
    // The same on the command line, into a file.
    let out = directory.join("elsewhere.html");
    let output = report(&[&directory.display().to_string(), "--out", &out.display().to_string()]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("picks choice 99"), "{}", stderr(&output));
    let page = fs::read_to_string(out).expect("the report is there");
    assert!(!page.contains("</script><b>"), "what a file says does not become a part of the page");
}

#[test]
fn directories_that_hold_no_run_are_refused() {
    let (folder, directory) = run();
    let refused = |directory: &Path, expected: &str| {
        let output = report(&[&directory.display().to_string()]);
        assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{expected} is not in\n{}", stderr(&output));
        assert!(!directory.join("report.html").exists(), "nothing is written");
        let served = pleach().arg("serve").arg(directory).args(["--port", "0"]).output().expect("the program starts");
        assert_eq!(served.status.code(), Some(4), "{}", stderr(&served));
    };
    refused(&folder.path().join("nowhere"), "there is no search to report: run.json is missing");
    let comparison = folder.path().join("comparison");
    fs::create_dir(&comparison).expect("it can be made");
    fs::write(comparison.join("searches.jsonl"), "").expect("it can be written");
    refused(&comparison, "it holds a comparison: compare.md and compare.svg show it");
    let changed = |file: &str, text: Option<&str>, expected: &str| {
        let copy = folder.path().join("copy");
        fs::create_dir(&copy).expect("it can be made");
        for name in ["run.json", "network.json", "events.jsonl", "config.yaml"] {
            fs::copy(directory.join(name), copy.join(name)).expect("it can be copied");
        }
        match text {
            Some(text) => fs::write(copy.join(file), text).expect("it can be written"),
            None => fs::remove_file(copy.join(file)).expect("it can be removed"),
        }
        refused(&copy, expected);
        fs::remove_dir_all(copy).expect("it can be removed");
    };
    let record = read_json(&directory.join("run.json"));
    let with = |pointer: &str, value: Value| {
        let mut record = record.clone();
        *record.pointer_mut(pointer).expect("the key is there") = value;
        record.to_string()
    };
    changed("run.json", Some("{"), "this is no JSON");
    changed("run.json", Some(&with("/format", json!(7))), "the run has format 7");
    changed("run.json", Some(&with("/config/objectives", json!({}))), "none of them has a direction");
    changed("run.json", Some(&with("/config/objectives", json!(3))), "the objectives of the run cannot be read");
    changed("network.json", None, "the description of the networks cannot be read");
    changed("network.json", Some("{}"), "this is no description of networks");
    changed("events.jsonl", None, "the journal cannot be read");
}

#[test]
fn a_report_that_cannot_be_written_is_the_users_mistake() {
    let (_folder, directory) = run();
    let output = report(&[&directory.display().to_string(), "--out", "/nowhere/at/all.html"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("give another --out"), "{}", stderr(&output));
    let output = report(&[&directory.display().to_string(), "--json"]);
    let told: Value = serde_json::from_str(&stdout(&output)).expect("it is JSON");
    assert_eq!(told, json!({ "report": directory.join("report.html"), "problems": [] }));
}

/// A server that ends with the test.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(directory: &Path) -> Self {
        let mut command = pleach();
        command.arg("serve").arg(directory).args(["--port", "0"]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("it says where it is");
        let address = line.split('/').nth(2).expect("it says where it is").to_owned();
        Served { child, address }
    }

    /// Status and body.
    fn ask(&self, request: &str, host: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        write!(stream, "{request} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("there is a status");
        (status, answer.split_once("\r\n\r\n").expect("there is a body").1.to_owned())
    }

    fn data(&self, query: &str) -> Value {
        let (status, body) = self.ask(&format!("GET /data{query}"), &self.address);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("it is JSON")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn the_server_answers_readers_on_this_machine_and_nobody_else() {
    let (_folder, directory) = run();
    let served = Served::start(&directory);
    assert!(served.address.starts_with("127.0.0.1:"), "{}", served.address);
    let here = served.address.clone();
    let port = here.rsplit(':').next().expect("there is a port");
    let (status, page) = served.ask("GET /", &here);
    assert!(status == 200 && page.starts_with("<!doctype html>"), "{status}");
    assert_eq!(served.ask("GET /", &format!("localhost:{port}")).0, 200);
    assert_eq!(served.ask("HEAD /", &here), (200, String::new()));
    for host in ["evil.example", &format!("evil.example:{port}"), "127.0.0.1", "127.0.0.1:1"] {
        assert_eq!(served.ask("GET /data", host).0, 421, "{host}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        assert_eq!(served.ask(&format!("{method} /data"), &here).0, 405, "{method}");
    }
    for path in ["/run.json", "/../run.json", "/data/../config.yaml", "/%2e%2e/run.json"] {
        assert_eq!(served.ask(&format!("GET {path}"), &here).0, 404, "{path}");
    }
}

#[test]
fn the_server_tells_what_is_new_and_begins_again_where_the_journal_was_cut() {
    let (_folder, directory) = run();
    let text = journal(&directory);
    let lines: Vec<&str> = text.lines().collect();
    let some = lines.len() / 2;
    write_journal(&directory, &(lines[..some].join("\n") + "\n"));
    let served = Served::start(&directory);
    let first = served.data("");
    let count = |document: &Value| list(&document["evaluations"]["genomes"]).len();
    let marks = |document: &Value| {
        let steps = list(&document["steps"]["step"]).len();
        format!("?edition={}&evaluation={}&step={steps}", document["edition"], count(document))
    };
    assert!(count(&first) > 0);
    assert_eq!(count(&served.data(&marks(&first))), 0, "there is nothing new");
    write_journal(&directory, &text);
    let more = served.data(&marks(&first));
    let whole = document(&directory);
    assert_eq!(more["from"], json!([count(&first), list(&first["steps"]["step"]).len()]));
    let joined: Vec<String> = [&first, &more].iter().flat_map(|part| texts(&part["evaluations"]["genomes"])).collect();
    assert_eq!(joined, texts(&whole["evaluations"]["genomes"]));
    assert_eq!(more["state"]["kind"], "ended");
    // As `pleach resume` does.
    write_journal(&directory, &(lines[..some].join("\n") + "\n"));
    let again = served.data(&marks(&whole));
    assert_eq!((again["from"].clone(), count(&again)), (json!([0, 0]), count(&first)));
    assert_ne!(again["edition"], first["edition"]);
    fs::remove_file(directory.join("events.jsonl")).expect("it can be removed");
    assert_eq!(served.ask("GET /data", &served.address).0, 503);
}
