//! Images made from a seed: for tests, and for trying a run file before any data is there.
//!
//! Each class is a grating of its own direction and spacing; every image has another phase,
//! contrast, colour and noise, so the mean pixel says nothing about the class and edges do.

use pleach_sdk::{
    BuildDataset, Component, Context, Dataset, DatasetInfo, Result, Seed, Shape, Split, config, rand::Rng,
};

use crate::request;

config! {
    /// Images made from the run's seed.
    pub struct SyntheticConfig {
        /// Classes.
        #[schemars(range(min = 2, max = 1000))]
        pub classes: u32 = 10,
        /// Channels of an image.
        #[schemars(range(min = 1, max = 16))]
        pub channels: u32 = 3,
        /// Rows and columns of an image, in pixels.
        #[schemars(range(min = 4, max = 512))]
        pub size: u32 = 16,
        /// Images to train on.
        #[schemars(range(min = 1, max = 100_000_000))]
        pub train: u64 = 2000,
        /// Images to test with.
        #[schemars(range(min = 1, max = 100_000_000))]
        pub test: u64 = 500,
        /// Standard deviation of the noise, as a share of the full range of a pixel.
        #[schemars(range(min = 0.0, max = 1.0))]
        pub noise: f64 = 0.1,
    }
}

/// Images made from a seed.
pub struct Synthetic {
    info: DatasetInfo,
    noise: f64,
    seed: Seed,
}

impl Component for Synthetic {
    type Config = SyntheticConfig;
    const NAME: &'static str = "synthetic";
    const SUMMARY: &'static str = "gratings made from the run's seed";

    fn example() -> SyntheticConfig {
        SyntheticConfig::default()
    }
}

impl BuildDataset for Synthetic {
    fn build(config: SyntheticConfig, context: &Context) -> Result<Self> {
        let info = DatasetInfo {
            name: "synthetic".to_owned(),
            shape: Shape { channels: config.channels, height: config.size, width: config.size },
            classes: (0..config.classes).map(|class| format!("grating {class}")).collect(),
            train: config.train,
            test: config.test,
            views: false,
        };
        Ok(Synthetic { info, noise: config.noise, seed: context.seed })
    }
}

impl Dataset for Synthetic {
    fn info(&self) -> &DatasetInfo {
        &self.info
    }

    fn fetch(&self, split: Split, indices: &[u64], images: &mut [u8], labels: &mut [u32]) -> Result<()> {
        request::check(&self.info, split, indices, images, labels)?;
        let bytes = self.info.image_bytes();
        for ((index, image), label) in indices.iter().zip(images.chunks_exact_mut(bytes)).zip(labels) {
            *label = self.draw(split, *index, image);
        }
        Ok(())
    }
}

impl Synthetic {
    /// Draws one image, a pure function of seed, split and index, and answers with its class.
    fn draw(&self, split: Split, index: u64, image: &mut [u8]) -> u32 {
        let role = match split {
            Split::Train => "train image",
            Split::Test => "test image",
        };
        let mut generator = self.seed.derive(role, index).generator();
        let classes = self.info.classes.len() as u64;
        // Every run of as many images as there are classes holds each class once.
        let class = (index + self.seed.derive(role, index / classes).0 % classes) % classes;
        let (angle, period) = grating(class, classes, f64::from(self.info.shape.width));
        let phase = generator.random_range(0.0..std::f64::consts::TAU);
        let contrast = generator.random_range(0.25..0.5);
        let (height, width) = (self.info.shape.height as usize, self.info.shape.width as usize);
        for channel in image.chunks_exact_mut(height * width) {
            let strength = contrast * generator.random_range(0.4..1.0);
            let level = generator.random_range(0.4..0.6);
            for (pixel, byte) in channel.iter_mut().enumerate() {
                let (row, column) = ((pixel / width) as f64, (pixel % width) as f64);
                let along = column * angle.cos() + row * angle.sin();
                let wave = (std::f64::consts::TAU * along / period + phase).sin();
                // The sum of three uniform numbers is near enough to a normal one.
                let noise: f64 = (0..3).map(|_| generator.random_range(-1.0..1.0)).sum();
                *byte = ((level + strength * wave + self.noise * noise) * 255.0).clamp(0.0, 255.0) as u8;
            }
        }
        class as u32
    }
}

