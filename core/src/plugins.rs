//! Plugins: from a name in a run file to a loaded library and its components.
//!
//! A run loads its plugins into this process. Whoever only wants to know what there is has plugins
//! described, and checked, in processes of their own (`child.rs`), for opening a library runs its
//! code. Only `library.rs` knows library files.

pub mod catalogue;
pub mod child;
pub mod conformance;
mod library;
pub mod new;
pub mod reference;
mod search_path;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use pleach_sdk::{ComponentInfo, Kind, PluginInfo, bridge::Plugin, host::Host, nearest};

use self::library::Library;
pub use self::{
    library::{hexadecimal, sha256_of},
    search_path::{Candidate, SearchPath, library_file},
};
use crate::{config::PluginReference, error::Diagnostic};

/// A plugin in this process.
pub struct Loaded {
    /// Its components, ready to be built.
    pub plugin: Plugin,
    /// Its file.
    pub path: PathBuf,
    /// The SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Files of the same name in later folders of the search path, with other bytes.
    pub shadowed: Vec<PathBuf>,
}

/// The plugins of a run.
#[derive(Default)]
pub struct Registry(Vec<Loaded>);

impl Registry {
    /// Loads plugins in the order given.
    ///
    /// # Errors
    ///
    /// The index of the plugin in `references`, and what is wrong with it.
    pub fn load(
        references: &[PluginReference],
        path: &SearchPath,
        host: &Arc<dyn Host>,
    ) -> std::result::Result<Self, (usize, Diagnostic)> {
        let mut registry = Registry::default();
        for (index, reference) in references.iter().enumerate() {
            let loaded = path
                .find(reference.name())
                .and_then(|Candidate { path, name, shadowed }| {
                    let loaded = load(&path, reference.sha256(), host)?;
                    match (name, &loaded.plugin.info().name) {
                        (Some(wanted), is) if wanted != *is => Err(of_another_name(&path, &wanted, is)),
                        _ => Ok(Loaded { shadowed, ..loaded }),
                    }
                })
                .and_then(|loaded| registry.check_name(loaded))
                .map_err(|diagnostic| (index, diagnostic))?;
            for other in &loaded.shadowed {
                tracing::warn!(
                    "the plugin `{}` is {}; {} is another build of that name and not used",
                    reference.name(),
                    loaded.path.display(),
                    other.display()
                );
            }
            registry.0.push(loaded);
        }
        Ok(registry)
    }

    fn check_name(&self, loaded: Loaded) -> std::result::Result<Loaded, Diagnostic> {
        let name = &loaded.plugin.info().name;
        match self.0.iter().find(|other| other.plugin.info().name == *name) {
            None => Ok(loaded),
            Some(other) => Err(two_of_a_name(name, &other.path, &loaded.path)),
        }
    }

    /// The loaded plugins.
    pub fn plugins(&self) -> &[Loaded] {
        &self.0
    }

    /// All components of a kind, as `plugin/component`.
    pub fn components(&self, kind: Kind) -> Vec<(String, &ComponentInfo)> {
        components(self.0.iter().map(|loaded| loaded.plugin.info()), kind)
    }

    /// The plugin and component behind `plugin/component`.
    ///
    /// # Errors
    ///
    /// What is not there, and the nearest name that is.
    pub fn find(&self, kind: Kind, name: &str) -> std::result::Result<(&Plugin, &ComponentInfo), Diagnostic> {
        let (plugin, component) = name.split_once('/').unwrap_or((name, ""));
        let loaded = self.0.iter().find(|loaded| loaded.plugin.info().name == plugin);
        let found = loaded.and_then(|loaded| {
            let mut components = loaded.plugin.info().components.iter();
            let found = components.find(|known| known.kind == kind && known.name == component)?;
            Some((&loaded.plugin, found))
        });
        found.ok_or_else(|| self.unknown(kind, name, plugin, loaded))
    }

