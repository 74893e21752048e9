//! What a search found, drawn for a terminal.

use std::{
    borrow::Cow,
    fmt::{self, Display, Write as _},
};

use anstyle::{AnsiColor, Style};
use pleach_sdk::{Genome, Network, Region};

use crate::{
    compare::Comparison,
    config::{Config, PluginReference},
    progress::{spoken, spoken_seconds},
    rank::{RankedSearch, Ranking, Sample},
    reproduce::Repeated,
    result::{DrawnFrom, Ending, Found, ParetoFront, ReferenceFrom, SearchResult, Stage},
    search::{round_count, short},
    statistics::{Spread, Summary},
    train::{MODEL, Trained},
};

/// The plugin of strategies to compare with.
const BASELINES: &str = "baselines";

/// About how many networks of a front are shown; `result.json` has all.
const SHOWN_OF_FRONT: usize = 12;

pub(crate) const STRONG: Style = Style::new().bold();
pub(crate) const GOOD: Style = Style::new().bold().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Green)));
const GONE: Style = Style::new().dimmed().strikethrough();
const QUIET: Style = Style::new().dimmed();

/// Everything that a person wants to know at the end of a run. Styles are written always; what
/// prints it takes them away where they cannot be shown.
pub fn summary(result: &SearchResult, network: &Network, config: &Config, run_directory: &str) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_summary(&mut text, result, network, run_directory)
        .and_then(|()| write_next(&mut text, result.winner.is_some(), config, run_directory));
    text
}

fn write_summary(out: &mut String, result: &SearchResult, network: &Network, run_directory: &str) -> fmt::Result {
    if !result.stages.is_empty() {
        heading(out, "Regions, stage by stage")?;
        for (index, stage) in result.stages.iter().enumerate() {
            let next = result.stages.get(index + 1).map(|next| &next.region).or(result.final_region.as_ref());
            write_stage(out, stage, next, network)?;
        }
    }
    match &result.winner {
        None => writeln!(out, "\nNo network could be evaluated.")?,
        Some(winner) => {
            heading(out, "The network that was found")?;
            write_network(out, &winner.genome, network)?;
            write_numbers(out, winner)?;
            if let Some(front) = &result.front {
                write_front(out, front)?;
            }
            write_comparison(out, result, winner)?;
        }
    }
    heading(out, "The search")?;
    let ending = match result.ended {
        Ending::Finished => "the strategy was done",
        Ending::Evaluations => "the budget of evaluations was used up",
        Ending::WallClock => "the budget of time was used up",
    };
    field(out, "ended", ending)?;
    field(
        out,
        "evaluations",
        format!("{} ({} more were known, {} failed)", result.evaluations, result.known, result.failed),
    )?;
    if let Some(seconds) = result.simulated_seconds {
        field(out, "simulated time", spoken_seconds(seconds))?;
    }
    let times = &result.times;
    let share = |seconds: f64| {
        let spoken = spoken(std::time::Duration::from_secs_f64(seconds));
        format!("{spoken:>12}  {:5.1} %", 100.0 * seconds / times.total.max(f64::MIN_POSITIVE))
    };
    field(out, "time", share(times.total))?;
    field(out, "  training", share(times.training))?;
    field(out, "  evaluation", share(times.evaluation))?;
    field(out, "  strategy", share(times.strategy))?;
    if times.naming > 0.0 {
        field(out, "  naming the winner", share(times.naming))?;
    }
    field(out, "  random networks", share(times.random_networks))?;
    field(out, "  host", format!("{} (loop, journal and checkpoints)", share(times.host + times.checkpoints)))?;
    if times.workers_lost > 0 {
        let spoken = spoken(std::time::Duration::from_secs_f64(times.lost));
        field(out, "workers lost", format!("{}, and {spoken} of their work", times.workers_lost))?;
    }
    field(out, "run directory", run_directory)
}

