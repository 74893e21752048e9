//! A data set that is drawn: stripes that run across or down, with noise.

use pleach_sdk::{
    BuildDataset, Component, Context, Dataset, DatasetInfo, Error, Result, Seed, Shape, Split,
    config, export_plugin, rand::Rng,
};

config! {
    /// Images of stripes, of two classes.
    pub struct StripesConfig {
        /// Rows and columns.
        #[schemars(range(min = 2, max = 1024))]
        pub size: u32 = 16,
        /// Training images.
        #[schemars(range(min = 1))]
        pub train: u64 = 1000,
        /// Test images.
        pub test: u64 = 200,
        /// The noise that is added to each pixel at most.
        #[schemars(range(max = 100))]
        pub noise: u8 = 60,
    }
}

/// Images of stripes.
pub struct Stripes {
    info: DatasetInfo,
    noise: u8,
}

impl Component for Stripes {
    type Config = StripesConfig;
    const NAME: &'static str = "stripes";
    const SUMMARY: &'static str = "images of stripes, drawn with noise";

    fn example() -> StripesConfig {
        StripesConfig::default()
    }
}

impl BuildDataset for Stripes {
    fn build(config: StripesConfig, _: &Context) -> Result<Self> {
        let info = DatasetInfo {
            name: "stripes".to_owned(),
            shape: Shape {
                channels: 3,
                height: config.size,
                width: config.size,
            },
            classes: vec!["across".to_owned(), "down".to_owned()],
            train: config.train,
            test: config.test,
            views: false,
        };
        Ok(Stripes {
            info,
            noise: config.noise,
        })
    }
}

impl Stripes {
    fn draw(&self, split: Split, index: u64, image: &mut [u8]) -> u32 {
        let role = if split == Split::Train {
            "train"
        } else {
            "test"
        };
        let mut generator = Seed(1).derive(role, index).generator();
        let class = generator.random_range(0..2);
        let width = self.info.shape.width as usize;
        for (pixel, value) in image.iter_mut().enumerate() {
            let (row, column) = (pixel / width, pixel % width);
            let place = if class == 0 { row } else { column };
            *value = 50 + 100 * (place / 2 % 2) as u8 + generator.random_range(0..=self.noise);
        }
        class
    }
}

impl Dataset for Stripes {
    fn info(&self) -> &DatasetInfo {
        &self.info
    }

    fn fetch(
        &self,
        split: Split,
        indices: &[u64],
        images: &mut [u8],
        labels: &mut [u32],
    ) -> Result<()> {
        let bytes = self.info.image_bytes();
        if images.len() != indices.len() * bytes || labels.len() != indices.len() {
            return Err(Error::failed("the buffers do not fit the indices"));
        }
        for ((index, image), label) in indices.iter().zip(images.chunks_mut(bytes)).zip(labels) {
            if *index >= self.info.len(split) {
                return Err(Error::failed(format!("there is no image {index}")));
            }
            *label = self.draw(split, *index, image);
        }
        Ok(())
    }
}

export_plugin! {
    name: "{{name}}",
    summary: "images of stripes",
    datasets: [Stripes],
}

#[cfg(test)]
mod tests {
    use pleach_sdk::conformance;

    use super::*;

    #[test]
    fn keeps_the_promises_of_a_data_set() {
        conformance::dataset::<Stripes>(&Default::default()).assert();
    }

    #[test]
    fn stripes_run_across_or_down() {
        let config = StripesConfig {
            noise: 0,
            ..StripesConfig::default()
        };
        let dataset = Stripes::build(config, &Context::default()).expect("it is built");
        let mut image = vec![0; dataset.info.image_bytes()];
        for index in 0..20 {
            let class = dataset.draw(Split::Train, index, &mut image);
            let (right, below) = (image[2], image[2 * 16]);
            assert_eq!(
                (image[0] == right, image[0] == below),
                (class == 0, class == 1)
            );
        }
    }
}
