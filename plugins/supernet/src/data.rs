//! Images: how a batch of a data set becomes a tensor.

use std::{
    sync::{Arc, mpsc::sync_channel},
    thread,
};

use pleach_sdk::{
    Dataset, DatasetInfo, Error, Result, Seed, Split,
    rand::Rng,
    serde::{Deserialize, Serialize},
};
use tch::{Device, Kind, TchError, Tensor};

use crate::{config::Augmentation, device::upload, torch};

/// The mean and deviation of pixels are taken from at most so many training images.
const STATISTICS_IMAGES: usize = 10_000;

/// How many images move to the device at a time when all of them stay there.
const RESIDENT_CHUNK: usize = 5_000;

/// How many batches are fetched before they are asked for.
const BATCHES_AHEAD: usize = 3;

/// Images and their labels, as the data set gives them.
pub(crate) enum Raw {
    /// Bytes, image by image.
    Fetched { bytes: Vec<u8>, labels: Vec<i64> },
    /// Indices of images that the device has.
    Resident(Vec<u64>),
}

/// All training images, kept on the device.
struct Resident {
    /// Bytes, of shape (images, channels, rows, columns).
    pixels: Tensor,
    labels: Tensor,
}

/// Makes batches of a data set.
pub(crate) struct Images {
    dataset: Arc<dyn Dataset>,
    device: Device,
    statistics: PixelStatistics,
    /// The same, of shape (1, channels, 1, 1).
    normalisation: (Tensor, Tensor),
    resident: Option<Resident>,
}

/// Mean and deviation of each channel's pixels over training images, in bytes from 0 to 255.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(crate = "pleach_sdk::serde")]
pub(crate) struct PixelStatistics {
    pub(crate) mean: Vec<f64>,
    pub(crate) deviation: Vec<f64>,
}

/// Images of shape (images, channels, rows, columns), normalised, channels-last, and labels.
pub(crate) struct LabelledBatch {
    pub(crate) images: Tensor,
    pub(crate) labels: Tensor,
}

impl LabelledBatch {
    /// How many images it has.
    pub(crate) fn count(&self) -> u64 {
        self.labels.size()[0].unsigned_abs()
    }
}

impl Images {
    /// Normalises by the mean and deviation of pixels of training images, or by what is known of
    /// them from before. The training split stays on the device if it takes at most `resident`
    /// bytes there.
    pub(crate) fn new(
        dataset: Arc<dyn Dataset>,
        training: &[u64],
        device: Device,
        resident: u64,
        known: Option<&PixelStatistics>,
    ) -> Result<Self> {
        let statistics = match known {
            Some(known) if known.mean.len() == dataset.info().shape.channels as usize => known.clone(),
            _ => PixelStatistics::of(dataset.as_ref(), &training[..training.len().min(STATISTICS_IMAGES)])?,
        };
        let place = |values: &[f64]| {
            let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
            Tensor::f_from_slice(&values)?.f_view([1, -1, 1, 1])?.f_to_device(device)
        };
        let make = || Ok((place(&statistics.mean)?, place(&statistics.deviation)?));
        let normalisation = make().map_err(torch("moving statistics of pixels"))?;
        let info = dataset.info();
        let fits = !info.views && info.train.saturating_mul(info.image_bytes() as u64) <= resident;
        let resident = if fits { Some(Resident::of(dataset.as_ref(), device)?) } else { None };
        Ok(Images { dataset, device, statistics, normalisation, resident })
    }

    /// What pixels are normalised by.
    pub(crate) fn statistics(&self) -> &PixelStatistics {
        &self.statistics
    }