/// Commands that go on from a search.
fn write_next(out: &mut String, has_found: bool, config: &Config, run_directory: &str) -> fmt::Result {
    // As it was called: what is typed next may be typed so too.
    let program = std::env::args().next().unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned());
    let (program, run_directory) = (for_shell(&program)?, for_shell(run_directory)?);
    if has_found && config.train.is_some() {
        writeln!(out, "\nNext: train what was found, or swap the strategy and search again:")?;
        writeln!(out, "  {program} train {run_directory}")?;
    } else {
        writeln!(out, "\nNext: swap the strategy and search again:")?;
    }
    write!(out, "  {program} run {run_directory}")?;
    // A plugin's name, or a path to its library.
    if !config.plugins.iter().any(|plugin| plugin.name().contains(BASELINES)) {
        let mut plugins = config.plugins.clone();
        plugins.push(PluginReference::Bare(BASELINES.to_owned()));
        let plugins = serde_json::to_string(&plugins).map_err(|_| fmt::Error)?;
        write!(out, " --set {}", for_shell(&format!("plugins={plugins}"))?)?;
    }
    let strategy = match config.strategy.name.strip_prefix(BASELINES) {
        Some("/random-search") => "regularized-evolution",
        _ => "random-search",
    };
    writeln!(out, " --set {}", for_shell(&format!("strategy={{use: {BASELINES}/{strategy}}}"))?)
}

/// As a shell takes it for one word.
fn for_shell(word: &str) -> Result<Cow<'_, str>, fmt::Error> {
    shlex::try_quote(word).map_err(|_| fmt::Error)
}

/// What training a network came to.
pub fn trained(trained: &Trained, directory: &str) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_trained(&mut text, trained, directory);
    text
}

fn write_trained(out: &mut String, trained: &Trained, directory: &str) -> fmt::Result {
    heading(out, "The network that was trained")?;
    for (block, operations) in &trained.blocks {
        let layers: Vec<String> =
            operations.iter().map(|operation| format!("{STRONG}[{operation}]{STRONG:#}")).collect();
        writeln!(out, "  {block:<9} {}", layers.join("-"))?;
    }
    field(out, "genome", &trained.genome)?;
    field(out, "parameters", format!("{:.3} million", trained.cost.params as f64 / 1e6))?;
    field(out, "FLOPs", format!("{:.2} million multiply-adds", trained.cost.flops as f64 / 1e6))?;
    heading(out, "Training")?;
    field(out, "by", &trained.estimator)?;
    if let Some(dataset) = &trained.dataset {
        field(out, "data set", dataset)?;
    }
    for one in &trained.trainings {
        let measured: Vec<String> = one.measured.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        let time = spoken(std::time::Duration::from_secs_f64(one.seconds));
        let name = format!("seed {}", one.seed);
        field(out, &name, format!("{} after {} epochs, {time}", measured.join(", "), one.epochs))?;
    }
    for (name, value) in &trained.measured {
        let deviation = value.standard_deviation.map_or(String::new(), |deviation| format!(" ± {deviation:.4}"));
        field(out, name, format!("{GOOD}{:.4}{GOOD:#}{deviation}", value.mean))?;
    }
    field(out, "directory", directory)?;
    writeln!(out, "\nThe weights are in {directory}/seed-*/{MODEL}/weights.safetensors.")
}

/// What strategies came to, side by side.
pub fn comparison(comparison: &Comparison, directory: &str) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_variants(&mut text, comparison, directory);
    text
}

