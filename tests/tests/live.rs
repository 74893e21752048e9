//! Progress on a terminal, in a pipe, and where nobody wants any.

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use pleach_tests::{checkout, pleach, stderr, stdout};
use portable_pty::{CommandBuilder, PtySize, native_pty_system};

/// How long a terminal may show nothing new.
const PATIENCE: Duration = Duration::from_secs(60);

/// The small search, so slow that it can be looked at.
fn run_file(folder: &Path) -> PathBuf {
    let small = fs::read_to_string(checkout().join("tests/small.yaml")).expect("it is there");
    let slow = small.replace("misbehaving/formula }", "misbehaving/formula, with: { badly: slow } }");
    assert_ne!(slow, small);
    let file = folder.join("run.yaml");
    fs::write(&file, slow + "budget: { wall_clock: 1h }\n").expect("the file can be written");
    file
}

/// The program on a terminal of 24 rows.
struct Terminal {
    screen: vt100::Parser,
    said: mpsc::Receiver<Vec<u8>>,
    keyboard: Box<dyn Write + Send>,
    child: Box<dyn portable_pty::Child + Send + Sync>,
    _pair: portable_pty::PtyPair,
}

impl Terminal {
    fn run(arguments: &[&Path], columns: u16, variables: &[(&str, &str)]) -> Self {
        let size = PtySize { rows: 24, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).expect("there are terminals");
        let program = pleach();
        let mut command = CommandBuilder::new(program.get_program());
        command.args(program.get_args());
        command.arg("run");
        command.args(arguments);
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            }
        }
        command.env_remove("NO_COLOR");
        command.env("TERM", "xterm-256color");
        variables.iter().for_each(|(name, value)| command.env(name, value));
        let child = pair.slave.spawn_command(command).expect("the program starts");
        let mut output = pair.master.try_clone_reader().expect("a terminal can be read");
        let (say, said) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A terminal that nobody writes to any more is an error or an end, whichever the system likes.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                if say.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let keyboard = pair.master.take_writer().expect("a terminal can be written to");
        Terminal { screen: vt100::Parser::new(24, columns, 0), said, keyboard, child, _pair: pair }
    }

    fn text(&self) -> String {
        self.screen.screen().contents()
    }

    /// Reads on until the screen is as wanted.
    fn wait_for(&mut self, what: &str, is_there: impl Fn(&str) -> bool) {
        while !is_there(&self.text()) {
            match self.said.recv_timeout(PATIENCE) {
                Ok(bytes) => self.screen.process(&bytes),
                Err(error) => panic!("{what} is not shown ({error}):\n{}", self.text()),
            }
        }
    }

    /// Everything that is said until the program ends, and its exit code.
    fn end(mut self) -> (String, u32) {
        let status = self.child.wait().expect("it can be waited for");
        // What it wrote last may be still under way.
        while let Ok(bytes) = self.said.recv_timeout(Duration::from_millis(500)) {
            self.screen.process(&bytes);
        }
        assert!(!self.screen.screen().hide_cursor(), "the cursor is there");
        (self.text(), status.exit_code())
    }
}

#[test]
fn a_terminal_shows_the_search_and_ctrl_c_clears_it() {
    for (columns, rows) in [
        (
            60,
            [
                "    search  ",
                " s, about ",
                "     stage  2 of 3, generation ",
                " networks, operations 2 ",
                "      best  accuracy ",
                "            mb",
                "population  latest ",
                ", best ",
            ],
        ),
        (
            100,
            [
                " evaluations, ",
                " s, about ",
                "     stage  2 of 3, generation ",
                " of 108 networks, operations 2 ",
                "      best  accuracy ",
                "            mb",
                "population  latest ",
                ", best ",
            ],
        ),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (file, directory) = (run_file(folder.path()), folder.path().join("run"));
        let mut terminal = Terminal::run(&[&file, Path::new("--dir"), &directory], columns, &[]);
        terminal.wait_for("the search", |text| rows.iter().all(|row| text.contains(row)));
        assert!(terminal.text().contains("stage 1  trained   2 epochs over "), "{}", terminal.text());
        terminal.keyboard.write_all(b"\x03").expect("a key can be pressed");
        let (text, code) = terminal.end();
        assert_eq!(code, 130, "{text}");
        assert!(text.contains("error: interrupted") && !text.contains("population"), "{text}");
    }
}

#[test]
fn a_terminal_without_colours_gets_none_and_one_without_a_cursor_gets_lines() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = run_file(folder.path());
    let shown = |name: &str, variables: &[(&str, &str)], what: &str| {
        let directory = folder.path().join(name);
        let mut terminal = Terminal::run(&[&file, Path::new("--dir"), &directory], 100, variables);
        terminal.wait_for(what, |text| text.contains(what));
        let cells = (0..24).flat_map(|row| (0..100).map(move |column| (row, column)));
        let screen = terminal.screen.screen();
        let is_bold = cells.clone().any(|(row, column)| screen.cell(row, column).is_some_and(vt100::Cell::bold));
        let text = terminal.text();
        terminal.child.kill().expect("it can be killed");
        (text, is_bold)
    };
    let (text, is_bold) = shown("coloured", &[], "population  latest");
    assert!(is_bold, "{text}");
    let (text, is_bold) = shown("plain", &[("NO_COLOR", "1")], "population  latest");
    assert!(!is_bold, "{text}");
    let (text, _) = shown("dumb", &[("TERM", "dumb")], "stage 2  generation 1 ");
    assert!(!text.contains("population"), "{text}");
}

#[test]
fn a_pipe_gets_a_line_for_each_step_and_quiet_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = run_file(folder.path());
    let run = |arguments: &[&str]| {
        let mut command = pleach();
        command.current_dir(folder.path()).args(arguments);
        command.output().expect("the program starts")
    };
    let file = file.to_str().expect("it is text");
    let fast = ["--set", "estimator={use: misbehaving/formula}"];
    let output = run(&[&["run", file, "--dir", "lines"], &fast[..]].concat());
    let told = stderr(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.lines().any(|line| line.starts_with("stage 1  trained   2 epochs over ")), "{told}");
    assert!(
        told.lines().any(|line| line.starts_with("stage 2  generation 1 ") && line.contains(", best accuracy ")),
        "{told}"
    );
    assert!(!told.contains('\x1b') && !told.contains("population"), "{told}");

    let rank = ["--set", "rank={reference: {use: misbehaving/formula}, networks: 10, seeds: [1]}"];
    let compare = ["--seeds", "1", "--dir", "compared"];
    for arguments in [
        &["-q", "run", file, "--dir", "quiet", fast[0], fast[1]][..],
        &["resume", "--quiet", "lines"],
        &["reproduce", "lines", "--quiet"],
        &[&["--quiet", "rank", file, "--dir", "ranked"], &fast[..], &rank[..]].concat(),
        &[&["--quiet", "compare", file, "--set", "budget={evaluations: 5}"], &fast[..], &compare[..]].concat(),
    ] {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "{arguments:?}");
        assert!(!stdout(&output).is_empty(), "{arguments:?}");
    }
    let output = run(&["-q", "run", file, "--dir", "lines"]);
    assert!(stderr(&output).starts_with("error: the run directory is in use"), "{}", stderr(&output));
}
