//! The data set `datasets/image-folder`: JPEG and PNG files of any size, a folder for each class,
//! as ImageNet is usually laid out.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use pleach_sdk::{
    BuildDataset, Component, Context, Dataset, DatasetInfo, Error, Result, Seed, Shape, Split, VIEWS,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
    tracing,
};
use rayon::prelude::*;

use crate::{cifar::check_folder, decode, request};

/// Where images are and what is made of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "pleach_sdk::serde", deny_unknown_fields)]
#[schemars(crate = "pleach_sdk::schemars")]
pub struct ImageFolderConfig {
    /// The folder that holds `train` and `test`, each with a folder of images for each class.
    pub root: PathBuf,
    /// The folder below `root` of the images that networks learn from.
    #[serde(default = "train")]
    pub train: String,
    /// The folder below `root` of the images that a finished network is judged by.
    #[serde(default = "val")]
    pub test: String,
    /// Height and width in pixels of the images that come out.
    #[serde(default = "default_size")]
    #[schemars(range(min = 1, max = 4096))]
    pub size: u32,
    /// The shorter side in pixels to which an image that is judged is resized before its middle
    /// is cut out; without it 8/7 of `size`, such as 256 for 224.
    #[serde(default)]
    #[schemars(range(min = 1, max = 8192))]
    pub resize: Option<u32>,
    /// Shares of an image's area that a random view of a training image has, least and most.
    #[serde(default = "default_area")]
    pub view_area: [f64; 2],
    /// Width by height of a random view before it is made square, least and most.
    #[serde(default = "default_ratio")]
    pub view_ratio: [f64; 2],
    /// How many files may be unreadable before a run ends. For each of them the next image of the
    /// same class stands in, and a warning names it.
    #[serde(default)]
    pub unreadable_at_most: u64,
    /// Threads that decode; 0 for one a core.
    #[serde(default)]
    #[schemars(range(max = 1024))]
    pub threads: usize,
}

fn train() -> String {
    "train".to_owned()
}

fn val() -> String {
    "val".to_owned()
}

fn default_size() -> u32 {
    224
}

fn default_area() -> [f64; 2] {
    [0.08, 1.0]
}

fn default_ratio() -> [f64; 2] {
    [3.0 / 4.0, 4.0 / 3.0]
}

/// What counts as an image, by the end of its name.
const ENDINGS: [&str; 3] = ["jpeg", "jpg", "png"];

/// Images in folders. They are decoded when they are asked for, several at a time, and not kept,
/// so a data set may be larger than memory.
pub struct ImageFolder {
    config: ImageFolderConfig,
    resize: u32,
    info: DatasetInfo,
    train: Files,
    test: Files,
    threads: rayon::ThreadPool,
    /// Files that could not be read.
    unreadable: Mutex<BTreeSet<PathBuf>>,
}

/// The files of a split, class by class.
struct Files {
    /// Folders, by class.
    folders: Vec<PathBuf>,
    /// Names of files in them, and the class.
    files: Vec<(u32, Box<str>)>,
}

impl Component for ImageFolder {
    type Config = ImageFolderConfig;
    const NAME: &'static str = "image-folder";
    const SUMMARY: &'static str = "JPEG and PNG files in a folder for each class, as ImageNet has them";
    const NEEDS: &'static str = "a folder of images";

    fn example() -> ImageFolderConfig {
        ImageFolderConfig {
            root: PathBuf::from("data/imagenet"),
            train: train(),
            test: val(),
            size: default_size(),
            resize: None,
            view_area: default_area(),
            view_ratio: default_ratio(),
            unreadable_at_most: 0,
            threads: 0,
        }
    }
}

impl BuildDataset for ImageFolder {
    fn build(config: ImageFolderConfig, _: &Context) -> Result<Self> {
        check_folder(&config.root).map_err(|message| Error::config(message).at("/root"))?;
        let sound = |range: [f64; 2]| range[0] > 0.0 && range[0] <= range[1] && range[1].is_finite();
        if !sound(config.view_area) || config.view_area[1] > 1.0 {
            return Err(
                Error::config("view_area wants two shares above 0 and at most 1, the smaller first").at("/view_area")
            );
        }
        if !sound(config.view_ratio) {
            return Err(Error::config("view_ratio wants two ratios above 0, the smaller first").at("/view_ratio"));
        }
        let resize = config.resize.unwrap_or((u64::from(config.size) * 8).div_ceil(7) as u32);
        if resize < config.size {
            return Err(Error::config(format!(
                "resize is {resize} pixels, which is less than the {} to cut out of them",
                config.size
            ))
            .at("/resize"));
        }
        let classes =
            class_folders(&config.root.join(&config.train)).map_err(|message| Error::config(message).at("/train"))?;
        if classes.len() < 2 {
            return Err(Error::config(format!(
                "{} holds one class, `{}`: there is nothing to tell apart",
                config.root.join(&config.train).display(),
                classes.first().map_or("", String::as_str)
            ))
            .at("/train"));
        }
        let train = Files::list(&config.root.join(&config.train), &classes)
            .map_err(|message| Error::config(message).at("/train"))?;
        let of_test = config.root.join(&config.test);
        let test_classes = class_folders(&of_test).map_err(|message| Error::config(message).at("/test"))?;
        if let Some(unknown) = test_classes.iter().find(|class| !classes.contains(class)) {
            let message = format!(
                "{} is a class of which there are no training images; they would all be judged wrong",
                of_test.join(unknown).display()
            );
            return Err(Error::config(message).at("/test"));
        }
        let test = Files::list(&of_test, &classes).map_err(|message| Error::config(message).at("/test"))?;
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(config.threads)
            .thread_name(|number| format!("decode-{number}"))
            .build()
            .map_err(|error| Error::failed(format!("failed to start threads that decode: {error}")))?;
        let info = DatasetInfo {
            name: config.root.file_name().map_or("images".to_owned(), |name| name.to_string_lossy().into_owned()),
            shape: Shape { channels: 3, height: config.size, width: config.size },
            classes,
            train: train.files.len() as u64,
            test: test.files.len() as u64,
            views: true,
        };
        Ok(ImageFolder { resize, info, train, test, threads, unreadable: Mutex::default(), config })
    }
}

