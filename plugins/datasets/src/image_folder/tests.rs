use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageFormat, Rgb, RgbImage};
use pleach_sdk::{
    conformance::{self, Surroundings},
    serde_json,
};

use super::*;

const SIZE: u32 = 8;
const BYTES: usize = 3 * (SIZE * SIZE) as usize;

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("memory can be written");
    bytes.into_inner()
}

fn plain(colour: [u8; 3], width: u32, height: u32) -> DynamicImage {
    DynamicImage::ImageRgb8(RgbImage::from_pixel(width, height, Rgb(colour)))
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("folders can be made");
    fs::write(path, bytes).expect("the file can be written");
}

/// Two classes, of red and of blue images of different sizes, three to learn from and one each to
/// be judged by.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (class, colour) in [("blue", [0, 0, 250]), ("red", [250, 0, 0])] {
        for (number, (width, height)) in [(10, 20), (33, 9), (8, 8)].into_iter().enumerate() {
            let bytes = encoded(&plain(colour, width, height), ImageFormat::Png);
            write(folder.path(), &format!("train/{class}/{number}.png"), &bytes);
        }
        let bytes = encoded(&plain(colour, 50, 40), ImageFormat::Jpeg);
        write(folder.path(), &format!("val/{class}/0.JPEG"), &bytes);
    }
    folder
}

fn config(root: &Path) -> ImageFolderConfig {
    ImageFolderConfig { root: root.to_owned(), size: SIZE, threads: 2, ..ImageFolder::example() }
}

fn open(root: &Path) -> Result<ImageFolder> {
    ImageFolder::build(config(root), &Context::default())
}

fn fetch(data: &ImageFolder, split: Split, indices: &[u64]) -> Result<(Vec<u8>, Vec<u32>)> {
    let (mut images, mut labels) = (vec![0; data.info().image_bytes() * indices.len()], vec![0; indices.len()]);
    data.fetch(split, indices, &mut images, &mut labels)?;
    Ok((images, labels))
}

/// Whether all pixels of an image have nearly this colour.
fn is_plain(image: &[u8], colour: [u8; 3]) -> bool {
    let channels = image.chunks(image.len() / 3).zip(colour);
    channels.into_iter().all(|(values, expected)| values.iter().all(|value| value.abs_diff(expected) <= 4))
}

#[test]
fn images_of_any_size_come_out_in_one_with_the_label_of_their_folder() {
    let folder = folder();
    let data = open(folder.path()).expect("the folders are whole");
    assert_eq!((data.info().train, data.info().test), (6, 2));
    assert_eq!(data.info().classes, ["blue", "red"]);
    let (images, labels) = fetch(&data, Split::Train, &[0, 1, 2, 3, 4, 5, 0]).expect("they can be read");
    assert_eq!(labels, [0, 0, 0, 1, 1, 1, 0]);
    for (image, label) in images.chunks(BYTES).zip(labels) {
        assert!(is_plain(image, [[0, 0, 250], [250, 0, 0]][label as usize]), "{image:?}");
    }
    let (images, labels) = fetch(&data, Split::Test, &[1]).expect("they can be read");
    assert!(labels == [1] && is_plain(&images, [250, 0, 0]));
}

#[test]
fn views_are_different_parts_and_the_same_view_is_the_same_image() {
    let folder = folder();
    let gradient = RgbImage::from_fn(64, 64, |x, y| Rgb([(4 * x) as u8, (4 * y) as u8, 0]));
    let bytes = encoded(&DynamicImage::ImageRgb8(gradient), ImageFormat::Png);
    write(folder.path(), "train/blue/0.png", &bytes);
    let data = open(folder.path()).expect("the folders are whole");
    let view = |number: u64| fetch(&data, Split::Train, &[data.info().view(0, number)]).expect("it can be read").0;
    let means: Vec<f64> = (1..40)
        .map(|number| view(number)[..BYTES / 3].iter().map(|byte| f64::from(*byte)).sum::<f64>() / 64.0)
        .collect();
    assert_eq!(view(7), view(7));
    assert_eq!(fetch(&data, Split::Train, &[data.info().view(0, 7)]).expect("it can be read").1, [0]);
    let least = means.iter().copied().fold(f64::MAX, f64::min);
    let most = means.iter().copied().fold(f64::MIN, f64::max);
    assert!(most - least > 60.0, "the parts hardly differ: {least} to {most}");
    // The image as it is judged is its middle: of 64 pixels the middle 51 of 64 by 10/8.
    let judged = view(0);
    assert!(judged[0] > 10 && judged[0] < 60 && judged[7] > 195 && judged[7] < 245, "{:?}", &judged[..8]);
    assert!(fetch(&data, Split::Train, &[data.info().view(0, VIEWS)]).is_ok());
    assert!(fetch(&data, Split::Train, &[data.info().view(0, VIEWS + 1)]).is_err());
    assert!(fetch(&data, Split::Test, &[2]).is_err(), "test images have no views");
}

