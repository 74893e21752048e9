//! Shells and `man` are told of every command.

use std::{collections::BTreeSet, fs};

use pleach_tests::{pleach, stderr, stdout};

fn answer(arguments: &[&str]) -> String {
    let output = pleach().args(arguments).output().expect("the program starts");
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    stdout(&output)
}

/// The commands that `--help` lists.
fn commands() -> BTreeSet<String> {
    let help = answer(&["--help"]);
    let list = help.split_once("Commands:\n").expect("help lists commands").1;
    let lines = list
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    lines.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_shell_completes_every_command_and_none_that_is_hidden() {
    let commands = commands();
    assert!(commands.contains("report") && commands.len() > 8, "{commands:?}");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = answer(&["completions", shell]);
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell} does not know {command}");
        }
    }
    let output = pleach().args(["completions", "cmd"]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("bash, elvish, fish, powershell, zsh"), "{}", stderr(&output));
}

#[test]
fn bash_takes_the_completions() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = folder.path().join("pleach.bash");
    fs::write(&script, answer(&["completions", "bash"])).expect("it can be written");
    let complete =
        "source \"$1\"; COMP_WORDS=(pleach rep); COMP_CWORD=1; _pleach pleach rep pleach; echo \"${COMPREPLY[@]}\"";
    let output =
        std::process::Command::new("bash").args(["-c", complete, "bash"]).arg(&script).output().expect("bash starts");
    let words: BTreeSet<String> = stdout(&output).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["report", "reproduce"].map(str::to_owned).into(), "{}", stderr(&output));
}

#[test]
fn there_is_a_page_for_every_command() {
    let page = answer(&["man"]);
    assert!(page.contains(".TH pleach 1"), "{page}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let into = folder.path().join("man1");
    let output = pleach().arg("man").arg("--dir").arg(&into).output().expect("the program starts");
    assert!(output.status.success(), "{}", stderr(&output));
    for command in commands() {
        assert!(page.contains(&format!("pleach\\-{command}(1)")), "{command} is not in the page");
        let own = fs::read_to_string(into.join(format!("pleach-{command}.1"))).expect("there is a page");
        assert!(own.contains(".SH SYNOPSIS"), "{own}");
    }
    let file = folder.path().join("file");
    fs::write(&file, "").expect("it can be written");
    let output = pleach().arg("man").arg("--dir").arg(&file).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}
