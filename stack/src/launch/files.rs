//! Files that are there whole or not at all.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use platform::oauth::Credential;
use tenants::id::ClientId;

use super::LaunchError;

/// What has to fit where a process can go on; SQLite writes less at a time.
const PROBE_BYTES: usize = 128 * 1024;

/// A file that is there is whole.
pub fn write_whole(file: &Path, text: &str) -> io::Result<()> {
    let part = file.with_extension("part");
    fs::write(&part, text)?;
    fs::rename(&part, file)
}

/// Writes what only the owner may read.
pub fn write_secret(file: &Path, text: &str) -> Result<(), LaunchError> {
    let mut options = fs::OpenOptions::new();
    let open = options.write(true).create(true).truncate(true).mode(0o600).open(file);
    open.and_then(|mut open| open.write_all(text.as_bytes()))
        .map_err(|error| LaunchError::Folder { path: file.to_owned(), error })
}

/// The credential in a file that only the owner may read; one is made for this client if there is none.
pub fn credential(file: &Path, new: impl FnOnce() -> ClientId) -> Result<Credential, LaunchError> {
    let unreadable = |error| LaunchError::Folder { path: file.to_owned(), error };
    if !file.try_exists().map_err(unreadable)? {
        let made = Credential::make(new())?;
        keep_credential(file, &made)?;
        return Ok(made);
    }
    let text = fs::read_to_string(file).map_err(unreadable)?;
    Credential::read(&text).map_err(|error| LaunchError::Credential { file: file.to_owned(), error })
}

/// Keeps a credential in a file that only the owner may read, which is there whole or not at all.
pub fn keep_credential(file: &Path, credential: &Credential) -> Result<(), LaunchError> {
    let written = |error| LaunchError::Folder { path: file.to_owned(), error };
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(written)?;
    }
    let part = file.with_extension("part");
    write_secret(&part, &credential.written())?;
    fs::rename(&part, file).map_err(written)
}

/// Finds out whether a folder takes more than a page or two, by trying.
pub fn check_writable(folder: &Path) -> Result<(), LaunchError> {
    let file = folder.join("probe");
    let written = fs::write(&file, [0; PROBE_BYTES]);
    let removed = fs::remove_file(&file);
    written.and(removed).map_err(|error| LaunchError::Folder { path: folder.to_owned(), error })
}
