//! `pleach profile`: of a space, and of what a search found.

use std::{fmt::Write, path::PathBuf, sync::Arc};

use clap::Args;
use serde_json::json;

use super::{
    print_json,
    search::{RunFileArguments, record_of},
};
use crate::{
    error::Result,
    host::Process,
    latency::{PredictionError, Profile},
    plugins::SearchPath,
    profile::{self, Effort, Kept},
    show::{GOOD, STRONG},
};

#[derive(Debug, Args)]
pub(crate) struct ProfileArguments {
    #[command(flatten)]
    file: RunFileArguments,
    /// Networks to make the predictor of, and as many unseen ones to try it on.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(5..=100_000))]
    networks: u32,
    /// How often everything is measured; the least counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Where to write; without it the first free `runs/<name>-profile-<number>`.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

pub(crate) fn measure(
    arguments: &ProfileArguments,
    path: &SearchPath,
    process: &Arc<Process>,
    is_json: bool,
) -> Result<()> {
    let RunFileArguments { file, set } = &arguments.file;
    if let Some(run) = record_of(file) {
        let kept = profile::found(&run, arguments.rounds, path, process);
        process.view().finish();
        let kept = kept?;
        if is_json {
            print_json(&json!({ "run_directory": run, "found": kept }));
        } else {
            anstream::print!("{}", told_of_found(&kept));
        }
        return Ok(());
    }
    let effort = Effort { networks: arguments.networks, rounds: arguments.rounds };
    let profiled = profile::profile((file, set), effort, arguments.dir.as_deref(), path, process);
    process.view().finish();
    let (directory, profile) = profiled?;
    if is_json {
        print_json(&json!({ "directory": directory, "profile": profile }));
    } else {
        anstream::print!("{}", told(&profile, &directory.join(crate::latency::PROFILE).display().to_string()));
    }
    Ok(())
}

/// What a person is told of a profile.
fn told(profile: &Profile, file: &str) -> String {
    let mut text = format!("\n{STRONG}Operations of {}, alone and in a network{STRONG:#}\n", profile.space);
    let mut operations: Vec<_> = profile.operations.iter().collect();
    operations.sort_by_key(|operation| std::cmp::Reverse(operation.nanoseconds));
    for operation in operations {
        let (alone, inside) = (operation.milliseconds, operation.nanoseconds as f64 / 1e6);
        let _ = writeln!(text, "  {alone:>9.4} ms {inside:>9.4} ms  {:<10} {}", operation.name, operation.signature);
    }
    let _ = writeln!(text, "\n{STRONG}The predictor{STRONG:#}");
    let unseen = profile.error.networks;
    let _ = writeln!(text, "  made of            {} networks", profile.fit.networks);
    write_error(&mut text, &profile.error, &format!("{unseen} unseen networks"));
    let _ =
        writeln!(text, "  margin             {:.1} % below a limit: 95 of 100 kept it", 100.0 * profile.error.excess);
    let device = profile.measured_on["device"].as_str().unwrap_or("what the estimator does not name");
    let _ = writeln!(text, "  measured on        {device}, by {} with {}", profile.by.name, profile.by.with);
    write_disturbance(&mut text, profile.disturbance);
    let _ = writeln!(
        text,
        "  profile            {file}\n\nA run file may name latency now: latency: {{ profile: {file} }}"
    );
    text
}

fn write_error(text: &mut String, error: &PredictionError, of: &str) {
    let mean = 100.0 * error.mean;
    let (worst, bias) = (100.0 * error.worst, 100.0 * error.bias);
    let tau = error.kendall_tau.map_or(String::new(), |tau| format!(", Kendall's tau {tau:.3}"));
    let _ = writeln!(
        text,
        "  error              {GOOD}{mean:.1} %{GOOD:#} over {of}, worst {worst:.1} %, bias {bias:+.1} %{tau}"
    );
}

fn write_disturbance(text: &mut String, disturbance: f64) {
    let _ = writeln!(
        text,
        "  disturbance        rounds took {:.1} % more than the least, which counts: what else ran",
        100.0 * disturbance
    );
}

/// What a person is told of networks that a search found.
fn told_of_found(kept: &Kept) -> String {
    let mut text = format!("\n{STRONG}What the search found, measured{STRONG:#}\n");
    for network in &kept.networks {
        let keeps = match network.keeps_limit {
            None => "",
            Some(true) => "  keeps the limit",
            Some(false) => "  does NOT keep the limit",
        };
        let (measured, predicted) = (network.milliseconds, network.predicted);
        let off = 100.0 * (predicted / measured - 1.0);
        let _ = writeln!(
            text,
            "  {measured:>9.3} ms, predicted {predicted:>9.3} ms ({off:+.1} %){keeps}  {}",
            network.genome
        );
    }
    if let Some(limit) = kept.limit {
        let _ = writeln!(text, "  limit              {limit} ms");
    }
    write_error(&mut text, &kept.error, &format!("{} networks", kept.networks.len()));
    write_disturbance(&mut text, kept.disturbance);
    text
}
