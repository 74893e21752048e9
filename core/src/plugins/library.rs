//! Library files: what can be read of one before it is opened, and opening it.
//!
//! Opening runs the library's constructors, so that kind, architecture and ABI number are read
//! from the file first. The only module that knows `libloading`. Libraries are never unloaded:
//! components hold code of theirs to the end.

use std::{
    error::Error as _,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use object::{Architecture, BinaryFormat, FileKind, Object, ObjectKind, ObjectSection, ObjectSegment, ObjectSymbol};
use pleach_abi::{
    ABI_MAJOR, ABI_SYMBOL, PluginModuleRef,
    abi_stable::library::{LibraryError, lib_header_from_path},
};
use sha2::{Digest, Sha256};

use crate::error::{Diagnostic, Error, Result};

/// The largest file that is read; no plugin comes near it.
const MOST_BYTES: u64 = 2 << 30;

/// A library file that was read, found to be a plugin of this ABI, and not opened yet.
pub(super) struct Library {
    /// The file.
    pub path: PathBuf,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

impl Library {
    /// Reads a file. None of its code runs.
    pub fn read(path: &Path, pin: Option<&str>) -> std::result::Result<Self, Diagnostic> {
        let bytes = bytes_of(path)?;
        inspect(path, &bytes)?;
        let sha256 = hexadecimal(&Sha256::digest(&bytes));
        match pin {
            Some(pin) if pin != sha256 => {
                Err(Diagnostic::new(format!("the plugin {} is not the one that was pinned", path.display()))
                    .help(format!("its SHA-256 is {sha256}, the run file wants {pin}")))
            }
            _ => Ok(Library { path: path.to_owned(), sha256 }),
        }
    }

    /// Opens the library, which runs code of it, and checks the layout of everything that crosses.
    pub fn open(&self) -> std::result::Result<PluginModuleRef, Diagnostic> {
        let path = &self.path;
        // A name without a folder would be looked for among the system's libraries.
        let file = &std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let cannot_open = |error: &libloading::Error| {
            // The loader's own words are the error's source.
            let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            Diagnostic::new(format!("failed to open the plugin {}: {why}", path.display()))
                .help("a library it needs is missing or of another version; `ldd` on the file lists them")
        };
        // SAFETY: opening runs the library's constructors: a plugin is native code that the user
        // chose to trust. The file is a plugin of our ABI by its own symbol.
        let library = unsafe { libloading::Library::new(file) }.map_err(|error| cannot_open(&error))?;
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
        let header = lib_header_from_path(file).map_err(|error| one_line(path, &error))?;
        header.init_root_module::<PluginModuleRef>().map_err(|error| one_line(path, &error))
    }
}

/// The bytes of a file that can be a library.
fn bytes_of(path: &Path) -> std::result::Result<Vec<u8>, Diagnostic> {
    let refuse = |what: String, help: &str| Err(Diagnostic::new(format!("{} {what}", path.display())).help(help));
    let build_again = "build the plugin again, or copy it again";
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return match std::fs::read_link(path) {
                Ok(target) => refuse(
                    format!("is a link to {}, which is not there", target.display()),
                    "build the plugin that it leads to, or remove the link",
                ),
                Err(_) => Err(Diagnostic::new(format!("there is no plugin file {}", path.display()))
                    .help("build the plugin, or correct the path")),
            };
        }
        Err(error) => return refuse(format!("cannot be read: {error}"), "check its permissions"),
    };
    if metadata.is_dir() {
        return refuse(
            "is a folder".to_owned(),
            "name the library in it, or give the folder with --plugin-dir and name the plugin",
        );
    }
    if !metadata.is_file() {
        return refuse("is no regular file".to_owned(), "name the library that cargo built");
    }
    if metadata.len() > MOST_BYTES {
        return refuse(
            format!("has {} bytes, too many for a plugin", metadata.len()),
            "name the library that cargo built",
        );
    }
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return refuse(format!("cannot be read: {error}"), "check its permissions"),
    };
    if bytes.is_empty() { refuse("is empty".to_owned(), build_again) } else { Ok(bytes) }
}

/// What can be said of a file without running any of its code.
fn inspect(path: &Path, bytes: &[u8]) -> std::result::Result<(), Diagnostic> {
    let refuse = |what: String, help: &str| Err(Diagnostic::new(format!("{} {what}", path.display())).help(help));
    let Ok(kind) = FileKind::parse(bytes) else {
        return refuse("is no library".to_owned(), "a plugin is built by cargo with crate-type = [\"cdylib\"]");
    };
    let damaged = "build the plugin again, or copy it again";
    let file = match object::File::parse(bytes) {
        Ok(file) => file,
        Err(error) => {
            return refuse(format!("is damaged or cut short: it begins as {kind:?}, and then: {error}"), damaged);
        }
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
    let (has, wanted) = (bytes.len() as u64, end_of_contents(&file));
    if has < wanted {
        return refuse(format!("is cut short: it has {has} bytes, its headers speak of {wanted}"), damaged);
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

/// Where the last segment or section ends in the file.
fn end_of_contents(file: &object::File<'_>) -> u64 {
    let segments = file.segments().map(|segment| segment.file_range());
    let sections = file.sections().filter_map(|section| section.file_range());
    segments.chain(sections).map(|(start, size)| start.saturating_add(size)).max().unwrap_or(0)
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

/// abi_stable explains a mismatch in hundreds of lines: they go to the trace, and the first
/// difference into one line.
fn one_line(path: &Path, error: &LibraryError) -> Diagnostic {
    if matches!(error, LibraryError::GetSymbolError { .. }) {
        return Diagnostic::new(format!("{} says it is a plugin and has no root module", path.display()))
            .help("a plugin calls pleach_sdk::export_plugin!");
    }
    let error = error.to_string();
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
