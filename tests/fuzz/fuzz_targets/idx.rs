//! IDX files: the bytes are those of the training images; the first says whether gzipped.
#![no_main]

use std::{fs, path::PathBuf, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use pleach_datasets::{Idx, IdxConfig};
use pleach_sdk::{BuildDataset, Context, Dataset, Split};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = PathBuf::from(format!("/dev/shm/pleach-fuzz-idx-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("it can be made");
    let images = |count: u8| [vec![0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 2, 0, 0, 0, 2], vec![7; 4 * count as usize]].concat();
    let labels = |count: u8| [vec![0, 0, 8, 1, 0, 0, 0, count], vec![1; count as usize]].concat();
    fs::write(folder.join("train-labels-idx1-ubyte"), labels(2)).expect("it can be written");
    fs::write(folder.join("t10k-images-idx3-ubyte"), images(1)).expect("it can be written");
    fs::write(folder.join("t10k-labels-idx1-ubyte"), labels(1)).expect("it can be written");
    folder
});

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let (plain, zipped) = ("train-images-idx3-ubyte", "train-images-idx3-ubyte.gz");
    let (name, other) = if first % 2 == 0 { (plain, zipped) } else { (zipped, plain) };
    let _ = fs::remove_file(FOLDER.join(other));
    fs::write(FOLDER.join(name), bytes).expect("it can be written");
    let config = IdxConfig { root: FOLDER.clone(), classes: vec!["a".to_owned(), "b".to_owned()] };
    let Ok(dataset) = Idx::build(config, &Context::default()) else { return };
    let size = dataset.info().image_bytes();
    if size < 1 << 20 {
        let (mut images, mut labels) = (vec![0; 2 * size], [0; 2]);
        let _ = dataset.fetch(Split::Train, &[0, 1], &mut images, &mut labels);
    }
});
