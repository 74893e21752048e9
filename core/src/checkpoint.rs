//! Checkpoints: folders that are whole or do not count.
//!
//! A checkpoint is filled beside its place, given a manifest with the SHA-256 of every file,
//! synced, and renamed into its place. An old one goes only after a new one is there for good.
//! What is in the files is not known here.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    error::{Error, Result},
    plugins::hexadecimal,
    run::{failed, sync_folder, write_document, write_synced},
};

/// How many checkpoints are kept.
const KEPT: usize = 2;

/// The number of the format of manifests.
const MANIFEST_FORMAT: u32 = 1;

const MANIFEST: &str = "manifest.json";

/// The manifest's own SHA-256, as `sha256sum --check` reads it.
const SEAL: &str = "manifest.sha256";

/// Where a checkpoint that could not be read is put, for a person to look at.
const DAMAGED: &str = "damaged";

/// How much of a journal was written when a checkpoint was.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalMark {
    /// Its length.
    pub bytes: u64,
    /// Events in it.
    pub events: u64,
    /// Seconds that had been worked on the run, whatever the number of processes.
    pub at_seconds: f64,
}

/// A checkpoint that is whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Its folder.
    pub path: PathBuf,
    /// The steps that were done before it.
    pub step: u64,
    /// The journal then.
    pub journal: JournalMark,
}

/// A checkpoint that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// What there is to go on from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// The last checkpoint that is whole.
    pub checkpoint: Option<Checkpoint>,
    /// Later ones that are not, the latest first.
    pub damaged: Vec<Damaged>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    step: u64,
    journal: JournalMark,
    /// By path below the checkpoint, with `/` between folders.
    files: BTreeMap<String, Contents>,
}

/// What a file must hold.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    bytes: u64,
    sha256: String,
}

/// Writes a checkpoint: `fill` puts files into an empty folder, which then takes its place in
/// `folder`. Older checkpoints go, but for the last before this one.
///
/// # Errors
///
/// What `fill` or the file system says; the checkpoints that were there stay as they were.
pub(crate) fn write(
    folder: &Path,
    step: u64,
    journal: JournalMark,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let partial = folder.join("partial");
    remove(&partial)?;
    fs::create_dir(&partial).map_err(|error| unwritten(&partial, &error))?;
    if let Err(error) = complete(&partial, step, journal, fill) {
        let error = name_the_cause(error, &partial);
        // What takes up room on a full disk goes; that it could not is said by the next write.
        drop(fs::remove_dir_all(&partial));
        return Err(error);
    }
    let done = free_place(folder, step);
    fs::rename(&partial, &done).map_err(|error| unwritten(&done, &error))?;
    sync_folder(folder)?;
    let all = list(folder)?;
    all[..all.len().saturating_sub(KEPT)].iter().try_for_each(|old| remove(old))
}

fn complete(partial: &Path, step: u64, journal: JournalMark, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    fill(partial)?;
    let mut files = BTreeMap::new();
    seal(partial, "", &mut files)?;
    let path = partial.join(MANIFEST);
    write_document(&path, &Manifest { format: MANIFEST_FORMAT, step, journal, files })?;
    let manifest = contents(&path).map_err(|error| failed(&path, "read", &error))?;
    write_synced(&partial.join(SEAL), seal_of(&manifest).as_bytes())?;
    sync_folder(partial)
}

fn seal_of(manifest: &Contents) -> String {
    format!("{}  {MANIFEST}\n", manifest.sha256)
}

/// Syncs everything below a folder and notes what is in each file.
fn seal(folder: &Path, name: &str, files: &mut BTreeMap<String, Contents>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, "read", &error))? {
        let path = entry.map_err(|error| failed(folder, "read", &error))?.path();
        let Some(own) = path.file_name().and_then(|own| own.to_str()) else {
            return Err(failed(&path, "write", &"its name is no text"));
        };
        let name = if name.is_empty() { own.to_owned() } else { format!("{name}/{own}") };
        if path.is_dir() {
            seal(&path, &name, files)?;
            sync_folder(&path)?;
        } else {
            let synced = contents(&path).and_then(|contents| File::open(&path)?.sync_all().map(|()| contents));
            files.insert(name, synced.map_err(|error| failed(&path, "sync", &error))?);
        }
    }
    Ok(())
}

