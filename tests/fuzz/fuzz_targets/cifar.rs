//! Files of CIFAR-10: records of any bytes, and a file of any length.
#![no_main]

use std::{fs, path::PathBuf, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use pleach_datasets::{Cifar10, Cifar10Config};
use pleach_sdk::{BuildDataset, Context, Dataset, Split};

const RECORD: usize = 3073;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = PathBuf::from(format!("/dev/shm/pleach-fuzz-cifar-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("it can be made");
    for name in ["data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"] {
        fs::write(folder.join(format!("{name}.bin")), vec![1; RECORD]).expect("it can be written");
    }
    folder
});

fuzz_target!(|bytes: &[u8]| {
    // Short inputs are the beginning of a whole record, others are what they are.
    let mut file = bytes.to_vec();
    if bytes.first().is_some_and(|first| first % 2 == 0) {
        file.resize(RECORD, 3);
    }
    fs::write(FOLDER.join("data_batch_1.bin"), &file).expect("it can be written");
    let config = Cifar10Config { root: FOLDER.clone(), records_per_file: 1 };
    let Ok(dataset) = Cifar10::build(config, &Context::default()) else { return };
    let (mut images, mut labels) = (vec![0; 2 * 3072], [0; 2]);
    if dataset.fetch(Split::Train, &[0, 4], &mut images, &mut labels).is_ok() {
        assert!(labels.iter().all(|label| *label < 10));
    }
});
