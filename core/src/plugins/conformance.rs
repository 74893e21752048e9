//! `pleach plugins check`: the promises of a library's components, tried in child processes.
//!
//! What the promises are is the SDK's matter (`pleach_sdk::conformance`). Here a component that
//! crashes, hangs or ends its process breaks the promise that was being tried, and a new child
//! goes on with the others.

use std::{path::Path, time::Duration};

use pleach_sdk::{
    ComponentInfo, PluginInfo,
    conformance::{self, Check, Finding, Report, Verdict},
    unknown_name,
};
use serde::Serialize;
use serde_json::Value;

use super::{
    Diagnostic, Library,
    child::{self, Answer, Ending, Task},
};
use crate::{
    error::{Error, Result},
    host::Process,
    schema::{Complaint, Schema},
};

/// How many children a component may cost before the rest is not tried.
const MOST_ENDED: usize = 3;

/// How long a library may take to be loaded and described.
pub const LOADING: Duration = Duration::from_secs(20);

/// What to check.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The library.
    pub library: &'a Path,
    /// One component, as `component` or `plugin/component`; without it all.
    pub component: Option<&'a str>,
    /// The configuration of that component; without it the example.
    pub with: Option<Value>,
    /// How long a check may take.
    pub patience: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// The SHA-256 of the library.
    pub sha256: String,
    /// What the plugin says of itself.
    pub plugin: PluginInfo,
    /// One report for each component.
    pub reports: Vec<Report>,
}

impl Checked {
    /// 0 if every promise was tried and kept, 3 if one was broken, 2 if a component could not be
    /// built for what it needs and has not.
    pub fn exit_code(&self) -> u8 {
        if self.reports.iter().any(|report| report.broken().next().is_some()) {
            3
        } else if self.reports.iter().any(Report::is_untried) {
            2
        } else {
            0
        }
    }
}

/// Checks components of a library.
///
/// # Errors
///
/// A library that cannot be used, or a component that it does not have.
pub fn check(request: &Request<'_>, process: &Process) -> Result<Checked> {
    let (library, plugin) = describe(request.library, process)?;
    let mut reports = Vec::new();
    for info in chosen(&plugin, request.component)? {
        let schema = Schema::new(info.schema.clone())?;
        if let Some(with) = &request.with {
            let complaint = |complaint: Complaint| Diagnostic {
                help: complaint.help,
                ..Diagnostic::new(format!("--with {with}: {}", complaint.message))
            };
            let complaints: Vec<Diagnostic> = schema.check(with).into_iter().map(complaint).collect();
            if !complaints.is_empty() {
                return Err(Error::Unusable(complaints));
            }
        }
        let mut report = check_component(request, &plugin, info, process)?;
        hold_example_against_schema(info, &schema, &mut report);
        reports.push(report);
    }
    Ok(Checked { sha256: library.sha256, plugin, reports })
}

/// Reads a library and has a child say what it has.
///
/// # Errors
///
/// A library that cannot be used, and an interrupt.
pub(super) fn describe(path: &Path, process: &Process) -> Result<(Library, PluginInfo)> {
    let refused = |diagnostic: Diagnostic| Error::Unusable(vec![diagnostic]);
    let library = Library::read(path, None).map_err(refused)?;
    let mut answer = None;
    let task = Task::Describe { library: path.to_owned() };
    let ending = child::run(&task, LOADING, process, &mut |heard| answer = Some(heard))?;
    match (answer, ending) {
        (Some(Answer::Described(info)), _) => Ok((library, info)),
        (Some(Answer::Refused(diagnostic)), _) => Err(refused(diagnostic)),
        (_, ending) => Err(refused(
            Diagnostic::new(format!("the plugin {} cannot be loaded: {ending}", path.display()))
                .help("its file is damaged, or code that runs when it is opened fails: build it again"),
        )),
    }
}

/// An example that a run file could not have breaks the promise of a description that is right.
fn hold_example_against_schema(info: &ComponentInfo, schema: &Schema, report: &mut Report) {
    let complaints = schema.check(&info.example);
    let description = report.findings.iter_mut().find(|finding| finding.check == conformance::DESCRIBES);
    if let (Some(complaint), Some(finding)) = (complaints.first(), description) {
        let place = &complaint.pointer;
        let found = format!("an example that does not fit the schema: {} at `{place}`", complaint.message);
        finding.verdict = Verdict::Broken { found };
    }
}

fn chosen<'a>(plugin: &'a PluginInfo, component: Option<&str>) -> Result<Vec<&'a ComponentInfo>> {
    let Some(wanted) = component else { return Ok(plugin.components.iter().collect()) };
    let is_wanted = |info: &&ComponentInfo| wanted == info.name || wanted == format!("{}/{}", plugin.name, info.name);
    let found: Vec<&ComponentInfo> = plugin.components.iter().filter(is_wanted).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let known: Vec<&str> = plugin.components.iter().map(|info| info.name.as_str()).collect();
    Err(Error::unusable(
        format!("{}: {}", plugin.name, unknown_name("component", wanted, &known)),
        "name one of them, or none to check all",
    ))
}

fn check_component(
    request: &Request<'_>,
    plugin: &PluginInfo,
    info: &ComponentInfo,
    process: &Process,
) -> Result<Report> {
    let mut report = Report::new(format!("{}/{}", plugin.name, info.name), info.kind);
    for _ in 0..MOST_ENDED {
        let task = Task::Check {
            library: request.library.to_owned(),
            kind: info.kind,
            component: info.name.clone(),
            with: request.with.as_ref().map(ToString::to_string),
            skip: report.findings.iter().map(|finding| finding.check.clone()).collect(),
        };
        let mut under_way = None;
        let mut refused = None;
        let ending = child::run(&task, request.patience, process, &mut |answer| match answer {
            Answer::Before(check) => under_way = Some(check),
            Answer::Found(finding) => {
                under_way = None;
                report.findings.push(finding);
            }
            Answer::Refused(diagnostic) => refused = Some(diagnostic),
            Answer::Described(_) | Answer::Done => {}
        })?;
        if let Some(diagnostic) = refused {
            return Err(Error::Unusable(vec![diagnostic]));
        }
        if ending == Ending::Whole {
            return Ok(report);
        }
        let is_under_way = |check: &&Check| under_way.as_deref() == Some(check.name);
        let Some(check) = conformance::checks(info.kind).find(is_under_way) else {
            return Err(Error::unusable(
                format!("{}: {ending}, while nothing was asked of it", report.component),
                "a thread or an exit handler of the plugin fails: run a debugger on `pleach plugins check`",
            ));
        };
        report.findings.push(Finding::new(check, Verdict::Broken { found: ending.to_string() }));
        if check.name == conformance::BUILDS {
            return Ok(report);
        }
    }
    for check in conformance::checks(info.kind) {
        if !report.findings.iter().any(|finding| finding.check == check.name) {
            let why = format!("the component ended {MOST_ENDED} processes before");
            report.findings.push(Finding::new(check, Verdict::NotTried { why }));
        }
    }
    Ok(report)
}
