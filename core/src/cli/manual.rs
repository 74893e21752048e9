//! Completions of shells and manual pages, from the definition of the command line.

use std::{fs, path::Path};

use clap::CommandFactory;

use super::Arguments;
use crate::error::{Error, Result};

/// Prints the completions of a shell.
pub(super) fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "pleach", &mut text);
    print(&text);
    Ok(())
}

/// Prints the manual page, or writes one for each command that is not hidden.
pub(super) fn pages(folder: Option<&Path>) -> Result<()> {
    let failed = |error: std::io::Error, path: &Path| {
        Error::unusable(format!("failed to write {}: {error}", path.display()), "give another --dir")
    };
    let Some(folder) = folder else {
        let mut text = Vec::new();
        let page = clap_mangen::Man::new(Arguments::command());
        page.render(&mut text).map_err(|error| failed(error, Path::new("the manual page")))?;
        print(&text);
        return Ok(());
    };
    fs::create_dir_all(folder).map_err(|error| failed(error, folder))?;
    clap_mangen::generate_to(Arguments::command(), folder).map_err(|error| failed(error, folder))
}

fn print(text: &[u8]) {
    // What clap writes is UTF-8; a reader that went away is no failure of the command.
    anstream::print!("{}", String::from_utf8_lossy(text));
}