/// The folders in a folder, sorted by name.
fn class_folders(root: &Path) -> std::result::Result<Vec<String>, String> {
    check_folder(root)?;
    let mut classes = Vec::new();
    for entry in entries(root)? {
        if entry.is_dir() {
            classes.push(name_of(&entry));
        }
    }
    classes.sort();
    if classes.is_empty() {
        return Err(format!("{} holds no folder: it wants one for each class", root.display()));
    }
    Ok(classes)
}

fn entries(folder: &Path) -> std::result::Result<Vec<PathBuf>, String> {
    let unreadable = |error: std::io::Error| format!("failed to read {}: {error}", folder.display());
    let listed: std::io::Result<Vec<PathBuf>> =
        fs::read_dir(folder).map_err(unreadable)?.map(|entry| entry.map(|entry| entry.path())).collect();
    Ok(listed.map_err(unreadable)?.into_iter().filter(|path| !name_of(path).starts_with('.')).collect())
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned())
}

impl Files {
    fn list(root: &Path, classes: &[String]) -> std::result::Result<Self, String> {
        let folders: Vec<PathBuf> = classes.iter().map(|class| root.join(class)).collect();
        let mut files = Vec::new();
        for (class, folder) in folders.iter().enumerate() {
            check_folder(folder)?;
            let (mut images, mut others) = (Vec::new(), 0);
            for path in entries(folder)? {
                let ending = path.extension().map_or(String::new(), |ending| ending.to_string_lossy().to_lowercase());
                if ENDINGS.contains(&ending.as_str()) {
                    images.push(name_of(&path));
                } else {
                    others += 1;
                }
            }
            if others > 0 {
                tracing::warn!("{} holds {others} entries that are no .jpg, .jpeg or .png", folder.display());
            }
            if images.is_empty() {
                return Err(format!("the class folder {} holds no image", folder.display()));
            }
            images.sort();
            files.extend(images.into_iter().map(|name| (class as u32, name.into_boxed_str())));
        }
        Ok(Files { folders, files })
    }

    fn path(&self, index: usize) -> PathBuf {
        let (class, name) = &self.files[index];
        self.folders[*class as usize].join(&**name)
    }

    /// The next image of the same class, around its end to its beginning.
    fn next_of_class(&self, index: usize) -> usize {
        let class = self.files[index].0;
        match self.files.get(index + 1) {
            Some((next, _)) if *next == class => index + 1,
            _ => self.files.partition_point(|(other, _)| *other < class),
        }
    }
}

impl Dataset for ImageFolder {
    fn info(&self) -> &DatasetInfo {
        &self.info
    }

    fn fetch(&self, split: Split, indices: &[u64], images: &mut [u8], labels: &mut [u32]) -> Result<()> {
        request::check(&self.info, split, indices, images, labels)?;
        let files = match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        };
        let count = files.files.len() as u64;
        let image_bytes = self.info.image_bytes();
        self.threads.install(|| {
            images.par_chunks_exact_mut(image_bytes).zip(labels).zip(indices).try_for_each(|((image, label), index)| {
                let (file, view) = ((index % count) as usize, index / count);
                *label = files.files[file].0;
                self.image(files, file, view, image)
            })
        })
    }
}

impl ImageFolder {
    /// Writes a view of an image, or of the next readable one of its class.
    fn image(&self, files: &Files, index: usize, view: u64, target: &mut [u8]) -> Result<()> {
        let mut here = index;
        loop {
            let path = files.path(here);
            match self.read(&path, here as u64, view, target) {
                Ok(()) => return Ok(()),
                Err(reason) => self.note_unreadable(&path, &reason)?,
            }
            here = files.next_of_class(here);
            if here == index {
                return Err(Error::failed(format!(
                    "no image of the class folder {} can be read",
                    files.folders[files.files[index].0 as usize].display()
                )));
            }
        }
    }

    fn read(&self, path: &Path, index: u64, view: u64, target: &mut [u8]) -> std::result::Result<(), String> {
        let bytes = fs::read(path).map_err(|error| error.to_string())?;
        let image = decode::decode(&bytes)?;
        let part = if view == 0 {
            decode::centre(&image, self.resize, self.config.size)
        } else {
            let seed = Seed(index * (VIEWS + 1) + view).derive("view", 0);
            decode::random_part(&image, self.config.view_area, self.config.view_ratio, &mut seed.generator())
        };
        decode::resize(&image, part, self.config.size, target)
    }

    /// Counts a file that cannot be read, once.
    fn note_unreadable(&self, path: &Path, reason: &str) -> Result<()> {
        let limit = self.config.unreadable_at_most;
        let mut files = self.unreadable.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_new = files.insert(path.to_owned());
        let count = files.len() as u64;
        if count > limit {
            return Err(Error::failed(format!(
                "{} cannot be read: {reason}; that is unreadable file {count}, and unreadable_at_most is {limit}",
                path.display()
            )));
        }
        if is_new {
            tracing::warn!("{} cannot be read: {reason}; another image of its class stands in", path.display());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
