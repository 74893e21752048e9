//! Where to compute: from a word in a run file to a device that is there.

use std::path::{Path, PathBuf};

use pleach_sdk::{Error, Result, tracing};
use tch::{Device, TchError, Tensor};

use crate::{allocator, kernels, torch};

/// The device of a run file's word, with threads and allocator set where it is the CPU.
pub(crate) fn prepare(text: &str, threads: u32, keep_pages: bool, autotune: bool) -> Result<Device> {
    let device = parse(text)?;
    if device == Device::Cpu {
        if keep_pages {
            allocator::keep_pages();
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        tch::set_num_threads(if threads == 0 { cores as i32 } else { threads as i32 });
    } else {
        tch::Cuda::cudnn_set_benchmark(autotune);
        // libtorch's default for convolutions; linear layers are no different.
        kernels::allow_tf32(true).map_err(torch("preparing CUDA"))?;
        prepare_kernels(device);
    }
    Ok(device)
}

/// Makes kernels of our own ready where they can be.
fn prepare_kernels(device: Device) {
    let Device::Cuda(index) = device else { return };
    let Some(library) = beside_libtorch("libcaffe2_nvrtc.so") else { return };
    if let Err(error) = kernels::prepare_cuda(index, &library) {
        tracing::warn!("no kernels of our own on cuda:{index}, libtorch's are slower: {error}");
    }
}

/// What a device is called, as far as the system says it.
pub(crate) fn name(device: Device) -> String {
    let field = |path: &Path, key: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.split_once(':'))?.1.trim().to_owned();
        (!value.is_empty()).then_some(value)
    };
    match device {
        Device::Cuda(index) => {
            // In the order of bus numbers, which is CUDA's own where the machine has one kind of GPU.
            let folders = std::fs::read_dir("/proc/driver/nvidia/gpus").into_iter().flatten().flatten();
            let mut folders: Vec<_> = folders.map(|folder| folder.path()).collect();
            folders.sort();
            let name = folders.get(index).and_then(|folder| field(&folder.join("information"), "Model"));
            name.unwrap_or_else(|| format!("cuda:{index}"))
        }
        _ => field(Path::new("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
    }
}

/// How many bytes of images may stay on a device, of the MiB that a run file gives it. Memory of
/// the CPU is where the data set is anyway.
pub(crate) fn room(device: Device, mebibytes: u32) -> u64 {
    match device {
        Device::Cuda(_) => u64::from(mebibytes) << 20,
        _ => 0,
    }
}

/// The same values on a device. It does not wait for what the device does: CUDA has copied the
/// values of pageable memory to a place of its own when it returns.
pub(crate) fn upload(tensor: &Tensor, device: Device) -> std::result::Result<Tensor, TchError> {
    tensor.f_to_device_(device, tensor.kind(), true, false)
}

/// Waits for what was started on a device.
pub(crate) fn synchronise(device: Device) {
    if let Device::Cuda(index) = device {
        tch::Cuda::synchronize(index as i64);
    }
}

/// The device of a run file's word.
fn parse(text: &str) -> Result<Device> {
    let wrong = || {
        Error::config(format!("unknown device `{text}`; known: cpu, cuda, cuda:N (such as cuda:0), auto")).at("/device")
    };
    match text {
        "cpu" => Ok(Device::Cpu),
        "auto" => {
            let device = if cuda_devices() > 0 { Device::Cuda(0) } else { Device::Cpu };
            tracing::info!("device auto: {device:?}");
            Ok(device)
        }
        "cuda" => cuda(text, 0),
        other => {
            let number = other.strip_prefix("cuda:").and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
            cuda(text, number)
        }
    }
}

fn cuda(text: &str, number: usize) -> Result<Device> {
    let devices = cuda_devices();
    if number < devices {
        return Ok(Device::Cuda(number));
    }
    let found = match devices {
        0 => "there is no CUDA device that this libtorch can use".to_owned(),
        1 => "there is one CUDA device, cuda:0".to_owned(),
        more => format!("there are {more} CUDA devices, cuda:0 to cuda:{}", more - 1),
    };
    let way = "write device: cpu or device: auto; `bash examples/setup/libtorch.sh --cuda` gets a libtorch with CUDA";
    Err(Error::config(format!("`{text}` was asked for, but {found}; {way}")).at("/device"))
}

/// How many CUDA devices there are, with libtorch's CUDA library opened first.
fn cuda_devices() -> usize {
    open_cuda_library();
    usize::try_from(tch::Cuda::device_count()).unwrap_or(0)
}

/// The path of a library in the folder of the `libtorch_cpu.so` that this process uses.
fn beside_libtorch(name: &str) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let used = maps
        .lines()
        .find_map(|line| line.find('/').map(|start| &line[start..]).filter(|path| path.ends_with("/libtorch_cpu.so")));
    used.map(|path| Path::new(path).with_file_name(name))
}

/// Opens `libtorch_cuda.so` beside the `libtorch_cpu.so` that this process uses.
///
/// rustc links with `--as-needed`, which drops libtorch_cuda, for nothing names a symbol of it;
/// and one CUDA query before it is there leaves CUDA off for the whole process.
fn open_cuda_library() {
    #[cfg(target_os = "linux")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            let Some(library) = beside_libtorch("libtorch_cuda.so") else { return };
            if !library.is_file() {
                tracing::debug!("this libtorch has no CUDA: {} is not there", library.display());
                return;
            }
            let Ok(path) = std::ffi::CString::new(library.as_os_str().as_encoded_bytes()) else { return };
            // SAFETY: the path ends with a zero byte; the library belongs to the libtorch in use.
            let opened = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
            if opened.is_null() {
                // SAFETY: after a failed `dlopen` this is null or a text of the C library.
                let reason = unsafe {
                    let text = libc::dlerror();
                    if text.is_null() {
                        None
                    } else {
                        Some(std::ffi::CStr::from_ptr(text).to_string_lossy().into_owned())
                    }
                };
                tracing::warn!("failed to open {}: {}", library.display(), reason.unwrap_or_default());
            }
        });
    }
}
