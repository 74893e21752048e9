//! Where plugins are looked for, and which file a name means.

use std::{
    collections::BTreeMap,
    env::consts::{DLL_EXTENSION, DLL_PREFIX},
    path::{MAIN_SEPARATOR, Path, PathBuf},
};

use pleach_sdk::nearest;

use super::library::sha256_of;
use crate::{
    error::{Diagnostic, Error, Result},
    run::absolute,
};

/// Where plugins are looked for, first to last.
#[derive(Debug, Clone, Default)]
pub struct SearchPath(Vec<PathBuf>);

/// The file that a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The file.
    pub path: PathBuf,
    /// The name by which it was found; a path has none.
    pub name: Option<String>,
    /// Files of the same name in later folders, with other bytes.
    pub shadowed: Vec<PathBuf>,
}

impl SearchPath {
    /// `--plugin-dir`, then `PLEACH_PLUGIN_PATH`, then the user's folder, then the folder of the
    /// program.
    ///
    /// # Errors
    ///
    /// A folder of `--plugin-dir` that is not there.
    pub fn new(given: &[PathBuf]) -> Result<Self> {
        if let Some(missing) = given.iter().find(|folder| !folder.is_dir()) {
            return Err(Error::unusable(
                format!("there is no folder {}", missing.display()),
                "--plugin-dir takes a folder with plugins in it, such as target/release",
            ));
        }
        let mut folders = given.to_vec();
        if let Some(variable) = std::env::var_os("PLEACH_PLUGIN_PATH") {
            folders.extend(std::env::split_paths(&variable).filter(|folder| !folder.as_os_str().is_empty()));
        }
        folders.extend(dirs::data_dir().map(|folder| folder.join("pleach").join("plugins")));
        if let Ok(program) = std::env::current_exe()
            && let Some(folder) = program.parent()
        {
            folders.push(folder.to_owned());
        }
        Ok(SearchPath(folders))
    }

    /// The same wherever this process goes.
    #[must_use]
    pub fn absolute(mut self) -> Self {
        for folder in &mut self.0 {
            *folder = absolute(folder);
        }
        self
    }

    /// The same with folders to look in where no other has a plugin.
    #[must_use]
    pub fn then(mut self, folders: impl IntoIterator<Item = PathBuf>) -> Self {
        self.0.extend(folders);
        self
    }

    /// The folders, first to last.
    pub fn folders(&self) -> &[PathBuf] {
        &self.0
    }

    /// The file of a plugin: a path as it is, a name on the search path.
    ///
    /// # Errors
    ///
    /// A name that no folder has, with the nearest that one has.
    pub fn find(&self, name: &str) -> std::result::Result<Candidate, Diagnostic> {
        if name.contains(MAIN_SEPARATOR) || Path::new(name).extension().is_some_and(|end| end == DLL_EXTENSION) {
            return Ok(Candidate { path: PathBuf::from(name), name: None, shadowed: Vec::new() });
        }
        let file = library_file(name);
        let paths = self.0.iter().map(|folder| folder.join(&file)).filter(|path| path.symlink_metadata().is_ok());
        if let Some(candidate) = Candidate::of(name.to_owned(), paths.collect()) {
            return Ok(candidate);
        }
        let folders: Vec<_> = self.0.iter().map(|folder| folder.display().to_string()).collect();
        let known: Vec<String> = self.by_name().into_keys().collect();
        let near = nearest(name, known.iter().map(String::as_str));
        let meant = near.map_or(String::new(), |near| format!(", did you mean `{near}`?"));
        Err(Diagnostic::new(format!("there is no plugin `{name}`{meant}")).help(format!(
            "looked for {file} in {}; build it, or name its folder with --plugin-dir or PLEACH_PLUGIN_PATH",
            folders.join(", ")
        )))
    }

    /// All files on the path that are named like plugins, by name.
    pub fn candidates(&self) -> Vec<Candidate> {
        self.by_name().into_iter().filter_map(|(name, paths)| Candidate::of(name, paths)).collect()
    }

    fn by_name(&self) -> BTreeMap<String, Vec<PathBuf>> {
        let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for folder in &self.0 {
            // Most folders of the path need not be there.
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
                if let Some(name) = plugin_name(&path) {
                    found.entry(name).or_default().push(path);
                }
            }
        }
        found
    }
}

impl Candidate {
    /// The first of some files of one name, and those of the others that are not the same.
    fn of(name: String, paths: Vec<PathBuf>) -> Option<Self> {
        let mut paths = paths.into_iter();
        let path = paths.next()?;
        let mut first = None;
        let is_other = |other: &PathBuf| {
            let first = first.get_or_insert_with(|| sha256_of(&path).ok());
            // What cannot be read is told when it is loaded.
            first.is_none() || *first != sha256_of(other).ok()
        };
        let shadowed = paths.filter(is_other).collect();
        Some(Candidate { path, name: Some(name), shadowed })
    }
}

/// The file of a plugin of this name on this system.
pub fn library_file(name: &str) -> String {
    format!("{DLL_PREFIX}pleach_{}.{DLL_EXTENSION}", name.replace('-', "_"))
}

fn plugin_name(path: &Path) -> Option<String> {
    let stem = path.file_name()?.to_str()?.strip_prefix(DLL_PREFIX)?.strip_prefix("pleach_")?;
    Some(stem.strip_suffix(&format!(".{DLL_EXTENSION}"))?.replace('_', "-"))
}