fn write_variants(out: &mut String, comparison: &Comparison, directory: &str) -> fmt::Result {
    heading(out, &format!("{}, {} seeds", comparison.compared, comparison.seeds))?;
    let width = comparison.variants.iter().map(|variant| variant.name.chars().count()).max().unwrap_or(0);
    for variant in &comparison.variants {
        let mean = |summary: Option<&Summary>, digits: usize| {
            summary.map_or("none".to_owned(), |summary| format!("{:.digits$}", summary.mean))
        };
        let compared = variant.compared.as_ref();
        let deviation = compared.and_then(|compared| compared.standard_deviation);
        let deviation = deviation.map_or(String::new(), |deviation| format!(" ± {deviation:.5}"));
        let target = variant.target.as_ref().map_or(String::new(), |target| {
            let expected = target.expected.map_or("none".to_owned(), |expected| format!("{expected:.0}"));
            format!(", {:.1} % to the target, expected after {expected}", 100.0 * target.share)
        });
        writeln!(
            out,
            "  {:<width$}  {GOOD}{}{GOOD:#}{deviation} after {} evaluations{target}",
            variant.name,
            mean(compared, 5),
            mean(variant.evaluations.as_ref(), 1),
        )?;
    }
    if !comparison.pairs.is_empty() {
        heading(out, "Who is better")?;
    }
    for pair in &comparison.pairs {
        let share = 100.0 * pair.superiority(comparison.goal);
        let (better, other) = (&pair.better, &pair.other);
        writeln!(out, "  {better} than {other} in {share:.1} % of pairs, p {:.1e}", pair.corrected)?;
    }
    writeln!(out, "\nThe report is in {directory}: compare.md, compare.svg, compare.csv, curves.csv, compare.json.")
}

/// What came of repeating a run or an evaluation.
pub fn repeated(repeated: &Repeated) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_repeated(&mut text, repeated);
    text
}

fn write_repeated(out: &mut String, repeated: &Repeated) -> fmt::Result {
    heading(out, &format!("Repeated: {}", repeated.what))?;
    if repeated.changes.is_empty() {
        writeln!(out, "  the same program, plugins, data set and number of threads")?;
    }
    for change in &repeated.changes {
        writeln!(out, "  changed    {change}")?;
    }
    for equal in &repeated.equal {
        writeln!(out, "  {GOOD}equal{GOOD:#}      {equal}")?;
    }
    for different in &repeated.different {
        writeln!(out, "  {STRONG}different{STRONG:#}  {different}")?;
    }
    Ok(())
}

/// How well an estimator ranks, for each variant, stage and sample.
pub fn ranking(ranking: &Ranking, directory: &str) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_ranking(&mut text, ranking, directory);
    text
}

fn write_ranking(out: &mut String, ranking: &Ranking, directory: &str) -> fmt::Result {
    heading(out, &format!("{} held against {}, by {}", ranking.estimator, ranking.reference, ranking.objective))?;
    writeln!(out, "  Kendall's tau, mean over seeds with its 95 % interval")?;
    for variant in &ranking.variants {
        writeln!(out, "\n  {STRONG}{}{STRONG:#}  {QUIET}{}{QUIET:#}", variant.name, variant.set.join(", "))?;
        for summary in &variant.summary {
            let sample = match summary.drawn_from {
                Sample::Space => "whole space",
                Sample::Region => "region",
                Sample::OfFirst => "first's region",
            };
            let (all, best) = (spread(summary.tau.as_ref()), spread(summary.tau_of_best.as_ref()));
            let others: String =
                summary.others.iter().map(|(name, tau)| format!("  all by {name} {}", spread(Some(tau)))).collect();
            writeln!(out, "    stage {}  {sample:<14} all {all:<24} best fifth {best:<26}{others}", summary.stage + 1)?;
        }
        let searches = &variant.searches;
        let most = |number: fn(&RankedSearch) -> f64| searches.iter().map(number).fold(0.0, f64::max);
        writeln!(out, "    found         {}", spread(variant.found.as_ref()))?;
        writeln!(
            out,
            "    at most       {} evaluations, {:.2} million images trained with, {:.0} s",
            most(|search| search.evaluations as f64),
            most(|search| search.images as f64) / 1e6,
            most(|search| search.seconds),
        )?;
    }
    writeln!(out, "\n  {directory}/rank.json has every network, {directory}/rank.svg the plot")
}

