//! Plugins: from a name in a run file to a loaded library and its components.
//!
//! The only module that knows library files and `libloading`. A file is read and judged (kind,
//! architecture, ABI number) before it is opened, because opening runs its constructors.
//! Libraries are never unloaded: components hold code of theirs to the end.

use std::{
    collections::BTreeMap,
    env::consts::{DLL_EXTENSION, DLL_PREFIX},
    path::{Path, PathBuf},
    sync::Arc,
};

use object::{Architecture, BinaryFormat, Object, ObjectKind, ObjectSection, ObjectSymbol};
use pleach_abi::{ABI_MAJOR, ABI_SYMBOL, PluginModuleRef, abi_stable::library::lib_header_from_path};
use pleach_sdk::{ComponentInfo, Kind, bridge::Plugin, host::Host, nearest};
use sha2::{Digest, Sha256};

use crate::{
    config::PluginReference,
    error::{Diagnostic, Error, Result},
};

/// Where plugins are looked for, first to last.
#[derive(Debug, Clone)]
pub struct SearchPath(Vec<PathBuf>);

impl SearchPath {
    /// `--plugin-dir`, then `PLEACH_PLUGIN_PATH`, then the folder of the program.
    pub fn new(given: &[PathBuf]) -> Self {
        let mut folders = given.to_vec();
        if let Some(variable) = std::env::var_os("PLEACH_PLUGIN_PATH") {
            folders.extend(std::env::split_paths(&variable).filter(|folder| !folder.as_os_str().is_empty()));
        }
        if let Ok(program) = std::env::current_exe()
            && let Some(folder) = program.parent()
        {
            folders.push(folder.to_owned());
        }
        SearchPath(folders)
    }

    /// The same with folders to look in where no other has a plugin.
    #[must_use]
    pub fn then(mut self, folders: impl IntoIterator<Item = PathBuf>) -> Self {
        self.0.extend(folders);
        self
    }

    /// The file of a plugin: a path as it is, a name on the search path.
    fn find(&self, name: &str) -> std::result::Result<PathBuf, Diagnostic> {
        let is_path = name.contains(std::path::MAIN_SEPARATOR)
            || Path::new(name).extension().is_some_and(|end| end == DLL_EXTENSION);
        if is_path {
            let path = PathBuf::from(name);
            return if path.is_file() {
                Ok(path)
            } else {
                Err(Diagnostic::new(format!("there is no plugin file {name}"))
                    .help("build the plugin, or correct the path"))
            };
        }
        let file = library_file(name);
        if let Some(path) = self.0.iter().map(|folder| folder.join(&file)).find(|path| path.is_file()) {
            return Ok(path);
        }
        let folders: Vec<_> = self.0.iter().map(|folder| folder.display().to_string()).collect();
        let known: Vec<String> = self.libraries().iter().filter_map(|path| plugin_name(path)).collect();
        let near = nearest(name, known.iter().map(String::as_str));
        let meant = near.map_or(String::new(), |near| format!(", did you mean `{near}`?"));
        Err(Diagnostic::new(format!("there is no plugin `{name}`{meant}")).help(format!(
            "looked for {file} in {}; build it, or name its folder with --plugin-dir or PLEACH_PLUGIN_PATH",
            folders.join(", ")
        )))
    }

    /// All files on the path that are named like plugins.
    pub fn libraries(&self) -> Vec<PathBuf> {
        let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
        for folder in &self.0 {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
                if let Some(name) = plugin_name(&path) {
                    found.entry(name).or_insert(path);
                }
            }
        }
        found.into_values().collect()
    }
}

fn library_file(name: &str) -> String {
    format!("{DLL_PREFIX}pleach_{}.{DLL_EXTENSION}", name.replace('-', "_"))
}

fn plugin_name(path: &Path) -> Option<String> {
    let stem = path.file_name()?.to_str()?.strip_prefix(DLL_PREFIX)?.strip_prefix("pleach_")?;
    Some(stem.strip_suffix(&format!(".{DLL_EXTENSION}"))?.replace('_', "-"))
}

