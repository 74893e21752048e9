//! `pleach plugins new`: a cargo project of its own with one component that works.
//!
//! The projects are the files in `core/templates`, with a few words put in.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use pleach_sdk::Kind;

use super::library_file;
use crate::error::{Error, Result};

/// Where the project gets `pleach-sdk` from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sdk {
    /// A folder with its source.
    Path(PathBuf),
    /// A git repository that has it.
    Git(String),
    /// A version of the registry.
    Version(String),
}

/// What stands for a kind in the templates: its component and its files.
struct Template {
    component: &'static str,
    source: &'static str,
    run: &'static str,
}

macro_rules! template {
    ($kind:literal, $component:literal) => {
        Template {
            component: $component,
            source: include_str!(concat!("../../templates/", $kind, "/lib.rs")),
            run: include_str!(concat!("../../templates/", $kind, "/run.yaml.in")),
        }
    };
}

fn template(kind: Kind) -> Template {
    match kind {
        Kind::Space => template!("space", "blocks"),
        Kind::Dataset => template!("dataset", "stripes"),
        Kind::Operator => template!("operator", "redraw"),
        Kind::Estimator => template!("estimator", "nearness"),
        Kind::Strategy => template!("strategy", "climb"),
    }
}

/// Makes the project in a folder that is not there yet, and answers with its files.
///
/// # Errors
///
/// A name that no plugin can have, an SDK that is not there, a folder that is.
pub fn new(name: &str, kind: Kind, sdk: &Sdk, folder: &Path) -> Result<Vec<PathBuf>> {
    check_name(name)?;
    let dependency = dependency(sdk)?;
    let template = template(kind);
    let kind = kind.to_string();
    let library = library_file(name);
    let put_in = |text: &str| {
        text.replace("{{name}}", name)
            .replace("{{kind}}", &kind)
            .replace("{{component}}", template.component)
            .replace("{{library}}", &library)
            .replace("{{sdk}}", &dependency)
    };
    let files = [
        ("Cargo.toml", include_str!("../../templates/Cargo.toml.in")),
        (".gitignore", include_str!("../../templates/gitignore.in")),
        ("README.md", include_str!("../../templates/README.md.in")),
        ("run.yaml", template.run),
        ("src/lib.rs", template.source),
    ];
    let failed = |path: &Path, error: &dyn std::fmt::Display| {
        Error::unusable(format!("failed to make {}: {error}", path.display()), "choose another place with --dir")
    };
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(|error| failed(parent, &error))?;
    }
    fs::create_dir(folder).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => failed(folder, &"it is there already"),
        _ => failed(folder, &error),
    })?;
    let mut made = Vec::new();
    for (file, text) in files {
        let path = folder.join(file);
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, put_in(text)))
            .map_err(|error| failed(&path, &error))?;
        made.push(path);
    }
    Ok(made)
}

fn check_name(name: &str) -> Result<()> {
    let is_word = |word: &str| {
        !word.is_empty() && word.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
    };
    if name.split('-').all(is_word) && name.len() <= 60 {
        return Ok(());
    }
    Err(Error::unusable(
        format!("`{name}` is no name for a plugin"),
        "write lower-case words and digits joined by `-`, such as swap-layers",
    ))
}

/// The right-hand side of the dependency in `Cargo.toml`.
fn dependency(sdk: &Sdk) -> Result<String> {
    // A JSON text is a TOML text.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    match sdk {
        Sdk::Path(path) => {
            let manifest = path.join("Cargo.toml");
            let text = fs::read_to_string(&manifest).unwrap_or_default();
            if !text.contains("name = \"pleach-sdk\"") {
                return Err(Error::unusable(
                    format!("{} is not the folder of pleach-sdk", path.display()),
                    "give the folder `sdk` of a checkout of pleach",
                ));
            }
            let absolute = path.canonicalize().map_err(|error| {
                Error::unusable(format!("failed to find {}: {error}", path.display()), "give another path")
            })?;
            Ok(format!("{{ path = {} }}", quoted(&absolute.display().to_string())))
        }
        Sdk::Git(address) => Ok(format!("{{ git = {} }}", quoted(address))),
        Sdk::Version(version) => Ok(quoted(version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_plugin_can_have_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let version = Sdk::Version("0.1".to_owned());
        for name in ["", "Swap", "swap_layers", "swap--layers", "-swap", "../swap", "swap layers", "größe"] {
            let error = new(name, Kind::Operator, &version, &folder.path().join("new")).expect_err(name);
            assert!(error.to_string().contains("no name for a plugin"), "{error}");
            assert!(!folder.path().join("new").exists());
        }
    }

    #[test]
    fn the_sdk_is_named_as_it_was_given() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk");
        let path = dependency(&Sdk::Path(sdk)).expect("the SDK is there");
        assert!(path.starts_with("{ path = \"/") && path.ends_with("/sdk\" }"), "{path}");
        let git = dependency(&Sdk::Git("https://example.org/pleach".to_owned())).expect("any address");
        assert_eq!(git, "{ git = \"https://example.org/pleach\" }");
        assert_eq!(dependency(&Sdk::Version("0.1".to_owned())).expect("any version"), "\"0.1\"");
        let error = dependency(&Sdk::Path(PathBuf::from("/"))).expect_err("there is no SDK");
        assert!(error.to_string().contains("is not the folder of pleach-sdk"), "{error}");
    }

    #[test]
    fn nothing_is_left_to_put_in_and_nothing_is_written_over() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let version = Sdk::Version("0.1".to_owned());
        for kind in [Kind::Space, Kind::Dataset, Kind::Operator, Kind::Estimator, Kind::Strategy] {
            let place = folder.path().join(kind.to_string());
            for file in new("my-own", kind, &version, &place).expect("the place is free") {
                let text = fs::read_to_string(&file).expect("it was written");
                assert!(!text.contains("{{"), "{}: {text}", file.display());
            }
            let error = new("my-own", kind, &version, &place).expect_err("it is there");
            assert!(error.to_string().contains("it is there already"), "{error}");
        }
    }
}
