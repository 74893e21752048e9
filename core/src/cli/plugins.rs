//! `pleach plugins`: what there is, what it is, and whether it keeps its promises.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use pleach_sdk::Kind;
use serde_json::{Value, json};

use super::{ERROR, print_json};
use crate::{
    config,
    error::{Error, Result},
    host::Process,
    plugins::{
        SearchPath,
        catalogue::Catalogue,
        child, conformance,
        new::{Sdk, new},
        reference,
    },
};

const KINDS: [Kind; 5] = [Kind::Space, Kind::Dataset, Kind::Operator, Kind::Estimator, Kind::Strategy];

#[derive(Debug, Subcommand)]
pub(super) enum PluginsCommand {
    /// List the plugins that are found and their components.
    List,
    /// Describe a component: its configuration and an example.
    Describe {
        /// `plugin/component`.
        component: String,
    },
    /// Try whether the components of a library keep the promises of their kind.
    ///
    /// Each is loaded as in a search, built from its example, and put through the checks of
    /// pleach_sdk::conformance in a process of its own. Exit code 0: every promise was tried and
    /// kept; 3: one was broken; 2: a component could not be built for what it needs, or the library
    /// cannot be used.
    Check(CheckArguments),
    /// Make a cargo project for a plugin, with one component that works.
    New(NewArguments),
    /// Write a reference page of components, in Markdown.
    Docs {
        /// The plugins; without any all that are found.
        plugins: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct NewArguments {
    /// The plugin's name, such as `swap-layers`.
    name: String,
    /// What its component is.
    #[arg(long, value_parser = child::parse_kind)]
    kind: Kind,
    /// Where to make it; without it a folder with the plugin's name.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    sdk: SdkArguments,
}

/// Where the project gets `pleach-sdk` from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct SdkArguments {
    /// Use the SDK in this folder, which is `sdk` in a checkout of pleach.
    #[arg(long, value_name = "FOLDER")]
    sdk_path: Option<PathBuf>,
    /// Use the SDK of this git repository.
    #[arg(long, value_name = "ADDRESS")]
    sdk_git: Option<String>,
    /// Use this version of the SDK from cargo's registry.
    #[arg(long, value_name = "VERSION")]
    sdk_version: Option<String>,
}

impl SdkArguments {
    fn sdk(&self) -> Sdk {
        match (&self.sdk_path, &self.sdk_git, &self.sdk_version) {
            (Some(path), ..) => Sdk::Path(path.clone()),
            (None, Some(address), _) => Sdk::Git(address.clone()),
            (None, None, version) => Sdk::Version(version.clone().unwrap_or_default()),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// A library, or the name of a plugin.
    library: String,
    /// One component; without it all.
    component: Option<String>,
    /// The component's configuration in the place of its example, such as `{root: data/mnist}`.
    #[arg(long, value_name = "CONFIGURATION", requires = "component", value_parser = config::value)]
    with: Option<Value>,
    /// How long each check may take.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

pub(super) fn dispatch(
    command: &PluginsCommand,
    path: &SearchPath,
    process: &Arc<Process>,
    is_json: bool,
) -> Result<u8> {
    match command {
        PluginsCommand::List => list(&Catalogue::of(path, process)?, is_json),
        PluginsCommand::Describe { component } => describe(component, path, process, is_json)?,
        PluginsCommand::Check(arguments) => return check(arguments, path, process, is_json),
        PluginsCommand::New(arguments) => make(arguments, is_json)?,
        PluginsCommand::Docs { plugins } => document(plugins, path, process)?,
    }
    Ok(0)
}

fn list(catalogue: &Catalogue, is_json: bool) {
    if is_json {
        let plugins: Vec<Value> = catalogue
            .plugins
            .iter()
            .map(|listed| {
                json!({
                    "path": listed.path, "sha256": listed.sha256, "abi": pleach_abi::ABI_MAJOR,
                    "shadowed": listed.shadowed, "plugin": listed.info,
                })
            })
            .collect();
        let refused: Vec<Value> = catalogue
            .refused
            .iter()
            .map(|(path, diagnostic)| json!({ "path": path, "message": diagnostic.message, "help": diagnostic.help }))
            .collect();
        print_json(&json!({ "plugins": plugins, "refused": refused }));
        return;
    }
    if catalogue.plugins.is_empty() {
        println!("no plugins found; build some, or name their folder with --plugin-dir or PLEACH_PLUGIN_PATH");
    }
    for listed in &catalogue.plugins {
        let info = &listed.info;
        println!("{} {}  {}", info.name, info.version, info.summary);
        println!("  {}", listed.path.display());
        println!("  SDK {}, ABI {}, {}", info.sdk, pleach_abi::ABI_MAJOR, info.compiler);
        println!("  SHA-256 {}", listed.sha256);
        for component in &info.components {
            let name = format!("{}/{}", info.name, component.name);
            println!("  {:<10} {name:<32} {}", component.kind.to_string(), component.summary);
        }
    }
    warn_of(catalogue);
}

/// Says which files are not used, and why.
pub(super) fn warn_of(catalogue: &Catalogue) {
    for (_, diagnostic) in &catalogue.refused {
        anstream::eprintln!("{ERROR}refused:{ERROR:#} {diagnostic}");
    }
    for listed in &catalogue.plugins {
        for other in &listed.shadowed {
            let (name, path) = (&listed.info.name, listed.path.display());
            anstream::eprintln!(
                "{ERROR}shadowed:{ERROR:#} {} is another build of `{name}`; {path} comes first",
                other.display()
            );
        }
    }
}

fn describe(component: &str, path: &SearchPath, process: &Process, is_json: bool) -> Result<()> {
    let catalogue = Catalogue::of(path, process)?;
    let all: Vec<_> = KINDS.iter().flat_map(|kind| catalogue.components(*kind)).collect();
    let is_meant = |name: &str| name == component || name.starts_with(&format!("{component}/"));
    let found: Vec<_> = all.iter().filter(|(name, _)| is_meant(name)).collect();
    if found.is_empty() {
        let known: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Error::unusable(
            pleach_sdk::unknown_name("component", component, &known),
            "`pleach plugins list` shows what is found",
        ));
    }
    for (name, info) in found {
        if is_json {
            print_json(&json!({ "name": name, "component": info }));
            continue;
        }
        println!("{name} ({}): {}", info.kind, info.summary);
        println!("\nexample (YAML takes JSON as it is):\n  use: {name}\n  with: {}", info.example);
        println!("\nconfiguration:");
        print!("{}", fields(&info.schema));
    }
    Ok(())
}

/// The fields of a configuration, one a line: name, type, default, what it is.
fn fields(schema: &Value) -> String {
    let properties = schema.get("properties").and_then(Value::as_object);
    let Some(properties) = properties.filter(|properties| !properties.is_empty()) else {
        return "  none\n".to_owned();
    };
    let mut text = String::new();
    for (name, field) in properties {
        let default = field.get("default").map_or("required".to_owned(), |default| format!("default {default}"));
        let description = field.get("description").and_then(Value::as_str).unwrap_or("").replace('\n', " ");
        text.push_str(&format!("  {name} ({default})\n      {description}\n"));
    }
    text
}

fn check(arguments: &CheckArguments, path: &SearchPath, process: &Process, is_json: bool) -> Result<u8> {
    let library: PathBuf = path.find(&arguments.library).map_err(|diagnostic| Error::Unusable(vec![diagnostic]))?.path;
    let request = conformance::Request {
        library: &library,
        component: arguments.component.as_deref(),
        with: arguments.with.clone(),
        patience: arguments.timeout,
    };
    let checked = conformance::check(&request, process)?;
    if is_json {
        print_json(&json!({ "path": library, "exit_code": checked.exit_code(), "checked": checked }));
        return Ok(checked.exit_code());
    }
    let plugin = &checked.plugin;
    println!("{} {} (SDK {})  {}", plugin.name, plugin.version, plugin.sdk, library.display());
    for report in &checked.reports {
        println!("{report}");
    }
    let broken: usize = checked.reports.iter().map(|report| report.broken().count()).sum();
    let untried = checked.reports.iter().filter(|report| report.is_untried()).count();
    println!("{} components: {} promises broken, {} components not tried", checked.reports.len(), broken, untried);
    Ok(checked.exit_code())
}

fn make(arguments: &NewArguments, is_json: bool) -> Result<()> {
    let folder = arguments.dir.clone().unwrap_or_else(|| PathBuf::from(&arguments.name));
    let files = new(&arguments.name, arguments.kind, &arguments.sdk.sdk(), &folder)?;
    if is_json {
        print_json(&json!({ "folder": folder, "files": files }));
        return Ok(());
    }
    println!("{} is a plugin with one {}; its README.md says how to go on:", folder.display(), arguments.kind);
    println!("  cd {} && cargo build", folder.display());
    println!("  pleach --plugin-dir target/debug run run.yaml");
    Ok(())
}

fn document(names: &[String], path: &SearchPath, process: &Process) -> Result<()> {
    let catalogue = Catalogue::of(path, process)?;
    let known: Vec<&str> = catalogue.plugins.iter().map(|listed| listed.info.name.as_str()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Error::unusable(
            pleach_sdk::unknown_name("plugin", unknown, &known),
            "`pleach plugins list` shows what is found",
        ));
    }
    let is_wanted = |name: &String| names.is_empty() || names.contains(name);
    let wanted = catalogue.plugins.iter().map(|listed| &listed.info).filter(|info| is_wanted(&info.name));
    print!("{}", reference::page(wanted));
    Ok(())
}
