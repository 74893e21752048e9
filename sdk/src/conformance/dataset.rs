//! The promises of a data set.

use std::sync::Arc;

use super::{
    Check, Stop,
    bench::{Bench, broken, from_threads},
};
use crate::{
    dataset::{Dataset, Split, VIEWS},
    error::{ErrorKind, Result as ComponentResult},
};

/// How many images of a split are looked at.
const IMAGES: u64 = 24;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "says-what-it-has",
        tried: "read its name, shape, classes and counts",
        expected: "a name, images of at least one pixel, a class at least, training images",
        run: says_what_it_has,
    },
    Check {
        name: "same-image-same-bytes",
        tried: "fetch images of both splits twice, and from a second one with the same configuration",
        expected: "the same bytes and labels each time",
        run: same_bytes,
    },
    Check {
        name: "any-order",
        tried: "fetch images in another order, some twice, and one by one",
        expected: "the bytes and labels that they have in order",
        run: any_order,
    },
    Check {
        name: "fills-the-buffers",
        tried: "fetch into buffers that hold something else",
        expected: "every byte and label is written",
        run: fills_the_buffers,
    },
    Check {
        name: "labels-are-classes",
        tried: "read the labels of images of both splits",
        expected: "each is an index into the list of classes",
        run: labels_are_classes,
    },
    Check {
        name: "index-beyond-refused",
        tried: "fetch the image after the last of each split, and the last that a number can name",
        expected: "an error for each",
        run: index_beyond_refused,
    },
    Check {
        name: "wrong-buffers-refused",
        tried: "fetch with buffers that are too short and too long",
        expected: "an error for each",
        run: wrong_buffers_refused,
    },
    Check { name: "empty-batch", tried: "fetch no image", expected: "no error", run: empty_batch },
    Check {
        name: "views-are-kept",
        tried: "fetch the first and the last view of some training images twice",
        expected: "the same bytes each time, with the label of the image",
        run: views_are_kept,
    },
    Check {
        name: "many-threads",
        tried: "fetch images from four threads at once",
        expected: "the bytes and labels that one thread gets",
        run: many_threads,
    },
];

fn build(bench: &Bench<'_>) -> Result<Arc<dyn Dataset>, Stop> {
    Ok(bench.dataset(&bench.config())?)
}

fn splits(dataset: &dyn Dataset) -> Vec<(Split, Vec<u64>)> {
    let indices = |split| (0..dataset.info().len(split).min(IMAGES)).collect::<Vec<_>>();
    let both = [Split::Train, Split::Test].map(|split| (split, indices(split)));
    both.into_iter().filter(|(_, indices)| !indices.is_empty()).collect()
}

type Images = (Vec<u8>, Vec<u32>);

fn fetch(dataset: &dyn Dataset, split: Split, indices: &[u64]) -> ComponentResult<Images> {
    fetch_over(dataset, split, indices, 0)
}

/// Fetches into buffers that hold `before`.
fn fetch_over(dataset: &dyn Dataset, split: Split, indices: &[u64], before: u8) -> ComponentResult<Images> {
    let mut images = vec![before; indices.len() * dataset.info().image_bytes()];
    let mut labels = vec![u32::from(before); indices.len()];
    dataset.fetch(split, indices, &mut images, &mut labels)?;
    Ok((images, labels))
}

fn says_what_it_has(bench: &Bench<'_>) -> Result<(), Stop> {
    let dataset = build(bench)?;
    let info = dataset.info();
    if info.name.is_empty() || info.image_bytes() == 0 || info.classes.is_empty() || info.train == 0 {
        return broken(format!(
            "`{}`, images of {}, {} classes, {} training images",
            info.name,
            info.shape,
            info.classes.len(),
            info.train
        ));
    }
    Ok(())
}

fn same_bytes(bench: &Bench<'_>) -> Result<(), Stop> {
    let (dataset, second) = (build(bench)?, build(bench)?);
    for (split, indices) in splits(dataset.as_ref()) {
        let first = fetch(dataset.as_ref(), split, &indices)?;
        if fetch(dataset.as_ref(), split, &indices)? != first {
            return broken(format!("{split:?}: other bytes or labels the second time"));
        }
        if fetch(second.as_ref(), split, &indices)? != first {
            return broken(format!("{split:?}: other bytes or labels from a second one"));
        }
    }
    Ok(())
}