    /// Calls `each` with the images of each list of indices, which are fetched ahead in a thread
    /// of their own while `each` works.
    pub(crate) fn ahead(
        &self,
        split: Split,
        lists: impl Iterator<Item = Vec<u64>> + Send,
        mut each: impl FnMut(Raw) -> Result<()>,
    ) -> Result<()> {
        if split == Split::Train && self.resident.is_some() {
            return lists.map(Raw::Resident).try_for_each(each);
        }
        let dataset = self.dataset.as_ref();
        thread::scope(|scope| {
            let (sender, receiver) = sync_channel(BATCHES_AHEAD);
            scope.spawn(move || {
                for indices in lists {
                    let raw = fetch(dataset, split, &indices);
                    let is_last = raw.is_err();
                    // A receiver that is gone wants no more.
                    if sender.send(raw).is_err() || is_last {
                        break;
                    }
                }
            });
            receiver.into_iter().try_for_each(|raw| each(raw?))
        })
    }

    /// What the data set holds.
    pub(crate) fn info(&self) -> &DatasetInfo {
        self.dataset.info()
    }

    /// Fetches training images now.
    pub(crate) fn fetch(&self, indices: &[u64]) -> Result<Raw> {
        match self.resident {
            Some(_) => Ok(Raw::Resident(indices.to_vec())),
            None => fetch(self.dataset.as_ref(), Split::Train, indices),
        }
    }

    /// Images as bytes, of shape (images, channels, rows, columns), and labels; on the CPU.
    pub(crate) fn bytes(&self, split: Split, indices: &[u64]) -> Result<(Tensor, Tensor)> {
        let (bytes, labels) = fetch_bytes(self.dataset.as_ref(), split, indices)?;
        let shape = image_shape(self.info(), labels.len());
        let make = || Ok((Tensor::f_from_data_size(&bytes, &shape, Kind::Uint8)?, Tensor::f_from_slice(&labels)?));
        make().map_err(torch("making a batch"))
    }

    /// Images as they are.
    pub(crate) fn plain(&self, raw: &Raw) -> Result<LabelledBatch> {
        self.batch(raw, |bytes| bytes.f_permute([0, 2, 3, 1])?.f_contiguous(), Ok)
    }

    /// Images cropped, mirrored and cut out at random.
    pub(crate) fn augmented(&self, raw: &Raw, augmentation: &Augmentation, seed: Seed) -> Result<LabelledBatch> {
        let mut generator = seed.generator();
        let shape = self.info().shape;
        let (height, width) = (i64::from(shape.height), i64::from(shape.width));
        let count = raw.count();
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
        self.batch(raw, window, cut)
    }

    fn batch(
        &self,
        raw: &Raw,
        to_channels_last: impl FnOnce(&Tensor) -> std::result::Result<Tensor, TchError>,
        finish: impl FnOnce(Tensor) -> std::result::Result<Tensor, TchError>,
    ) -> Result<LabelledBatch> {
        let make = || {
            let (bytes, labels) = self.on_device(raw)?;
            let images = to_channels_last(&bytes)?.f_permute([0, 3, 1, 2])?.f_to_kind(Kind::Float)?;
            let (mean, deviation) = &self.normalisation;
            let images = finish(images.f_sub(mean)?.f_div(deviation)?)?;
            Ok(LabelledBatch { images, labels })
        };
        make().map_err(torch("making a batch"))
    }

