//! Images: which are trained on and which are held out, and how a batch becomes a tensor.

use std::sync::Arc;

use pleach_sdk::{
    Dataset, Error, Result, Seed, Split,
    rand::{Rng, seq::SliceRandom},
};
use tch::{Device, Kind, TchError, Tensor};

use crate::{
    config::{Augmentation, Config},
    torch,
};

/// The mean and deviation of pixels are taken from at most so many training images.
const STATISTICS_IMAGES: usize = 10_000;

/// Which images of the training split are used for what. The test split is never touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    /// To train with.
    pub(crate) training: Vec<u64>,
    /// To measure candidates with: never trained on.
    pub(crate) evaluation: Vec<u64>,
    /// To take batch-norm statistics from: the first of `training`.
    pub(crate) recalibration: Vec<u64>,
}

impl Parts {
    /// Shuffles the training split by the seed and cuts it.
    pub(crate) fn new(config: &Config, images: u64, seed: Seed) -> Result<Self> {
        let too_many = |field: &str, asked: u64, there: u64| {
            Error::config(format!("{field} asks for {asked} images, there are {there}")).at(format!("/{field}"))
        };
        if config.held_out >= images {
            return Err(too_many("held_out", config.held_out, images));
        }
        let left = images - config.held_out;
        if config.train_images > left {
            return Err(too_many("train_images", config.train_images, left));
        }
        if config.evaluate_images > config.held_out {
            return Err(too_many("evaluate_images", config.evaluate_images, config.held_out));
        }
        let mut order: Vec<u64> = (0..images).collect();
        order.shuffle(&mut seed.generator());
        let rest = order.split_off(config.held_out as usize);
        let take = |from: &[u64], count: u64| match count {
            0 => from.to_vec(),
            count => from[..(count as usize).min(from.len())].to_vec(),
        };
        let training = take(&rest, config.train_images);
        if training.len() < config.batch as usize {
            return Err(Error::config(format!(
                "a batch of {} is more than the {} training images",
                config.batch,
                training.len()
            ))
            .at("/batch"));
        }
        let recalibration = take(&training, config.batch_norm.recalibration_images);
        Ok(Parts { evaluation: take(&order, config.evaluate_images), recalibration, training })
    }
}

/// Makes batches of a data set's training split.
pub(crate) struct Images {
    dataset: Arc<dyn Dataset>,
    device: Device,
    /// Mean and deviation of each channel, of shape (1, channels, 1, 1), in bytes.
    normalisation: (Tensor, Tensor),
}

/// Images of shape (images, channels, rows, columns), normalised, channels-last, and labels.
pub(crate) struct LabelledBatch {
    pub(crate) images: Tensor,
    pub(crate) labels: Tensor,
}

impl Images {
    /// Takes the mean and deviation of pixels from training images.
    pub(crate) fn new(dataset: Arc<dyn Dataset>, training: &[u64], device: Device) -> Result<Self> {
        let sample = &training[..training.len().min(STATISTICS_IMAGES)];
        let (bytes, _) = fetch(dataset.as_ref(), sample)?;
        let normalisation = statistics(&bytes).map_err(torch("measuring pixels"))?;
        let (mean, deviation) = normalisation;
        let place = |tensor: Tensor| tensor.f_to_device(device).map_err(torch("moving statistics of pixels"));
        Ok(Images { dataset, device, normalisation: (place(mean)?, place(deviation)?) })
    }

    /// Images as they are.
    pub(crate) fn plain(&self, indices: &[u64]) -> Result<LabelledBatch> {
        self.batch(indices, |bytes| bytes.f_permute([0, 2, 3, 1])?.f_contiguous(), Ok)
    }

    /// Images cropped, mirrored and cut out at random.
    pub(crate) fn augmented(&self, indices: &[u64], augmentation: &Augmentation, seed: Seed) -> Result<LabelledBatch> {
        let mut generator = seed.generator();
        let shape = self.dataset.info().shape;
        let (height, width) = (i64::from(shape.height), i64::from(shape.width));
        let count = indices.len();
        let margin = i64::from(augmentation.crop);
        let mut draw = |limit: i64| -> Vec<i64> { (0..count).map(|_| generator.random_range(0..=limit)).collect() };
        let (tops, lefts) = (draw(2 * margin), draw(2 * margin));
        let flips = draw(i64::from(augmentation.flip));
        let (rows, columns) = (draw(height - 1), draw(width - 1));
        let window = |bytes: &Tensor| {
            let padded = bytes.f_constant_pad_nd([margin, margin, margin, margin])?;
            self.windows(&padded, [&tops, &lefts, &flips], height, width)
        };
        let cut = |images: Tensor| match augmentation.cutout {
            0 => Ok(images),
            side => self.cut_out(&images, [&rows, &columns], i64::from(side), height, width),
        };
        self.batch(indices, window, cut)
    }