fn contents(path: &Path) -> std::io::Result<Contents> {
    let mut hash = Sha256::new();
    let bytes = std::io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(Contents { bytes, sha256: hexadecimal(&hash.finalize()) })
}

/// A component that could not save its state says so in its own words; if nobody can write here,
/// the run directory is what is wrong.
fn name_the_cause(error: Error, partial: &Path) -> Error {
    let Error::Component { error, .. } = &error else { return error };
    let probe = partial.join("probe");
    let written = File::create(&probe).and_then(|mut file| {
        file.write_all(&[0; 1 << 16])?;
        file.sync_all()
    });
    match written {
        Ok(()) => Error::Component { error: error.clone(), folder: None },
        Err(cause) => unwritten(partial, &format!("{cause} ({error})")),
    }
}

fn unwritten(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::RunDirectory {
        path: path.to_owned(),
        message: format!("failed to write a checkpoint: {error}; what was saved before is as it was"),
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(folder, "remove", &error)),
        _ => Ok(()),
    }
}

/// `step-00000012`, or if that is taken `step-00000012-2`: nothing that is there is replaced.
fn free_place(folder: &Path, step: u64) -> PathBuf {
    let first = folder.join(format!("step-{step:08}"));
    let others = (2_u64..).map(|number| folder.join(format!("step-{step:08}-{number}")));
    std::iter::once(first).chain(others).find(|path| !path.exists()).expect("numbers do not end")
}

/// Step and number of a checkpoint's folder.
fn place(path: &Path) -> Option<(u64, u64)> {
    let name = path.file_name()?.to_str()?.strip_prefix("step-")?;
    match name.split_once('-') {
        None => Some((name.parse().ok()?, 1)),
        Some((step, number)) => Some((step.parse().ok()?, number.parse().ok()?)),
    }
}

/// The checkpoints of a folder, oldest first, whole or not.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|error| failed(folder, "read", &error))?;
    let mut found: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| place(path).is_some()).collect();
    found.sort_by_key(|path| place(path));
    Ok(found)
}

/// The last checkpoint that is whole and whose journal is there, `journal_bytes` long by now.
pub(crate) fn last_whole(folder: &Path, journal_bytes: u64) -> Result<Found> {
    let mut found = Found::default();
    for path in list(folder)?.into_iter().rev() {
        match check(&path, journal_bytes) {
            Ok(checkpoint) => {
                found.checkpoint = Some(checkpoint);
                break;
            }
            Err(why) => found.damaged.push(Damaged { path, why }),
        }
    }
    Ok(found)
}

/// Reads every byte of a checkpoint and holds it against the manifest.
pub(crate) fn check(path: &Path, journal_bytes: u64) -> std::result::Result<Checkpoint, String> {
    let seal = fs::read_to_string(path.join(SEAL)).map_err(|error| format!("{SEAL}: {error}"))?;
    let sealed = contents(&path.join(MANIFEST)).map_err(|error| format!("{MANIFEST}: {error}"))?;
    if seal != seal_of(&sealed) {
        return Err(format!("{MANIFEST} is not what was written"));
    }
    let text = fs::read_to_string(path.join(MANIFEST)).map_err(|error| format!("{MANIFEST}: {error}"))?;
    let manifest: Manifest = serde_json::from_str(&text).map_err(|error| format!("{MANIFEST}: {error}"))?;
    let Manifest { format, step, journal, files } = manifest;
    if format != MANIFEST_FORMAT {
        return Err(format!("{MANIFEST} is of format {format}, this pleach knows {MANIFEST_FORMAT}"));
    }
    if place(path).is_none_or(|(named, _)| named != step) {
        return Err(format!("{MANIFEST} is of step {step}"));
    }
    for (name, expected) in &files {
        let found = contents(&path.join(name)).map_err(|error| format!("{name}: {error}"))?;
        if found != *expected {
            let (bytes, wanted) = (found.bytes, expected.bytes);
            let size = if bytes == wanted { String::new() } else { format!(": it has {bytes} bytes of {wanted}") };
            return Err(format!("{name} is not what was written{size}"));
        }
    }
    if journal.bytes > journal_bytes {
        return Err(format!("the journal ends at byte {journal_bytes}, before byte {}", journal.bytes));
    }
    Ok(Checkpoint { path: path.to_owned(), step, journal })
}

