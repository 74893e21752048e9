//! The best so far, against evaluations and simulated time: a line for each variant, in a band
//! that holds the mean with 95 % confidence.

use plotters::{
    coord::{ranged1d::ValueFormatter, types::RangedCoordf64},
    prelude::*,
};

use super::report::{Comparison, Point, VariantReport};
use crate::colours::COLOURS;

const PANEL: (u32, u32) = (560, 420);

/// What of the curves lies below the plot, so that the differences at the end can be seen.
const LEFT_OUT: f64 = 0.15;

/// Draws the report as SVG.
pub(super) fn draw(comparison: &Comparison) -> Result<String, String> {
    let mut text = String::new();
    draw_into(&mut text, comparison).map_err(|error| error.to_string())?;
    Ok(text)
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn draw_into(text: &mut String, comparison: &Comparison) -> Outcome {
    let by_evaluations = |variant: &VariantReport| variant.by_evaluations.clone();
    let by_time = |variant: &VariantReport| {
        let hours = |point: &Point| Point { at: point.at / 3600.0, ..*point };
        variant.by_simulated_seconds.iter().map(hours).collect::<Vec<Point>>()
    };
    let curves = |of: &dyn Fn(&VariantReport) -> Vec<Point>| -> Vec<(String, Vec<Point>)> {
        comparison.variants.iter().map(|variant| (variant.name.clone(), of(variant))).collect()
    };
    let mut panels = vec![("evaluations", true, curves(&by_evaluations))];
    if comparison.variants.iter().any(|variant| !variant.by_simulated_seconds.is_empty()) {
        panels.push(("simulated hours", false, curves(&by_time)));
    }
    let area = SVGBackend::with_string(text, (PANEL.0 * panels.len() as u32, PANEL.1)).into_drawing_area();
    area.fill(&WHITE)?;
    let places = area.split_evenly((1, panels.len()));
    for ((against, is_logarithmic, curves), place) in panels.iter().zip(&places) {
        let points: Vec<&Point> = curves.iter().flat_map(|(_, points)| points).collect();
        let (Some(first), Some(last)) = (
            points.iter().map(|point| point.at).reduce(f64::min),
            points.iter().map(|point| point.at).reduce(f64::max),
        ) else {
            continue;
        };
        let range = value_range(&points, comparison.goal == pleach_sdk::Goal::Maximise);
        let last = if last > first { last } else { first + 1.0 };
        let mut chart = ChartBuilder::on(place);
        chart.margin(10).x_label_area_size(36).y_label_area_size(64);
        if *is_logarithmic {
            let chart = chart.build_cartesian_2d((first..last).log_scale(), range)?;
            panel(chart, against, comparison, curves)?;
        } else {
            let chart = chart.build_cartesian_2d(first..last, range)?;
            panel(chart, against, comparison, curves)?;
        }
    }
    area.present()?;
    Ok(())
}

fn panel<'a, X>(
    mut chart: ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, RangedCoordf64>>,
    against: &str,
    comparison: &Comparison,
    curves: &[(String, Vec<Point>)],
) -> Outcome
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .x_labels(8)
        .y_labels(8)
        .x_desc(against)
        .y_desc(format!("{} of the best so far", comparison.compared))
        .label_style(("sans-serif", 12))
        .draw()?;
    for (index, (name, points)) in curves.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let back = points.iter().rev().map(|point| (point.at, point.low));
        let band: Vec<(f64, f64)> = points.iter().map(|point| (point.at, point.high)).chain(back).collect();
        chart.draw_series(std::iter::once(Polygon::new(band, colour.mix(0.2).filled())))?;
        let line: Vec<(f64, f64)> = points.iter().map(|point| (point.at, point.mean)).collect();
        chart
            .draw_series(std::iter::once(PathElement::new(line, colour.stroke_width(2))))?
            .label(name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    let corner = match comparison.goal {
        pleach_sdk::Goal::Maximise => SeriesLabelPosition::LowerRight,
        pleach_sdk::Goal::Minimise => SeriesLabelPosition::UpperRight,
    };
    chart
        .configure_series_labels()
        .position(corner)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 12))
        .draw()?;
    Ok(())
}

/// From where most of each curve lies to its best end.
fn value_range(points: &[&Point], is_more_better: bool) -> std::ops::Range<f64> {
    let mut means: Vec<f64> = points.iter().map(|point| point.mean).collect();
    means.sort_by(f64::total_cmp);
    let left_out = (means.len() as f64 * LEFT_OUT) as usize;
    let ends = |end: fn(f64, f64) -> f64, of: fn(&Point) -> f64| points.iter().map(|point| of(point)).reduce(end);
    let (low, high) = if is_more_better {
        (means[left_out], ends(f64::max, |point| point.high).unwrap_or(1.0))
    } else {
        (ends(f64::min, |point| point.low).unwrap_or(0.0), means[means.len() - 1 - left_out])
    };
    let margin = ((high - low) * 0.05).max(1e-9 * (1.0 + high.abs()));
    low - margin..high + margin
}
