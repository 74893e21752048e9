//! The report as tables: Markdown for people, CSV for programs.

use std::fmt::Write as _;

use pleach_sdk::Goal;

use super::report::{Comparison, Pair, VariantReport};
use crate::{progress::spoken_seconds, statistics::Summary};

/// Two variants differ where the corrected p-value is below this.
const LEVEL: f64 = 0.05;

/// The report for a person.
pub(super) fn markdown(comparison: &Comparison) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_markdown(&mut text, comparison);
    text
}

fn write_markdown(out: &mut String, comparison: &Comparison) -> std::fmt::Result {
    writeln!(out, "# {}: {} variants, {} seeds", comparison.name, comparison.variants.len(), comparison.seeds)?;
    writeln!(out, "\n{}", question(comparison))?;
    let is_simulated = comparison.variants.iter().any(|variant| variant.simulated_seconds.is_some());
    let mut head = vec!["variant".to_owned(), "evaluations".to_owned()];
    if is_simulated {
        head.push("simulated time".to_owned());
    }
    if comparison.reported_by.is_some() {
        head.push(format!("{} (searched)", comparison.objective));
    }
    head.push(format!("**{}**", comparison.compared));
    head.extend(["95 % of the mean", "median", "lowest to highest"].map(str::to_owned));
    if let Some(target) = &comparison.target {
        head.extend([format!("came to {}", target.value), "median evaluations".to_owned(), "expected".to_owned()]);
    }
    row(out, &head)?;
    row(out, &vec!["---".to_owned(); head.len()])?;
    for variant in &comparison.variants {
        row(out, &cells(variant, comparison, is_simulated))?;
    }
    if comparison.target.is_some() {
        writeln!(
            out,
            "\n*Median evaluations*: half of all searches were there. *Expected*: evaluations of all searches until \
             they were there or ended, by the searches that came to it (Hansen et al. 2021)."
        )?;
    }
    if !comparison.pairs.is_empty() {
        writeln!(out, "\n## Who is better\n")?;
        row(out, &["better", "than", "by", "better in", "p", ""].map(str::to_owned))?;
        row(out, &vec!["---".to_owned(); 6])?;
        for pair in &comparison.pairs {
            row(out, &pair_cells(pair, comparison.goal))?;
        }
        writeln!(
            out,
            "\nTwo-sided test of Mann and Whitney (1947), normal approximation with corrections for ties and \
             continuity, p-values corrected for {} pairs (Holm 1979). *Better in*: of all pairs of searches, ties \
             counted as half (Vargha and Delaney 2000).",
            comparison.pairs.len()
        )?;
    }
    writeln!(out, "\n## The best so far\n\n![The best so far](compare.svg)\n\n## Variants\n")?;
    for variant in &comparison.variants {
        let set = if variant.set.is_empty() { String::new() } else { format!(" with `{}`", variant.set.join("`, `")) };
        writeln!(out, "- {}: `{}`, {}{set}", variant.name, variant.strategy, variant.file)?;
    }
    Ok(())
}

/// What was asked, in a sentence.
fn question(comparison: &Comparison) -> String {
    let direction = match comparison.goal {
        Goal::Maximise => "more is better",
        Goal::Minimise => "less is better",
    };
    let by = comparison.reported_by.as_ref();
    let by = by.map_or("the searches' own objective".to_owned(), |by| format!("measured by {by}"));
    let last = (comparison.first_seed + comparison.seeds).saturating_sub(1);
    format!(
        "Compared is `{}` of the network that each search found, {by}; {direction}. Seeds {} to {last}; mean ± \
         standard deviation over the searches.",
        comparison.compared, comparison.first_seed
    )
}

