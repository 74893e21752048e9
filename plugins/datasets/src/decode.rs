//! From the bytes of a JPEG or PNG file to an RGB image of the shape that is wanted.

use std::io::Cursor;

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};
use image::{ImageDecoder, ImageFormat, ImageReader, Limits, codecs::png::PngDecoder};
use pleach_sdk::rand::Rng;

/// The most memory that one image may take, in bytes: 256 million pixels of three bytes are more
/// than any photograph, and a small file can claim more.
const MOST_BYTES: u64 = 768 << 20;

/// A decoded image: three bytes a pixel, row by row.
pub(crate) struct Rgb {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) bytes: Vec<u8>,
}

/// A part of an image, in pixels of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Crop {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

/// Decodes a file by its content, whatever its name says. Grey, CMYK, palette and 16-bit images
/// become RGB; transparency is dropped.
///
/// # Errors
///
/// Why it cannot be read, in words.
pub(crate) fn decode(bytes: &[u8]) -> Result<Rgb, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| error.to_string())?;
    match reader.format() {
        Some(ImageFormat::Jpeg) => {}
        Some(ImageFormat::Png) => {
            let decoder = PngDecoder::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
            if decoder.is_apng().map_err(|error| error.to_string())? {
                return Err("it is an animation, not an image".to_owned());
            }
        }
        Some(other) => return Err(format!("it is {other:?}, not JPEG or PNG")),
        None => return Err("it is no image that is known".to_owned()),
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|error| error.to_string())?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(format!("it has {width} x {height} pixels"));
    }
    // What a decoder holds itself to the limit with is its own room, not the image that it gives.
    let needed = decoder.total_bytes().max(u64::from(width) * u64::from(height) * 3);
    if needed > MOST_BYTES {
        return Err(format!("it has {width} x {height} pixels in {needed} bytes, {MOST_BYTES} are allowed"));
    }
    let image = image::DynamicImage::from_decoder(decoder).map_err(|error| error.to_string())?;
    Ok(Rgb { width, height, bytes: image.into_rgb8().into_raw() })
}

/// The middle square of an image that is judged: its shorter side is `resize` pixels, of which
/// `size` are kept.
pub(crate) fn centre(image: &Rgb, resize: u32, size: u32) -> Crop {
    let shorter = f64::from(image.width.min(image.height));
    let side = shorter * f64::from(size) / f64::from(resize);
    Crop {
        left: (f64::from(image.width) - side) / 2.0,
        top: (f64::from(image.height) - side) / 2.0,
        width: side,
        height: side,
    }
}

/// A random part of an image: its share of the area and the ratio of its sides (on a logarithmic
/// scale) are uniform (Szegedy et al. 2015). An image that holds none after ten draws gives its
/// middle, with sides as near to the ratios as it allows.
pub(crate) fn random_part(image: &Rgb, area: [f64; 2], ratio: [f64; 2], generator: &mut impl Rng) -> Crop {
    let (width, height) = (f64::from(image.width), f64::from(image.height));
    for _ in 0..10 {
        let share = width * height * generator.random_range(area[0]..=area[1]);
        let sides = generator.random_range(ratio[0].ln()..=ratio[1].ln()).exp();
        let (part_width, part_height) = ((share * sides).sqrt(), (share / sides).sqrt());
        if part_width <= width && part_height <= height {
            return Crop {
                left: generator.random_range(0.0..=width - part_width),
                top: generator.random_range(0.0..=height - part_height),
                width: part_width,
                height: part_height,
            };
        }
    }
    let sides = (width / height).clamp(ratio[0], ratio[1]);
    let (part_width, part_height) =
        if width / height > sides { (height * sides, height) } else { (width, width / sides) };
    Crop { left: (width - part_width) / 2.0, top: (height - part_height) / 2.0, width: part_width, height: part_height }
}

/// Resizes a part of an image to a square, by a triangle filter that averages where it shrinks,
/// and writes it channel by channel.
pub(crate) fn resize(image: &Rgb, part: Crop, size: u32, target: &mut [u8]) -> Result<(), String> {
    let source =
        ImageRef::new(image.width, image.height, &image.bytes, PixelType::U8x3).map_err(|error| error.to_string())?;
    let mut resized = Image::new(size, size, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).crop(
        part.left,
        part.top,
        part.width,
        part.height,
    );
    Resizer::new().resize(&source, &mut resized, &options).map_err(|error| error.to_string())?;
    let pixels = (size * size) as usize;
    let (red, rest) = target.split_at_mut(pixels);
    let (green, blue) = rest.split_at_mut(pixels);
    for (index, pixel) in resized.buffer().chunks_exact(3).enumerate() {
        (red[index], green[index], blue[index]) = (pixel[0], pixel[1], pixel[2]);
    }
    Ok(())
}