/// Direction in radians and distance of crests in pixels of a class's grating.
fn grating(class: u64, classes: u64, width: f64) -> (f64, f64) {
    let directions = classes.div_ceil(2);
    let angle = std::f64::consts::PI * (class % directions) as f64 / directions as f64;
    let period = if class < directions { width / 2.0 } else { width / 5.0 };
    (angle, period.max(2.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(seed: u64) -> Synthetic {
        let context = Context { seed: Seed(seed), ..Context::default() };
        Synthetic::build(SyntheticConfig::default(), &context).expect("the defaults are sound")
    }

    fn fetch(data: &Synthetic, split: Split, indices: &[u64]) -> (Vec<u8>, Vec<u32>) {
        let mut images = vec![0; data.info.image_bytes() * indices.len()];
        let mut labels = vec![0; indices.len()];
        data.fetch(split, indices, &mut images, &mut labels).expect("the indices are there");
        (images, labels)
    }

    #[test]
    fn an_image_depends_on_seed_split_and_index_alone() {
        let indices: Vec<u64> = (0..20).collect();
        let (images, labels) = fetch(&build(1), Split::Train, &indices);
        assert_eq!((images.clone(), labels.clone()), fetch(&build(1), Split::Train, &indices));
        assert_ne!(images, fetch(&build(2), Split::Train, &indices).0);
        assert_ne!(images, fetch(&build(1), Split::Test, &indices).0);
        let (alone, label) = fetch(&build(1), Split::Train, &[7]);
        assert_eq!(alone, images[7 * alone.len()..8 * alone.len()]);
        assert_eq!(label[0], labels[7]);
    }

    #[test]
    fn the_promises_of_a_data_set_are_kept() {
        pleach_sdk::conformance::dataset::<Synthetic>(&Default::default()).assert();
    }

    #[test]
    fn classes_are_balanced_and_not_in_order() {
        let indices: Vec<u64> = (0..2000).collect();
        let (_, labels) = fetch(&build(3), Split::Train, &indices);
        for class in 0..10 {
            assert_eq!(labels.iter().filter(|label| **label == class).count(), 200);
        }
        assert!((0..10).any(|start| labels[start * 10] != labels[0]));
    }

    /// The share of test images that are nearest to the mean of their class, by a measure.
    fn nearest_mean(data: &Synthetic, measure: impl Fn(&[u8]) -> Vec<f64>) -> f64 {
        let bytes = data.info.image_bytes();
        let features = |split, count| {
            let (images, labels) = fetch(data, split, &(0..count).collect::<Vec<_>>());
            images.chunks(bytes).map(&measure).zip(labels).collect::<Vec<_>>()
        };
        let training = features(Split::Train, 1000);
        let mut means = vec![vec![0.0; training[0].0.len()]; 10];
        for (feature, label) in &training {
            for (sum, value) in means[*label as usize].iter_mut().zip(feature) {
                *sum += value / 100.0;
            }
        }
        let distance = |mean: &[f64], feature: &[f64]| -> f64 {
            mean.iter().zip(feature).map(|(left, right)| (left - right).powi(2)).sum()
        };
        let test = features(Split::Test, 300);
        let right = test.iter().filter(|(feature, label)| {
            let nearest = (0..10)
                .min_by(|left, right| distance(&means[*left], feature).total_cmp(&distance(&means[*right], feature)));
            nearest == Some(*label as usize)
        });
        right.count() as f64 / 300.0
    }

    #[test]
    fn edges_tell_classes_apart_and_pixels_do_not() {
        let data = build(4);
        let pixels = nearest_mean(&data, |image| image.iter().map(|byte| f64::from(*byte)).collect());
        assert!(pixels < 0.5, "the nearest mean image is right for {pixels}");
        // How strongly the first channel follows each class's own grating.
        let responses = |image: &[u8]| {
            let gratings = (0..10).map(|class| {
                let (angle, period) = grating(class, 10, 16.0);
                let (mut sine, mut cosine) = (0.0, 0.0);
                for (pixel, byte) in image[..256].iter().enumerate() {
                    let along = (pixel % 16) as f64 * angle.cos() + (pixel / 16) as f64 * angle.sin();
                    let turn = std::f64::consts::TAU * along / period;
                    sine += (f64::from(*byte) - 127.5) * turn.sin();
                    cosine += (f64::from(*byte) - 127.5) * turn.cos();
                }
                sine.hypot(cosine)
            });
            gratings.collect()
        };
        let edges = nearest_mean(&data, responses);
        assert!(edges > 0.8, "the response to gratings is right for {edges}");
    }
}
