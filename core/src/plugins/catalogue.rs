//! What plugins there are: each described by a child process, so that one that crashes when it is
//! opened is told like any other that cannot be used.

use std::path::PathBuf;

use pleach_sdk::{ComponentInfo, Kind, PluginInfo};

use super::{Candidate, Diagnostic, SearchPath, components, conformance::describe, of_another_name, two_of_a_name};
use crate::{
    error::{Error, Result},
    host::Process,
};

/// The plugins on a search path.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// Those that can be used.
    pub plugins: Vec<Listed>,
    /// Files that are named like plugins and cannot be used.
    pub refused: Vec<(PathBuf, Diagnostic)>,
}

/// A plugin that can be used.
#[derive(Debug, Clone)]
pub struct Listed {
    /// What it says of itself.
    pub info: PluginInfo,
    /// Its file.
    pub path: PathBuf,
    /// The SHA-256 of the file.
    pub sha256: String,
    /// Files of the same name in later folders of the path, with other bytes.
    pub shadowed: Vec<PathBuf>,
}

impl Catalogue {
    /// Describes every plugin on a search path.
    ///
    /// # Errors
    ///
    /// An interrupt, and children that cannot be started.
    pub fn of(path: &SearchPath, process: &Process) -> Result<Self> {
        let mut catalogue = Catalogue::default();
        for Candidate { path, name, shadowed } in path.candidates() {
            match describe(&path, process) {
                Ok((_, info)) if name.as_ref().is_some_and(|name| *name != info.name) => {
                    let diagnostic = of_another_name(&path, name.as_deref().unwrap_or_default(), &info.name);
                    catalogue.refused.push((path, diagnostic));
                }
                Ok((library, info)) => match catalogue.plugins.iter().find(|other| other.info.name == info.name) {
                    Some(other) => {
                        let clash = two_of_a_name(&info.name, &other.path, &path);
                        catalogue.refused.push((path, clash));
                    }
                    None => catalogue.plugins.push(Listed { info, path, sha256: library.sha256, shadowed }),
                },
                Err(Error::Unusable(diagnostics)) => {
                    catalogue.refused.extend(diagnostics.into_iter().map(|diagnostic| (path.clone(), diagnostic)));
                }
                Err(other) => return Err(other),
            }
        }
        Ok(catalogue)
    }

    /// All components of a kind, as `plugin/component`.
    pub fn components(&self, kind: Kind) -> Vec<(String, &ComponentInfo)> {
        components(self.plugins.iter().map(|listed| &listed.info), kind)
    }
}
