//! `ranked.json` in the folder of each search: what it came to. A ranking that was interrupted goes
//! on from those that are there.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::RankedSearch;
use crate::{
    assemble::Assembly,
    compare::difference,
    config::Config,
    error::{Error, Result},
    run::{self, RunDirectory, failed},
};

const FILE: &str = "ranked.json";

/// What a search came to and what it was made of.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Done {
    made_of: Value,
    pub(super) objective: String,
    pub(super) search: RankedSearch,
}

/// All that a search of a ranking depends on. `first` is the variant whose networks it ranks too.
pub(super) fn made_of(config: &Config, assembly: &Assembly, first: Option<&str>) -> Value {
    let mut config = json!(config);
    if let Some(rank) = config.get_mut("rank") {
        rank["seeds"] = Value::Null;
        rank["variants"] = Value::Null;
    }
    let plugins = run::plugins_record(&assembly.registry);
    let hashes: Vec<_> = plugins.iter().map(|plugin| json!([plugin["name"], plugin["sha256"]])).collect();
    json!({ "config": config, "plugins": hashes, "of_first": first })
}

/// What a search came to before, if it ended. One that did not is begun again.
///
/// # Errors
///
/// A search that was made of something else, and what the file system says.
pub(super) fn find(folder: &Path, made_of: &Value) -> Result<Option<Done>> {
    let path = folder.join(FILE);
    if !path.is_file() {
        if folder.join(run::RECORD).is_file() {
            fs::remove_dir_all(folder).map_err(|error| failed(folder, "remove", &error))?;
        }
        return Ok(None);
    }
    let text = fs::read(&path).map_err(|error| failed(&path, "read", &error))?;
    let done: Done = serde_json::from_slice(&text).map_err(|error| Error::RunDirectory {
        path: path.clone(),
        message: format!("{FILE} is damaged: {error}; remove the folder to search once more"),
    })?;
    match difference(&done.made_of, made_of, "") {
        None => Ok(Some(done)),
        Some(changed) => Err(Error::unusable(
            format!("{} was ranked before, and something has changed: {changed}", folder.display()),
            "give another --dir",
        )),
    }
}

/// Keeps what a search came to.
///
/// # Errors
///
/// What the file system says.
pub(super) fn keep(folder: &mut RunDirectory, made_of: Value, objective: &str, search: &RankedSearch) -> Result<()> {
    folder.write_json(FILE, &Done { made_of, objective: objective.to_owned(), search: search.clone() })
}