/// A plugin in this process.
pub struct Loaded {
    /// Its components, ready to be built.
    pub plugin: Plugin,
    /// Its file.
    pub path: PathBuf,
    /// The SHA-256 of the file, in hexadecimal.
    pub sha256: String,
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
                .and_then(|file| load(&file, reference.sha256(), host))
                .and_then(|loaded| registry.check_name(loaded))
                .map_err(|diagnostic| (index, diagnostic))?;
            registry.0.push(loaded);
        }
        Ok(registry)
    }

    /// Loads every plugin on the search path, and says what is wrong with those that cannot be.
    pub fn load_all(path: &SearchPath, host: &Arc<dyn Host>) -> (Self, Vec<(PathBuf, Diagnostic)>) {
        let mut registry = Registry::default();
        let mut refused = Vec::new();
        for file in path.libraries() {
            match load(&file, None, host).and_then(|loaded| registry.check_name(loaded)) {
                Ok(loaded) => registry.0.push(loaded),
                Err(diagnostic) => refused.push((file, diagnostic)),
            }
        }
        (registry, refused)
    }

    fn check_name(&self, loaded: Loaded) -> std::result::Result<Loaded, Diagnostic> {
        let name = &loaded.plugin.info().name;
        match self.0.iter().find(|other| other.plugin.info().name == *name) {
            None => Ok(loaded),
            Some(other) => Err(Diagnostic::new(format!(
                "two plugins are called `{name}`: {} and {}",
                other.path.display(),
                loaded.path.display()
            ))
            .help("leave one of them out")),
        }
    }

    /// The loaded plugins.
    pub fn plugins(&self) -> &[Loaded] {
        &self.0
    }

    /// All components of a kind, as `plugin/component`.
    pub fn components(&self, kind: Kind) -> Vec<(String, &ComponentInfo)> {
        let of_plugin = |loaded: &'_ Loaded| loaded.plugin.info().name.clone();
        self.0
            .iter()
            .flat_map(|loaded| {
                loaded.plugin.info().components.iter().map(move |component| (of_plugin(loaded), component))
            })
            .filter(|(_, component)| component.kind == kind)
            .map(|(plugin, component)| (format!("{plugin}/{}", component.name), component))
            .collect()
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

fn load(path: &Path, pin: Option<&str>, host: &Arc<dyn Host>) -> std::result::Result<Loaded, Diagnostic> {
    let bytes = std::fs::read(path)
        .map_err(|error| Diagnostic::new(format!("failed to read the plugin {}: {error}", path.display())))?;
    inspect(path, &bytes)?;
    let sha256 = hexadecimal(&Sha256::digest(&bytes));
    drop(bytes);
    if let Some(pin) = pin
        && pin != sha256
    {
        return Err(Diagnostic::new(format!("the plugin {} is not the one that was pinned", path.display()))
            .help(format!("its SHA-256 is {sha256}, the run file wants {pin}")));
    }
    let module = open(path)?;
    let plugin = Plugin::start(module, Arc::clone(host))
        .map_err(|error| Diagnostic::new(format!("the plugin {} cannot start: {error}", path.display())))?;
    tracing::debug!(plugin = plugin.info().name, path = %path.display(), "loaded");
    Ok(Loaded { plugin, path: path.to_owned(), sha256 })
}

/// What can be said of a file without running any of its code.
fn inspect(path: &Path, bytes: &[u8]) -> std::result::Result<(), Diagnostic> {
    let refuse = |what: String, help: &str| Err(Diagnostic::new(format!("{} {what}", path.display())).help(help));
    let Ok(file) = object::File::parse(bytes) else {
        return refuse("is no library".to_owned(), "a plugin is built by cargo with crate-type = [\"cdylib\"]");
    };
    let host = if cfg!(target_os = "macos") {
        BinaryFormat::MachO
    } else if cfg!(windows) {
        BinaryFormat::Pe
    } else {
        BinaryFormat::Elf
    };
    if file.format() != host || file.kind() != ObjectKind::Dynamic {
        return refuse(
            format!("is no library for this system but {:?}, {:?}", file.format(), file.kind()),
            "build the plugin on this system with crate-type = [\"cdylib\"]",
        );
    }
    if !architecture_fits(file.architecture()) {
        return refuse(
            format!("is built for {:?}, this program for {}", file.architecture(), std::env::consts::ARCH),
            "build the plugin for this machine",
        );
    }
    match abi_number(&file) {
        Some(ABI_MAJOR) => Ok(()),
        Some(other) => refuse(
            format!("speaks plugin ABI {other}, this pleach speaks ABI {ABI_MAJOR}"),
            "build the plugin with the pleach-sdk that belongs to this pleach",
        ),
        None => refuse(
            format!("is a library but no pleach plugin: it has no symbol {ABI_SYMBOL}"),
            "a plugin calls pleach_sdk::export_plugin!",
        ),
    }
}

fn architecture_fits(architecture: Architecture) -> bool {
    match architecture {
        Architecture::X86_64 => cfg!(target_arch = "x86_64"),
        Architecture::Aarch64 => cfg!(target_arch = "aarch64"),
        Architecture::Riscv64 => cfg!(target_arch = "riscv64"),
        // The loader decides about machines that nobody has tried.
        _ => !cfg!(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")),
    }
}

/// The value of the ABI symbol, read from the file.
fn abi_number(file: &object::File<'_>) -> Option<u32> {
    let mangled = format!("_{ABI_SYMBOL}");
    let is_symbol = |name: &str| name == ABI_SYMBOL || name == mangled;
    let address = file
        .dynamic_symbols()
        .chain(file.symbols())
        .find(|symbol| symbol.is_definition() && symbol.name().is_ok_and(is_symbol))
        .map(|symbol| symbol.address())?;
    let data = file.sections().find_map(|section| section.data_range(address, 4).ok().flatten())?;
    let bytes: [u8; 4] = data.try_into().ok()?;
    Some(if file.is_little_endian() { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
}

/// Opens the library and checks the layout of everything that crosses.
fn open(path: &Path) -> std::result::Result<PluginModuleRef, Diagnostic> {
    let cannot_open = |error: &dyn std::fmt::Display| {
        Diagnostic::new(format!("failed to open the plugin {}: {error}", path.display()))
            .help("a library it needs is missing or of another version; `ldd` on the file lists them")
    };
    // SAFETY: opening runs the library's constructors: a plugin is native code that the user
    // chose to trust. The file is a plugin of our ABI by its own symbol.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| cannot_open(&error))?;
    // SAFETY: `inspect` read this symbol as a `u32` static; every plugin's macro defines it so.
    let number = unsafe { library.get::<*const u32>(ABI_SYMBOL.as_bytes()).map(|symbol| **symbol) }
        .map_err(|error| cannot_open(&error))?;
    if number != ABI_MAJOR {
        return Err(Diagnostic::new(format!(
            "{} speaks plugin ABI {number}, this pleach speaks ABI {ABI_MAJOR}",
            path.display()
        )));
    }
    // Never unloaded: components hold pointers into it.
    std::mem::forget(library);
    let header = lib_header_from_path(path).map_err(|error| one_line(path, &error.to_string()))?;
    header.init_root_module::<PluginModuleRef>().map_err(|error| one_line(path, &error.to_string()))
}

/// abi_stable explains a mismatch in hundreds of lines: they go to the trace, and the first
/// difference into one line.
fn one_line(path: &Path, error: &str) -> Diagnostic {
    tracing::trace!("{error}");
    let lines: Vec<&str> = error.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let difference = lines.iter().position(|line| line.starts_with("Error:"));
    let text = match difference {
        Some(first) => {
            let joined = lines[first..].iter().take(5).copied().collect::<Vec<_>>().join(" ");
            joined.replacen("Error:", "", 1).replace(" Expected:", ", expected").replace(" Found:", ", found")
        }
        None => lines.first().copied().unwrap_or("no reason given").to_owned(),
    };
    let shown: String = text.chars().take(200).collect();
    Diagnostic::new(format!("{} does not have the layout of a plugin of ABI {ABI_MAJOR}: {shown}", path.display()))
        .help(
            "build the plugin with the pleach-sdk that belongs to this pleach; --log trace shows the whole comparison",
        )
}

/// Bytes as hexadecimal text.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of a file.
///
/// # Errors
///
/// What the file system says.
pub fn sha256_of(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|error| {
        Error::unusable(format!("failed to read {}: {error}", path.display()), "check its permissions")
    })?;
    Ok(hexadecimal(&Sha256::digest(&bytes)))
}
