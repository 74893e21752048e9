//! Rank against rank: one panel for each stage and variant, a colour for each seed.

use plotters::prelude::*;

use super::{Ranking, Sample};
use crate::colours::COLOURS;

const PANEL: (u32, u32) = (300, 300);

/// Draws the samples of the whole space as SVG.
pub(super) fn draw(ranking: &Ranking) -> Result<String, String> {
    let mut text = String::new();
    draw_into(&mut text, ranking).map_err(|error| error.to_string())?;
    Ok(text)
}

fn draw_into(text: &mut String, ranking: &Ranking) -> Result<(), Box<dyn std::error::Error>> {
    let mut stages: Vec<u32> =
        ranking.variants.iter().flat_map(|variant| &variant.summary).map(|summary| summary.stage).collect();
    stages.sort_unstable();
    stages.dedup();
    let (rows, columns) = (ranking.variants.len().max(1), stages.len().max(1));
    let size = (PANEL.0 * columns as u32, PANEL.1 * rows as u32);
    let area = SVGBackend::with_string(text, size).into_drawing_area();
    area.fill(&WHITE)?;
    let panels = area.split_evenly((rows, columns));
    for (row, variant) in ranking.variants.iter().enumerate() {
        for (column, stage) in stages.iter().enumerate() {
            let samples: Vec<_> = variant
                .searches
                .iter()
                .filter_map(|search| {
                    search.samples.iter().find(|one| one.stage == *stage && one.drawn_from == Sample::Space)
                })
                .collect();
            let most = samples.iter().map(|sample| sample.networks.len()).max().unwrap_or(0);
            let tau = variant
                .summary
                .iter()
                .find(|one| one.stage == *stage && one.drawn_from == Sample::Space)
                .and_then(|summary| summary.tau.as_ref())
                .map_or(String::new(), |tau| format!(", tau {:.3}", tau.mean));
            let title = format!("{}, stage {}{tau}", variant.name, stage + 1);
            let limit = most as f64 + 1.0;
            let mut chart = ChartBuilder::on(&panels[row * columns + column])
                .caption(title, ("sans-serif", 14))
                .margin(8)
                .x_label_area_size(32)
                .y_label_area_size(40)
                .build_cartesian_2d(0.0..limit, 0.0..limit)?;
            chart
                .configure_mesh()
                .light_line_style(TRANSPARENT)
                .x_labels(5)
                .y_labels(5)
                .x_desc(format!("rank by {}", ranking.reference))
                .y_desc(format!("rank by {}", ranking.estimator))
                .label_style(("sans-serif", 11))
                .draw()?;
            chart.draw_series(std::iter::once(PathElement::new([(0.0, 0.0), (limit, limit)], BLACK.mix(0.3))))?;
            for (index, sample) in samples.iter().enumerate() {
                let fitness = ranks(sample.networks.iter().map(|one| one.fitness).collect());
                let reference = ranks(sample.networks.iter().map(|one| one.reference).collect());
                let colour = COLOURS[index % COLOURS.len()].mix(0.7);
                let points = reference.into_iter().zip(fitness);
                chart.draw_series(points.map(|point| Circle::new(point, 2, colour.filled())))?;
            }
        }
    }
    area.present()?;
    Ok(())
}

/// The rank of each value, the smallest first; equal values share the mean of their ranks.
fn ranks(values: Vec<f64>) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, other| values[*one].total_cmp(&values[*other]));
    let mut ranks = vec![0.0; values.len()];
    for equal in order.chunk_by(|one, other| values[*one] == values[*other]) {
        let smaller = values.iter().filter(|value| **value < values[equal[0]]).count();
        for index in equal {
            ranks[*index] = smaller as f64 + (equal.len() as f64 + 1.0) / 2.0;
        }
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_a_rank() {
        assert_eq!(ranks(vec![0.3, 0.1, 0.3, 0.2]), [3.5, 1.0, 3.5, 2.0]);
        assert!(ranks(Vec::new()).is_empty());
    }
}