fn cells(variant: &VariantReport, comparison: &Comparison, is_simulated: bool) -> Vec<String> {
    let or_none =
        |summary: &Option<Summary>, text: &dyn Fn(&Summary) -> String| summary.as_ref().map_or("none".to_owned(), text);
    let mut cells = vec![variant.name.clone(), or_none(&variant.evaluations, &|one| format!("{:.1}", one.mean))];
    if is_simulated {
        cells.push(or_none(&variant.simulated_seconds, &|one| spoken_seconds(one.mean)));
    }
    if comparison.reported_by.is_some() {
        cells.push(or_none(&variant.objective, &|one| number(one.mean)));
    }
    cells.push(or_none(&variant.compared, &|one| {
        let deviation = one.standard_deviation.map_or(String::new(), |deviation| format!(" ± {}", number(deviation)));
        format!("**{}**{deviation}", number(one.mean))
    }));
    cells.push(or_none(&variant.compared, &|one| {
        one.interval.map_or(String::new(), |(low, high)| format!("{} to {}", number(low), number(high)))
    }));
    cells.push(or_none(&variant.compared, &|one| number(one.median)));
    cells.push(or_none(&variant.compared, &|one| format!("{} to {}", number(one.lowest), number(one.highest))));
    if let Some(target) = &variant.target {
        cells.push(format!("{:.1} %", 100.0 * target.share));
        cells.push(target.median.map_or("not half".to_owned(), |median| format!("{median}")));
        cells.push(target.expected.map_or("none".to_owned(), |expected| format!("{expected:.1}")));
    }
    cells
}

fn pair_cells(pair: &Pair, goal: Goal) -> [String; 6] {
    let p = if pair.corrected < 1e-12 { "< 1e-12".to_owned() } else { format!("{:.2e}", pair.corrected) };
    let verdict = if pair.corrected < LEVEL { "significant" } else { "not significant" };
    let share = format!("{:.1} %", 100.0 * pair.superiority(goal));
    [pair.better.clone(), pair.other.clone(), number(pair.difference), share, p, verdict.to_owned()]
}

fn row(out: &mut String, cells: &[String]) -> std::fmt::Result {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    writeln!(out, "| {} |", cells.join(" | "))
}

/// A number with as many digits as differences between searches need.
fn number(value: f64) -> String {
    match value.abs() {
        1000.0.. => format!("{value:.0}"),
        10.0..1000.0 => format!("{value:.2}"),
        1.0..10.0 => format!("{value:.4}"),
        _ => format!("{value:.5}"),
    }
}

/// The report for a program: a row for each variant.
pub(super) fn csv(comparison: &Comparison) -> String {
    let mut head = vec!["variant".to_owned(), "strategy".to_owned()];
    for what in ["evaluations", "simulated_seconds", "objective", "compared"] {
        let part = |part: &str| format!("{what}_{part}");
        head.extend(["count", "mean", "deviation", "low", "high", "lowest", "median", "highest"].map(part));
    }
    head.extend(["target_share", "target_median", "target_expected"].map(str::to_owned));
    let rows = comparison.variants.iter().map(|variant| {
        let mut row = vec![variant.name.clone(), variant.strategy.clone()];
        for summary in [&variant.evaluations, &variant.simulated_seconds, &variant.objective, &variant.compared] {
            row.extend(summary_cells(summary.as_ref()));
        }
        let target = variant.target.as_ref();
        row.extend([
            optional(target.map(|target| target.share)),
            optional(target.and_then(|target| target.median)),
            optional(target.and_then(|target| target.expected)),
        ]);
        row
    });
    lines(std::iter::once(head).chain(rows))
}

fn summary_cells(summary: Option<&Summary>) -> [String; 8] {
    let of = |value: fn(&Summary) -> Option<f64>| optional(summary.and_then(value));
    [
        summary.map_or(String::new(), |one| one.count.to_string()),
        of(|one| Some(one.mean)),
        of(|one| one.standard_deviation),
        of(|one| one.interval.map(|(low, _)| low)),
        of(|one| one.interval.map(|(_, high)| high)),
        of(|one| Some(one.lowest)),
        of(|one| Some(one.median)),
        of(|one| Some(one.highest)),
    ]
}

fn optional(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

/// Every point of every curve.
pub(super) fn curves(comparison: &Comparison) -> String {
    let head = ["variant", "against", "at", "mean", "low", "high"].map(str::to_owned).to_vec();
    let rows = comparison.variants.iter().flat_map(|variant| {
        let curves = [("evaluations", &variant.by_evaluations), ("simulated_seconds", &variant.by_simulated_seconds)];
        curves.into_iter().flat_map(move |(against, points)| {
            points.iter().map(move |point| {
                let numbers = [point.at, point.mean, point.low, point.high].map(|number| number.to_string());
                [vec![variant.name.clone(), against.to_owned()], numbers.to_vec()].concat()
            })
        })
    });
    lines(std::iter::once(head).chain(rows))
}

fn lines(rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(&row).expect("rows are of one length, and memory can be written");
    }
    let bytes = writer.into_inner().expect("memory can be written");
    String::from_utf8(bytes).expect("what is written is UTF-8")
}