fn any_order(bench: &Bench<'_>) -> Result<(), Stop> {
    let dataset = build(bench)?;
    let bytes = dataset.info().image_bytes();
    for (split, indices) in splits(dataset.as_ref()) {
        let (images, labels) = fetch(dataset.as_ref(), split, &indices)?;
        let in_order: Vec<(&[u8], u32)> = images.chunks(bytes).zip(labels).collect();
        let mut shuffled: Vec<u64> = indices.iter().rev().copied().collect();
        shuffled.push(0);
        let batches = shuffled.iter().map(|index| vec![*index]).chain([shuffled.clone()]);
        for batch in batches {
            let (images, labels) = fetch(dataset.as_ref(), split, &batch)?;
            for ((index, image), label) in batch.iter().zip(images.chunks(bytes)).zip(labels) {
                if in_order[*index as usize] != (image, label) {
                    return broken(format!("{split:?}: image {index} is another one in the batch {batch:?}"));
                }
            }
        }
    }
    Ok(())
}

fn fills_the_buffers(bench: &Bench<'_>) -> Result<(), Stop> {
    let dataset = build(bench)?;
    for (split, indices) in splits(dataset.as_ref()) {
        let (images, labels) = fetch_over(dataset.as_ref(), split, &indices, 0x55)?;
        let (others, other_labels) = fetch_over(dataset.as_ref(), split, &indices, 0xAA)?;
        let unwritten = images.iter().zip(&others).filter(|(one, other)| one != other).count();
        if unwritten > 0 || labels != other_labels {
            return broken(format!("{split:?}: {unwritten} bytes, or labels, keep what was there before"));
        }
    }
    Ok(())
}

fn labels_are_classes(bench: &Bench<'_>) -> Result<(), Stop> {
    let dataset = build(bench)?;
    let classes = dataset.info().classes.len();
    for (split, indices) in splits(dataset.as_ref()) {
        let (_, labels) = fetch(dataset.as_ref(), split, &indices)?;
        if let Some(label) = labels.iter().find(|label| **label as usize >= classes) {
            return broken(format!("{split:?}: the label {label}, with {classes} classes"));
        }
    }
    Ok(())
}

fn index_beyond_refused(bench: &Bench<'_>) -> Result<(), Stop> {
    let dataset = build(bench)?;
    let info = dataset.info();
    let views = if info.views { VIEWS + 1 } else { 1 };
    let beyond = [(Split::Train, info.train.saturating_mul(views)), (Split::Test, info.test)];
    for (split, index) in beyond.into_iter().chain([(Split::Train, u64::MAX), (Split::Test, u64::MAX)]) {
        match fetch(dataset.as_ref(), split, &[index]) {
            Ok(_) => return broken(format!("{split:?}: an image with index {index}")),
            Err(error) if error.kind == ErrorKind::Panicked => return broken(error.to_string()),
            Err(_) => {}
        }
    }
    Ok(())
}

fn wrong_buffers_refused(bench: &Bench<'_>) -> Result<(), Stop> {
    let dataset = build(bench)?;
    let bytes = dataset.info().image_bytes();
    for (images, labels) in [(bytes - 1, 1), (bytes + 1, 1), (0, 1), (bytes, 0), (bytes, 2)] {
        match dataset.fetch(Split::Train, &[0], &mut vec![0; images], &mut vec![0; labels]) {
            Ok(()) => {
                return broken(format!(
                    "no error for one image of {bytes} bytes, room for {images} and {labels} labels"
                ));
            }
            Err(error) if error.kind == ErrorKind::Panicked => return broken(error.to_string()),
            Err(_) => {}
        }
    }
    Ok(())
}

fn empty_batch(bench: &Bench<'_>) -> Result<(), Stop> {
    let dataset = build(bench)?;
    Ok(fetch(dataset.as_ref(), Split::Train, &[]).map(|_| ())?)
}

fn views_are_kept(bench: &Bench<'_>) -> Result<(), Stop> {
    let dataset = build(bench)?;
    let info = dataset.info();
    if !info.views {
        return Err(Stop::NotTried("it has no views".to_owned()));
    }
    for index in 0..info.train.min(4) {
        let (_, labels) = fetch(dataset.as_ref(), Split::Train, &[index])?;
        for view in [1, VIEWS] {
            let view_index = info.view(index, view);
            let first = fetch(dataset.as_ref(), Split::Train, &[view_index])?;
            if fetch(dataset.as_ref(), Split::Train, &[view_index])? != first {
                return broken(format!("other bytes for view {view} of image {index} the second time"));
            }
            if first.1 != labels {
                return broken(format!("view {view} of image {index} has another label than the image"));
            }
        }
    }
    Ok(())
}

fn many_threads(bench: &Bench<'_>) -> Result<(), Stop> {
    let dataset = build(bench)?;
    for (split, indices) in splits(dataset.as_ref()) {
        let all = || fetch(dataset.as_ref(), split, &indices);
        let expected = all()?;
        if from_threads(all)?.iter().any(|images| *images != expected) {
            return broken(format!("{split:?}: other bytes or labels"));
        }
    }
    Ok(())
}