    fn unknown(&self, kind: Kind, name: &str, plugin: &str, loaded: Option<&Loaded>) -> Diagnostic {
        let known: Vec<String> = self.components(kind).into_iter().map(|(name, _)| name).collect();
        let other_kind = self.0.iter().find_map(|loaded| {
            let of = &loaded.plugin.info();
            of.components.iter().find(|component| format!("{}/{}", of.name, component.name) == name)
        });
        let message = match (other_kind, nearest(name, known.iter().map(String::as_str))) {
            (Some(component), _) => format!("`{name}` is no {kind}; it is of the kind {}", component.kind),
            (None, Some(near)) => format!("there is no {kind} `{name}`, did you mean `{near}`?"),
            (None, None) => format!("there is no {kind} `{name}`"),
        };
        let list = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Diagnostic::new(message).help(match loaded {
            Some(_) => format!("known: {list}"),
            None => format!("the plugin `{plugin}` is not among `plugins:`; known: {list}"),
        })
    }
}

/// What no host can work with in what a plugin says of itself.
fn wrong_with(info: &PluginInfo) -> Option<String> {
    let is_name = |name: &str| {
        let is_letter = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        !name.is_empty() && name.len() <= 100 && name.chars().all(is_letter)
    };
    if !is_name(&info.name) {
        return Some(format!("{:?} is no name", info.name));
    }
    let mut texts = vec![&info.version, &info.sdk, &info.compiler, &info.summary];
    for (index, component) in info.components.iter().enumerate() {
        let is_same = |other: &ComponentInfo| (other.kind, &other.name) == (component.kind, &component.name);
        if !is_name(&component.name) {
            return Some(format!("{:?} is no name for a component", component.name));
        }
        if info.components[..index].iter().any(is_same) {
            return Some(format!("it has the {} `{}` twice", component.kind, component.name));
        }
        if !component.schema.is_object() || jsonschema::validator_for(&component.schema).is_err() {
            return Some(format!("the schema of the {} `{}` is no JSON Schema", component.kind, component.name));
        }
        texts.extend([&component.summary, &component.needs]);
    }
    let unprintable = texts.into_iter().find(|text| text.chars().any(char::is_control))?;
    Some(format!("{unprintable:?} is no text of one line"))
}

/// Says that a plugin which was found by its file's name is another one.
fn of_another_name(path: &Path, wanted: &str, name: &str) -> Diagnostic {
    let right = library_file(name);
    Diagnostic::new(format!("{} is called `{wanted}` and says that it is the plugin `{name}`", path.display()))
        .help(format!("call the file {right}; names in a run file are those that plugins say"))
}

/// All components of a kind, as `plugin/component`.
fn components<'a>(plugins: impl Iterator<Item = &'a PluginInfo>, kind: Kind) -> Vec<(String, &'a ComponentInfo)> {
    plugins
        .flat_map(|plugin| plugin.components.iter().map(move |component| (plugin, component)))
        .filter(|(_, component)| component.kind == kind)
        .map(|(plugin, component)| (format!("{}/{}", plugin.name, component.name), component))
        .collect()
}

/// Two libraries that say they are one plugin, or one that is listed twice.
fn two_of_a_name(name: &str, first: &Path, second: &Path) -> Diagnostic {
    if first == second {
        return Diagnostic::new(format!("the plugin `{name}` is listed twice: {}", first.display()))
            .help("leave one of them out");
    }
    Diagnostic::new(format!("two plugins are called `{name}`: {} and {}", first.display(), second.display()))
        .help("leave one of them out")
}

/// Loads a plugin into this process: reads its file, opens it, and asks what it has.
///
/// # Errors
///
/// A file that is no plugin of this ABI, or a plugin that cannot start.
pub fn load(path: &Path, pin: Option<&str>, host: &Arc<dyn Host>) -> std::result::Result<Loaded, Diagnostic> {
    let library = Library::read(path, pin)?;
    let plugin = Plugin::start(library.open()?, Arc::clone(host)).map_err(|error| {
        Diagnostic::new(format!("the plugin {} cannot start: {error}", path.display()))
            .help("build it again; if that does not help its author has to mend it")
    })?;
    if let Some(wrong) = wrong_with(plugin.info()) {
        return Err(Diagnostic::new(format!("the plugin {} describes itself wrongly: {wrong}", path.display()))
            .help("its author has to mend it: export_plugin! writes descriptions that are right"));
    }
    tracing::debug!(plugin = plugin.info().name, path = %path.display(), "loaded");
    Ok(Loaded { plugin, path: path.to_owned(), sha256: library.sha256, shadowed: Vec::new() })
}
