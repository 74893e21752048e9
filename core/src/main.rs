//! The program `pleach`.

fn main() -> std::process::ExitCode {
    pleach::cli::main()
}