    /// Bytes, of shape (images, channels, rows, columns), and labels.
    fn on_device(&self, raw: &Raw) -> std::result::Result<(Tensor, Tensor), TchError> {
        match (raw, &self.resident) {
            (Raw::Resident(indices), Some(resident)) => {
                let indices: Vec<i64> = indices.iter().map(|index| *index as i64).collect();
                let indices = upload(&Tensor::f_from_slice(&indices)?, self.device)?;
                Ok((resident.pixels.f_index_select(0, &indices)?, resident.labels.f_index_select(0, &indices)?))
            }
            (Raw::Fetched { bytes, labels }, _) => {
                let shape = image_shape(self.info(), labels.len());
                let bytes = Tensor::f_from_data_size(bytes, &shape, Kind::Uint8)?;
                Ok((upload(&bytes, self.device)?, upload(&Tensor::f_from_slice(labels)?, self.device)?))
            }
            (Raw::Resident(_), None) => Err(TchError::Shape("no images are on the device".to_owned())),
        }
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
        let column = |values: &[i64]| upload(&Tensor::f_from_slice(values)?, self.device)?.f_unsqueeze(1);
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
            let centres = upload(&Tensor::f_from_slice(centres)?, self.device)?.f_unsqueeze(1)?;
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

impl Raw {
    fn count(&self) -> usize {
        match self {
            Raw::Fetched { labels, .. } => labels.len(),
            Raw::Resident(indices) => indices.len(),
        }
    }
}

impl Resident {
    fn of(dataset: &dyn Dataset, device: Device) -> Result<Self> {
        let indices: Vec<u64> = (0..dataset.info().train).collect();
        let (mut pixels, mut targets) = (Vec::new(), Vec::new());
        for some in indices.chunks(RESIDENT_CHUNK) {
            let (bytes, labels) = fetch_bytes(dataset, Split::Train, some)?;
            let shape = image_shape(dataset.info(), some.len());
            let place = || {
                let bytes = Tensor::f_from_data_size(&bytes, &shape, Kind::Uint8)?.f_to_device(device)?;
                Ok((bytes, Tensor::f_from_slice(&labels)?.f_to_device(device)?))
            };
            let (bytes, labels) = place().map_err(torch("moving images to the device"))?;
            pixels.push(bytes);
            targets.push(labels);
        }
        let join = || Ok(Resident { pixels: Tensor::f_cat(&pixels, 0)?, labels: Tensor::f_cat(&targets, 0)? });
        join().map_err(torch("moving images to the device"))
    }
}

fn image_shape(info: &DatasetInfo, count: usize) -> [i64; 4] {
    [count as i64, info.shape.channels.into(), info.shape.height.into(), info.shape.width.into()]
}

fn fetch(dataset: &dyn Dataset, split: Split, indices: &[u64]) -> Result<Raw> {
    let (bytes, labels) = fetch_bytes(dataset, split, indices)?;
    Ok(Raw::Fetched { bytes, labels })
}

fn fetch_bytes(dataset: &dyn Dataset, split: Split, indices: &[u64]) -> Result<(Vec<u8>, Vec<i64>)> {
    let info = dataset.info();
    let mut bytes = vec![0; info.image_bytes() * indices.len()];
    let mut labels = vec![0; indices.len()];
    dataset.fetch(split, indices, &mut bytes, &mut labels)?;
    if let Some(label) = labels.iter().find(|label| **label as usize >= info.classes.len()) {
        return Err(Error::failed(format!(
            "{} gave the label {label}, it has {} classes",
            info.name,
            info.classes.len()
        )));
    }
    Ok((bytes, labels.into_iter().map(i64::from).collect()))
}

impl PixelStatistics {
    /// Looks at images, some at a time.
    fn of(dataset: &dyn Dataset, indices: &[u64]) -> Result<Self> {
        let shape = dataset.info().shape;
        let (channels, pixels) = (shape.channels as usize, shape.height as usize * shape.width as usize);
        let mut sums = vec![(0_u64, 0_u64); channels];
        for some in indices.chunks(500) {
            let (bytes, _) = fetch_bytes(dataset, Split::Train, some)?;
            for (number, plane) in bytes.chunks_exact(pixels).enumerate() {
                let (sum, squares) = &mut sums[number % channels];
                for byte in plane {
                    *sum += u64::from(*byte);
                    *squares += u64::from(*byte) * u64::from(*byte);
                }
            }
        }
        let count = (indices.len() * pixels).max(1) as f64;
        let mean: Vec<f64> = sums.iter().map(|(sum, _)| *sum as f64 / count).collect();
        let variance = |((_, squares), mean): (&(u64, u64), &f64)| (*squares as f64 / count - mean * mean).max(0.0);
        // A channel that never changes would divide by zero; one byte step is the least that can.
        let deviation = sums.iter().zip(&mean).map(variance).map(|variance| variance.sqrt().max(1.0)).collect();
        Ok(PixelStatistics { mean, deviation })
    }
}