#[test]
fn grey_cmyk_palette_and_deep_images_become_rgb() {
    let folder = folder();
    let check = |name: &str, bytes: &[u8], colour: [u8; 3]| {
        write(folder.path(), "train/blue/0.png", bytes);
        let data = open(folder.path()).expect("the folders are whole");
        let (image, _) = fetch(&data, Split::Train, &[0]).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(is_plain(&image, colour), "{name}: {:?}", [image[0], image[64], image[128]]);
    };
    let grey = DynamicImage::ImageLuma8(GrayImage::from_pixel(9, 9, image::Luma([77])));
    check("grey PNG", &encoded(&grey, ImageFormat::Png), [77; 3]);
    check("grey JPEG", &encoded(&grey, ImageFormat::Jpeg), [77; 3]);
    check("deep PNG", &encoded(&plain([10, 200, 30], 9, 9).to_rgb16().into(), ImageFormat::Png), [10, 200, 30]);
    check("PNG with alpha", &encoded(&plain([1, 2, 3], 9, 9).to_rgba8().into(), ImageFormat::Png), [1, 2, 3]);
    let mut cmyk = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut cmyk, 100);
    // Cyan and half of black.
    let ink: Vec<u8> = [255, 0, 0, 128].repeat(16 * 16);
    encoder.encode(&ink, 16, 16, jpeg_encoder::ColorType::Cmyk).expect("memory can be written");
    check("CMYK JPEG", &cmyk, [0, 127, 127]);
}

/// An animation of two frames.
fn animation() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 2);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_animated(2, 0).expect("two frames are allowed");
    let mut writer = encoder.write_header().expect("memory can be written");
    for _ in 0..2 {
        writer.write_image_data(&[9; 12]).expect("memory can be written");
    }
    writer.finish().expect("memory can be written");
    bytes
}

/// A file of a few bytes that says it has 135 million million pixels.
fn enormous() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 16_777_215, 8_388_607);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().expect("memory can be written");
    writer.write_chunk(png::chunk::IDAT, &[0x78, 0x9c]).expect("memory can be written");
    drop(writer);
    bytes
}

#[test]
fn files_that_cannot_be_read_are_named_and_counted() {
    let whole = encoded(&plain([0, 0, 250], 30, 30), ImageFormat::Png);
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("cut off", whole[..whole.len() / 2].to_vec(), ""),
        ("no image", b"<html>404</html>".to_vec(), "it is no image that is known"),
        ("empty", Vec::new(), "it is no image that is known"),
        ("animation", animation(), "it is an animation"),
        ("enormous", enormous(), "it has 16777215 x 8388607 pixels in 422212389568515 bytes, 805306368 are allowed"),
        ("GIF", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;".to_vec(), "it is Gif, not JPEG or PNG"),
    ];
    for (name, bytes, expected) in cases {
        let folder = folder();
        write(folder.path(), "train/blue/1.png", &bytes);
        let error = fetch(&open(folder.path()).expect("files are not opened yet"), Split::Train, &[0, 1]);
        let error = error.expect_err(name);
        let is_named = error.message.contains("train/blue/1.png cannot be read") && error.message.contains(expected);
        assert!(is_named, "{name}: {error}");
        assert!(error.message.contains("unreadable_at_most is 0"), "{name}: {error}");
        // With a limit that allows it another image of the class stands in, and is counted once.
        let config = ImageFolderConfig { unreadable_at_most: 1, ..config(folder.path()) };
        let data = ImageFolder::build(config, &Context::default()).expect("files are not opened yet");
        for _ in 0..3 {
            let (image, labels) = fetch(&data, Split::Train, &[1]).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(labels == [0] && is_plain(&image, [0, 0, 250]), "{name}");
        }
        write(folder.path(), "train/red/2.png", &bytes);
        let error = fetch(&data, Split::Train, &[5]).expect_err(name);
        assert!(error.message.contains("unreadable file 2, and unreadable_at_most is 1"), "{error}");
    }
}