fn spread(spread: Option<&Spread>) -> String {
    match spread {
        None => "-".to_owned(),
        Some(Spread { mean, interval: Some((low, high)), .. }) => format!("{mean:.3} ({low:.3} to {high:.3})"),
        Some(Spread { mean, .. }) => format!("{mean:.3} (one seed)"),
    }
}

fn heading(out: &mut String, text: &str) -> fmt::Result {
    writeln!(out, "\n{STRONG}{text}{STRONG:#}")
}

fn field(out: &mut String, name: &str, value: impl Display) -> fmt::Result {
    writeln!(out, "  {name:<18} {value}")
}

/// A stage: for each Block and layer the operations it had, those that did not survive struck out.
fn write_stage(out: &mut String, stage: &Stage, next: Option<&Region>, network: &Network) -> fmt::Result {
    let best = stage.best.map_or(String::new(), |best| format!(", best {best:.4}"));
    let loss = stage.metrics.get("loss").map_or(String::new(), |loss| format!(", loss {loss:.3}"));
    writeln!(
        out,
        "  stage {}: {} networks, {} epochs{loss}, {} evaluations{best}",
        stage.stage + 1,
        round_count(stage.networks),
        stage.epochs,
        stage.evaluations,
    )?;
    for (name, slots) in groups(network) {
        for (layer, slot) in slots.iter().enumerate() {
            let allowed = stage.region.allowed(*slot);
            let is_unborn = allowed.iter().all(|choice| Some(*choice) == network.absent(*slot));
            if is_unborn {
                let unborn = slots.len() - layer;
                let plural = if unborn == 1 { "layer is" } else { "layers are" };
                writeln!(out, "    {QUIET}{name:<9} {unborn} more {plural} not born yet{QUIET:#}")?;
                break;
            }
            write!(out, "    {name:<9} {:>2}  ", layer + 1)?;
            for choice in allowed {
                let operation = network.operation(*slot, *choice);
                let survives = next.is_none_or(|next| next.allows(*slot, *choice));
                if survives {
                    write!(out, "{operation}  ")?;
                } else {
                    write!(out, "{GONE}-{operation}{GONE:#}  ")?;
                }
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

/// The Blocks with their slots; slots outside of Blocks come last.
pub(crate) fn groups(network: &Network) -> Vec<(String, Vec<usize>)> {
    let mut groups: Vec<_> = network.blocks().iter().map(|block| (block.name.clone(), block.slots.clone())).collect();
    let rest: Vec<usize> =
        (0..network.slots().len()).filter(|slot| !groups.iter().any(|(_, slots)| slots.contains(slot))).collect();
    if !rest.is_empty() {
        groups.push(("slots".to_owned(), rest));
    }
    groups
}

/// A network Block by Block.
pub fn write_network(out: &mut String, genome: &Genome, network: &Network) -> fmt::Result {
    writeln!(out, "  {:<9} {}", "image", network.description().input)?;
    for (name, slots) in groups(network) {
        let shape = slots
            .iter()
            .filter_map(|slot| network.nodes().iter().find(|node| node.slot == Some(*slot)))
            .next_back()
            .map_or(String::new(), |node| node.output.to_string());
        write!(out, "  {name:<9} {shape:<14} ")?;
        let mut layers =
            slots.iter().filter(|slot| !network.meaning(**slot, genome[**slot]).passes_through()).peekable();
        if layers.peek().is_none() {
            write!(out, "{QUIET}passes through{QUIET:#}")?;
        }
        while let Some(slot) = layers.next() {
            write!(out, "{STRONG}[{}]{STRONG:#}", network.operation(*slot, genome[*slot]))?;
            if layers.peek().is_some() {
                write!(out, "-")?;
            }
        }
        writeln!(out)?;
    }
    writeln!(out, "  {:<9} {} classes", "output", network.description().classes)
}

/// A network in one line: the operations that it is made of, Block by Block.
pub(crate) fn in_short(genome: &Genome, network: &Network) -> String {
    let block = |(_, slots): (String, Vec<usize>)| {
        let layers = slots.iter().filter(|slot| !network.meaning(**slot, genome[**slot]).passes_through());
        let layers: Vec<&str> = layers.map(|slot| network.operation(*slot, genome[*slot])).collect();
        if layers.is_empty() { "passes through".to_owned() } else { layers.join("-") }
    };
    groups(network).into_iter().map(block).collect::<Vec<_>>().join(" | ")
}

fn write_numbers(out: &mut String, winner: &Found) -> fmt::Result {
    let is_predicted = |name: &str| name == pleach_sdk::LATENCY && winner.cost.nanoseconds.is_some();
    for (name, value) in &winner.objectives {
        if !pleach_sdk::COMPUTED.contains(&name.as_str()) && !is_predicted(name) {
            field(out, name, format!("{GOOD}{value:.4}{GOOD:#}"))?;
        }
    }
    for (name, value) in &winner.judged {
        field(out, &format!("judged {name}"), format!("{GOOD}{value:.4}{GOOD:#}"))?;
    }
    field(out, "parameters", format!("{:.3} million", winner.cost.params as f64 / 1e6))?;
    field(out, "FLOPs", format!("{:.2} million multiply-adds", winner.cost.flops as f64 / 1e6))?;
    if let Some(nanoseconds) = winner.cost.nanoseconds {
        field(out, "latency", format!("{:.3} ms, predicted by the profile", nanoseconds as f64 / 1e6))?;
    }
    if !winner.within_limits {
        field(out, "limits", "NOT kept: no evaluated network keeps them all")?;
    }
    Ok(())
}

/// The trade-offs between objectives, and up to where their volume is counted.
fn write_front(out: &mut String, front: &ParetoFront) -> fmt::Result {
    let networks = &front.networks;
    heading(out, &format!("The front: {} networks that no other one beats in everything", networks.len()))?;
    let step = networks.len().div_ceil(SHOWN_OF_FRONT).max(1);
    for (index, network) in networks.iter().enumerate() {
        if index % step == 0 || index + 1 == networks.len() {
            let numbers = network.found.objectives.iter().map(|(name, value)| format!("{name} {:<10}", short(*value)));
            writeln!(out, "  {} {QUIET}{}{QUIET:#}", numbers.collect::<Vec<_>>().join("  "), network.found.genome)?;
        }
    }
    let up_to = front.reference.iter().map(|reference| {
        let from = match reference.from {
            ReferenceFrom::RunFile => "the run file",
            ReferenceFrom::Limit => "the limit",
            ReferenceFrom::Space => "the worst of the space",
            ReferenceFrom::FirstStep => "the worst of the first step",
        };
        format!("{} {} ({from})", reference.objective, short(reference.value))
    });
    field(out, "hypervolume", format!("{GOOD}{}{GOOD:#}", short(front.hypervolume)))?;
    field(out, "  up to", up_to.collect::<Vec<_>>().join(", "))
}

fn write_comparison(out: &mut String, result: &SearchResult, winner: &Found) -> fmt::Result {
    if result.random_networks.is_empty() {
        return Ok(());
    }
    heading(out, "Beside random networks, measured with the same weights")?;
    for random in &result.random_networks {
        let from = match random.drawn_from {
            DrawnFrom::LastRegion => "of the last stage's region",
            DrawnFrom::WholeSpace => "of the whole space",
        };
        writeln!(
            out,
            "  {:>3} {from:<27} {} {:.4} ± {:.4}, best {:.4}",
            random.count, random.objective, random.mean, random.standard_deviation, random.best
        )?;
        if let Some(found) = winner.objectives.get(&random.objective) {
            writeln!(
                out,
                "      {:<27} {} {GOOD}{found:.4}{GOOD:#} ({:+.4})",
                "found",
                random.objective,
                found - random.mean
            )?;
        }
    }
    Ok(())
}