/// Takes away checkpoints that are damaged; the latest stays to be looked at.
pub(crate) fn put_aside(folder: &Path, damaged: &[Damaged]) -> Result<()> {
    for (index, one) in damaged.iter().enumerate() {
        if index > 0 {
            remove(&one.path)?;
            continue;
        }
        let aside = folder.join(DAMAGED);
        remove(&aside)?;
        fs::rename(&one.path, &aside).map_err(|error| failed(&one.path, "move", &error))?;
    }
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(bytes: u64) -> JournalMark {
        JournalMark { bytes, events: 1, at_seconds: 0.5 }
    }

    fn written(folder: &Path, step: u64, text: &str) {
        let fill = |path: &Path| {
            let below = crate::run::folder_in(path, "below")?;
            fs::write(below.join("state"), text).expect("it can be written");
            fs::write(path.join("host"), [step as u8]).expect("it can be written");
            Ok(())
        };
        write(folder, step, mark(step), fill).expect("a checkpoint can be written");
    }

    fn names(folder: &Path) -> Vec<String> {
        let name = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        list(folder).expect("the folder can be read").iter().map(name).collect()
    }

    fn last(folder: &Path) -> Found {
        last_whole(folder, 1_000_000).expect("the folder can be read")
    }

    #[test]
    fn the_last_two_are_kept_and_none_is_replaced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (step, text) in [(1, "a"), (9, "b"), (10, "c"), (10, "d")] {
            written(folder.path(), step, text);
        }
        assert_eq!(names(folder.path()), ["step-00000010", "step-00000010-2"]);
        let found = last(folder.path());
        assert!(found.damaged.is_empty());
        let checkpoint = found.checkpoint.expect("there is one");
        assert_eq!((checkpoint.step, checkpoint.journal), (10, mark(10)));
        assert_eq!(fs::read_to_string(checkpoint.path.join("below/state")).expect("it is there"), "d");
    }

    #[test]
    fn any_flipped_bit_and_any_missing_byte_is_found() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        written(folder.path(), 1, "first");
        written(folder.path(), 2, "second");
        let files = ["below/state", "host", MANIFEST, SEAL].map(|name| folder.path().join("step-00000002").join(name));
        for file in &files {
            let whole = fs::read(file).expect("it is there");
            for index in 0..whole.len() {
                let (mut bytes, bit) = (whole.clone(), index % 8);
                bytes[index] ^= 1 << bit;
                fs::write(file, &bytes).expect("it can be written");
                let found = last(folder.path());
                assert_eq!(found.damaged.len(), 1, "byte {index} bit {bit} of {file:?}");
                assert_eq!(found.checkpoint.map(|checkpoint| checkpoint.step), Some(1));
            }
            fs::write(file, &whole).expect("it can be written");
            fs::write(file, &whole[..whole.len() - 1]).expect("it can be written");
            assert_eq!(last(folder.path()).damaged.len(), 1);
            fs::write(file, &whole).expect("it can be written");
        }
        assert_eq!(last(folder.path()).checkpoint.map(|checkpoint| checkpoint.step), Some(2));
    }

    #[test]
    fn a_journal_that_is_shorter_than_a_checkpoint_remembers_does_not_belong_to_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        written(folder.path(), 100, "a");
        written(folder.path(), 200, "b");
        let found = last_whole(folder.path(), 150).expect("the folder can be read");
        assert_eq!(found.checkpoint.map(|checkpoint| checkpoint.step), Some(100));
        assert!(found.damaged[0].why.contains("the journal ends at byte 150"), "{:?}", found.damaged);
        put_aside(folder.path(), &found.damaged).expect("it can be moved");
        assert_eq!(names(folder.path()), ["step-00000100"]);
        assert!(folder.path().join(DAMAGED).is_dir());
    }

    #[test]
    fn a_fill_that_fails_leaves_what_was_there() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        written(folder.path(), 1, "a");
        let failing = |_: &Path| Err(Error::from(pleach_sdk::Error::failed("out of paper")));
        let error = write(folder.path(), 2, mark(0), failing).expect_err("it fails");
        assert_eq!(error.exit_code(), 3);
        assert_eq!(names(folder.path()), ["step-00000001"]);
        assert!(!folder.path().join("partial").exists());
    }
}