    fn batch(
        &self,
        indices: &[u64],
        to_channels_last: impl FnOnce(&Tensor) -> std::result::Result<Tensor, TchError>,
        finish: impl FnOnce(Tensor) -> std::result::Result<Tensor, TchError>,
    ) -> Result<LabelledBatch> {
        let (bytes, labels) = fetch(self.dataset.as_ref(), indices)?;
        let make = || {
            let bytes = bytes.f_to_device(self.device)?;
            let images = to_channels_last(&bytes)?.f_permute([0, 3, 1, 2])?.f_to_kind(Kind::Float)?;
            let (mean, deviation) = &self.normalisation;
            let images = finish(images.f_sub(mean)?.f_div(deviation)?)?;
            Ok(LabelledBatch { images, labels: labels.f_to_device(self.device)? })
        };
        make().map_err(torch("making a batch"))
    }

    /// From each padded image its window, as (images, rows, columns, channels).
    fn windows(
        &self,
        padded: &Tensor,
        [tops, lefts, flips]: [&[i64]; 3],
        height: i64,
        width: i64,
    ) -> std::result::Result<Tensor, TchError> {
        let integers = (Kind::Int64, self.device);
        let column = |values: &[i64]| Tensor::f_from_slice(values)?.f_to_device(self.device)?.f_unsqueeze(1);
        let image = Tensor::f_arange(tops.len() as i64, integers)?.f_view([-1, 1, 1])?;
        let rows = Tensor::f_arange(height, integers)?.f_unsqueeze(0)?.f_add(&column(tops)?)?.f_unsqueeze(2)?;
        let forward = Tensor::f_arange(width, integers)?.f_unsqueeze(0)?;
        let backward = forward.f_neg()?.f_add_scalar(width - 1)?;
        let is_flipped = column(flips)?.f_to_kind(Kind::Bool)?;
        let columns = backward.f_where_self(&is_flipped, &forward)?.f_add(&column(lefts)?)?.f_unsqueeze(1)?;
        padded.f_permute([0, 2, 3, 1])?.f_index(&[Some(image), Some(rows), Some(columns)])
    }

    /// Sets a square around a random centre to zero, the mean of normalised pixels.
    fn cut_out(
        &self,
        images: &Tensor,
        [rows, columns]: [&[i64]; 2],
        side: i64,
        height: i64,
        width: i64,
    ) -> std::result::Result<Tensor, TchError> {
        let inside = |centres: &[i64], length: i64| -> std::result::Result<Tensor, TchError> {
            let centres = Tensor::f_from_slice(centres)?.f_to_device(self.device)?.f_unsqueeze(1)?;
            let from_start = Tensor::f_arange(length, (Kind::Int64, self.device))?
                .f_unsqueeze(0)?
                .f_sub(&centres)?
                .f_add_scalar(side / 2)?;
            from_start.f_ge(0)?.f_logical_and(&from_start.f_lt(side)?)
        };
        let square = inside(rows, height)?.f_unsqueeze(2)?.f_logical_and(&inside(columns, width)?.f_unsqueeze(1)?)?;
        images.f_masked_fill(&square.f_unsqueeze(1)?, 0.0)
    }
}

/// Bytes of shape (images, channels, rows, columns), and labels.
fn fetch(dataset: &dyn Dataset, indices: &[u64]) -> Result<(Tensor, Tensor)> {
    let info = dataset.info();
    let mut bytes = vec![0; info.image_bytes() * indices.len()];
    let mut labels = vec![0; indices.len()];
    dataset.fetch(Split::Train, indices, &mut bytes, &mut labels)?;
    if let Some(label) = labels.iter().find(|label| **label as usize >= info.classes.len()) {
        return Err(Error::failed(format!(
            "{} gave the label {label}, it has {} classes",
            info.name,
            info.classes.len()
        )));
    }
    let shape = [indices.len() as i64, info.shape.channels.into(), info.shape.height.into(), info.shape.width.into()];
    let labels: Vec<i64> = labels.into_iter().map(i64::from).collect();
    let make = || Ok((Tensor::f_from_data_size(&bytes, &shape, Kind::Uint8)?, Tensor::f_from_slice(&labels)?));
    make().map_err(torch("taking in images"))
}

/// Mean and deviation of each channel, of shape (1, channels, 1, 1).
fn statistics(bytes: &Tensor) -> std::result::Result<(Tensor, Tensor), TchError> {
    let dimensions = [0i64, 2, 3];
    let values = bytes.f_to_kind(Kind::Float)?;
    let mean = values.f_mean_dim(dimensions.as_slice(), true, None)?;
    let variance = values.f_sub(&mean)?.f_square()?.f_mean_dim(dimensions.as_slice(), true, None)?;
    // A channel that never changes would divide by zero; one byte step is the least that can.
    Ok((mean, variance.f_sqrt()?.f_clamp_min(1.0)?))
}