#[test]
fn a_class_without_a_readable_image_ends_the_run() {
    let folder = folder();
    for number in 0..3 {
        write(folder.path(), &format!("train/red/{number}.png"), b"damage");
    }
    let config = ImageFolderConfig { unreadable_at_most: 100, ..config(folder.path()) };
    let data = ImageFolder::build(config, &Context::default()).expect("files are not opened yet");
    let error = fetch(&data, Split::Train, &[4]).expect_err("nothing can stand in");
    assert!(error.message.contains("no image of the class folder") && error.message.contains("red"), "{error}");
}

#[test]
fn folders_that_are_no_data_set_are_refused() {
    let check = |change: fn(&Path), place: &str, expected: &str| {
        let folder = folder();
        change(folder.path());
        let error = open(folder.path()).err().expect(expected);
        assert_eq!(error.place.as_deref(), Some(place), "{error}");
        assert!(error.message.contains(expected), "{error}");
    };
    check(|root| fs::remove_dir_all(root).expect("it is there"), "/root", "there is no folder");
    check(|root| fs::remove_dir_all(root.join("val")).expect("it is there"), "/test", "there is no folder");
    check(|root| fs::remove_dir_all(root.join("train/red")).expect("it is there"), "/train", "holds one class, `blue`");
    check(|root| fs::remove_dir_all(root.join("val/red")).expect("it is there"), "/test", "there is no folder");
    check(|root| write(root, "train/green/notes.txt", b"later"), "/train", "green holds no image");
    check(
        |root| {
            let _ = fs::remove_file(root.join("val/red/0.JPEG"));
        },
        "/test",
        "red holds no image",
    );
    check(|root| write(root, "val/green/0.png", b""), "/test", "no training images");
    check(
        |root| {
            for class in ["red", "blue"] {
                fs::remove_dir_all(root.join("train").join(class)).expect("it is there");
            }
        },
        "/train",
        "holds no folder",
    );
    let folder = folder();
    let wrong = |change: fn(&mut ImageFolderConfig), place: &str| {
        let mut config = config(folder.path());
        change(&mut config);
        let error = ImageFolder::build(config, &Context::default()).err().expect("it is not sound");
        assert_eq!(error.place.as_deref(), Some(place), "{error}");
    };
    wrong(|config| config.view_area = [0.5, 1.5], "/view_area");
    wrong(|config| config.view_ratio = [2.0, 1.0], "/view_ratio");
    wrong(|config| config.resize = Some(7), "/resize");
}

/// A folder of the data that tests may use; `None`, said loudly, where it is not there.
fn test_data(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("PLEACH_TEST_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let path = folder.join(name);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED: {} is not there; set PLEACH_TEST_DATA to its folder", path.display());
    None
}

#[test]
fn tiny_imagenet_is_read() {
    let Some(root) = test_data("tiny-imagenet") else { return };
    let config = ImageFolderConfig { size: 32, ..config(&root) };
    let data = ImageFolder::build(config, &Context::default()).expect("the folders are whole");
    assert_eq!((data.info().classes.len(), data.info().train, data.info().test), (20, 2000, 500));
    let indices: Vec<u64> = (0..2000).step_by(50).collect();
    let (images, labels) = fetch(&data, Split::Train, &indices).expect("every file is an image");
    assert!(indices.iter().zip(labels).all(|(index, label)| u64::from(label) == index / 100));
    assert!(images.chunks(3 * 32 * 32).all(|image| image.iter().max() > image.iter().min()));
}

#[test]
fn photographs_are_read_in_parallel_as_one_by_one() {
    let Some(photographs) = test_data("imagenet-sample") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let names = entries(&photographs).expect("the folder can be read");
    for (number, path) in names.iter().take(8).enumerate() {
        let class = if number % 2 == 0 { "even" } else { "odd" };
        let bytes = fs::read(path).expect("it is there");
        write(folder.path(), &format!("train/{class}/{number}.JPEG"), &bytes);
        write(folder.path(), &format!("val/{class}/{number}.JPEG"), &bytes);
    }
    let config = ImageFolderConfig { size: 64, ..config(folder.path()) };
    let data = ImageFolder::build(config, &Context::default()).expect("the folders are whole");
    let indices: Vec<u64> = (0..8).map(|index| data.info().view(index, index % 3)).collect();
    let (together, _) = fetch(&data, Split::Train, &indices).expect("every file is an image");
    for (index, image) in indices.iter().zip(together.chunks(data.info().image_bytes())) {
        assert_eq!(fetch(&data, Split::Train, &[*index]).expect("it can be read").0, image);
    }
}

#[test]
fn the_promises_of_a_data_set_are_kept() {
    let folder = folder();
    let given = serde_json::to_value(config(folder.path())).expect("a configuration is JSON");
    conformance::dataset::<ImageFolder>(&Surroundings { config: Some(given), ..Surroundings::default() }).assert();
}
