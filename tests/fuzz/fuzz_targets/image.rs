//! A file in an image folder: decoded, cropped and resized.
#![no_main]

use std::{fs, path::PathBuf, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use pleach_datasets::{ImageFolder, ImageFolderConfig};
use pleach_sdk::{BuildDataset, Component, Context, Dataset, Split};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = PathBuf::from(format!("/dev/shm/pleach-fuzz-image-{}", std::process::id()));
    for split in ["train", "val"] {
        for class in ["a", "b"] {
            let place = folder.join(split).join(class);
            fs::create_dir_all(&place).expect("it can be made");
            fs::write(place.join("1.png"), include_bytes!("../seeds/image/grey.png")).expect("it can be written");
        }
    }
    folder
});

fuzz_target!(|bytes: &[u8]| {
    fs::write(FOLDER.join("train/a/1.png"), bytes).expect("it can be written");
    let config = ImageFolderConfig { root: FOLDER.clone(), size: 16, ..ImageFolder::example() };
    let dataset = ImageFolder::build(config, &Context::default()).expect("the folders are there");
    let (mut image, mut label) = (vec![0; dataset.info().image_bytes()], [0]);
    for view in [0, dataset.info().train] {
        let _ = dataset.fetch(Split::Train, &[view], &mut image, &mut label);
    }
});
