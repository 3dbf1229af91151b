//! The root key of a cell or of a control plane: it wraps data keys, and seals nothing else.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use secrecy::{ExposeSecret, SecretBox};
use serde::Deserialize;
use uuid::Uuid;

use super::{KEY_BYTES, KeyError, StartError, derived, short_id};
use crate::random;

/// Of what wraps a data key; the first of its bytes.
const VERSION: u8 = 1;

/// The `[keys]` table of a configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysConfig {
    /// The file of the root key, 64 hexadecimal digits that only its owner may read; made if it is not there and nothing
    /// is wrapped by one yet.
    pub root_file: PathBuf,
    /// Further root keys whose data keys open: the one before a rotation, or the one after it.
    #[serde(default)]
    pub other_root_files: Vec<PathBuf>,
}

/// What a root key is called: a part of a hash of it, which says nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RootId(pub(super) u32);

impl fmt::Display for RootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A root key. Never printed.
pub(super) struct Root {
    id: RootId,
    wrapping: LessSafeKey,
}

impl Root {
    fn new(secret: &[u8; KEY_BYTES]) -> Result<Self, KeyError> {
        let id = RootId(short_id(b"tambo.root.1", secret));
        let key = UnboundKey::new(&AES_256_GCM, &derived(b"tambo.root.1", secret, &[b"wrap"]))
            .map_err(|_| KeyError::Malformed)?;
        Ok(Self { id, wrapping: LessSafeKey::new(key) })
    }

    /// What is authenticated with a wrapped key: whose it is, and by what it is wrapped. Not the shard: an environment
    /// may move.
    fn bound(&self, owner: Uuid) -> Vec<u8> {
        [&[VERSION][..], &self.id.0.to_be_bytes(), owner.as_bytes()].concat()
    }

    fn wrap(&self, owner: Uuid, secret: &SecretBox<[u8; KEY_BYTES]>) -> Result<Vec<u8>, KeyError> {
        let nonce = random::bytes::<NONCE_LEN>();
        let mut content = secret.expose_secret().to_vec();
        self.wrapping
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(self.bound(owner)),
                &mut content,
            )
            .map_err(|_| KeyError::Malformed)?;
        Ok([&[VERSION][..], &nonce, &content].concat())
    }

    fn unwrap(&self, owner: Uuid, wrapped: &[u8]) -> Result<SecretBox<[u8; KEY_BYTES]>, KeyError> {
        let (&version, rest) = wrapped.split_first().ok_or(KeyError::UnknownFormat)?;
        let (nonce, content) = rest.split_at_checked(NONCE_LEN).ok_or(KeyError::UnknownFormat)?;
        if version != VERSION {
            return Err(KeyError::UnknownFormat);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeyError::UnknownFormat)?;
        let mut content = content.to_vec();
        let clear = self
            .wrapping
            .open_in_place(nonce, Aad::from(self.bound(owner)), &mut content)
            .map_err(|_| KeyError::Changed)?;
        let secret = <[u8; KEY_BYTES]>::try_from(&*clear).map_err(|_| KeyError::Changed)?;
        clear.fill(0);
        Ok(SecretBox::new(Box::new(secret)))
    }
}

/// The root keys that are known; the first one wraps what is new.
pub(super) struct Roots(Vec<Root>);

impl Roots {
    /// Those of the configuration; `held` are the ones that data keys are wrapped by already.
    pub(super) fn open(config: &KeysConfig, held: &[RootId]) -> Result<Self, StartError> {
        let mut roots = Vec::new();
        for (number, path) in std::iter::once(&config.root_file).chain(&config.other_root_files).enumerate() {
            let secret = match read(path) {
                Err(StartError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                    if let Some(&root) = held.first() {
                        return Err(StartError::Missing { path: path.clone(), root });
                    }
                    if number > 0 {
                        return Err(StartError::File { path: path.clone(), error });
                    }
                    make(path).map_err(|error| StartError::File { path: path.clone(), error })?;
                    read(path)?
                }
                read => read?,
            };
            roots.push(Root::new(secret.expose_secret()).map_err(|_| StartError::Malformed(path.clone()))?);
        }
        let roots = Self(roots);
        match held.iter().find(|&&held| roots.of(held).is_none()) {
            None => Ok(roots),
            Some(&held) => {
                Err(StartError::Unknown { path: config.root_file.clone(), has: roots.current(), needs: held })
            }
        }
    }

    /// The one that wraps what is new.
    pub(super) fn current(&self) -> RootId {
        self.0.first().map_or(RootId(0), |root| root.id)
    }

    fn of(&self, id: RootId) -> Option<&Root> {
        self.0.iter().find(|root| root.id == id)
    }

    /// Wraps by the first one.
    pub(super) fn wrap(&self, owner: Uuid, secret: &SecretBox<[u8; KEY_BYTES]>) -> Result<Vec<u8>, KeyError> {
        self.0.first().ok_or(KeyError::Malformed)?.wrap(owner, secret)
    }

    /// Opens what `by` has wrapped.
    pub(super) fn unwrap(
        &self,
        owner: Uuid,
        by: RootId,
        wrapped: &[u8],
    ) -> Result<SecretBox<[u8; KEY_BYTES]>, KeyError> {
        self.of(by).ok_or(KeyError::UnknownRoot(by))?.unwrap(owner, wrapped)
    }
}

fn read(path: &Path) -> Result<SecretBox<[u8; KEY_BYTES]>, StartError> {
    let text = fs::read_to_string(path).map_err(|error| StartError::File { path: path.to_owned(), error })?;
    let mut bytes = [0; KEY_BYTES];
    hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| StartError::Malformed(path.to_owned()))?;
    Ok(SecretBox::new(Box::new(bytes)))
}

/// Makes a root key, whole or not at all. Of two who do it at once, one makes it.
fn make(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let new = folder.join(format!(".{:032x}.key", random::bits()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(hex::encode(random::bytes::<KEY_BYTES>()).as_bytes())?;
    file.sync_all()?;
    let made = fs::hard_link(&new, path);
    fs::remove_file(&new)?;
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(digit: u8) -> Root {
        Root::new(&[digit; KEY_BYTES]).unwrap()
    }

    fn secret() -> SecretBox<[u8; KEY_BYTES]> {
        SecretBox::new(Box::new([7; KEY_BYTES]))
    }

    #[test]
    fn a_wrapped_key_opens_for_its_owner_and_by_its_root_only() {
        let (owner, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let wrapped = root(1).wrap(owner, &secret()).unwrap();
        assert_eq!(root(1).unwrap(owner, &wrapped).unwrap().expose_secret(), secret().expose_secret());
        assert_eq!(root(1).unwrap(other, &wrapped).unwrap_err(), KeyError::Changed);
        assert_eq!(root(2).unwrap(owner, &wrapped).unwrap_err(), KeyError::Changed);
        assert!(!wrapped.windows(4).any(|part| part == [7; 4]), "no clear key");
        assert_ne!(wrapped, root(1).wrap(owner, &secret()).unwrap(), "one nonce each");
    }

    #[test]
    fn every_changed_bit_of_a_wrapped_key_is_noticed() {
        let owner = Uuid::from_u128(1);
        let wrapped = root(1).wrap(owner, &secret()).unwrap();
        for position in 0..wrapped.len() * 8 {
            let mut changed = wrapped.clone();
            changed[position / 8] ^= 1 << (position % 8);
            assert!(root(1).unwrap(owner, &changed).is_err(), "bit {position}");
        }
        for length in 0..wrapped.len() {
            assert!(root(1).unwrap(owner, &wrapped[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_file_is_made_once_whole_and_for_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.key");
        let config = KeysConfig { root_file: path.clone(), other_root_files: Vec::new() };
        let first = Roots::open(&config, &[]).unwrap().current();
        assert_eq!(Roots::open(&config, &[first]).unwrap().current(), first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        make(&path).unwrap();
        assert_eq!(Roots::open(&config, &[]).unwrap().current(), first, "one that is there stays");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_root_that_is_missing_wrong_or_no_key_is_named_and_none_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.key");
        let config = KeysConfig { root_file: path.clone(), other_root_files: Vec::new() };
        let missing = Roots::open(&config, &[RootId(0xabcd)]).err().unwrap();
        assert!(matches!(&missing, StartError::Missing { root: RootId(0xabcd), .. }), "{missing}");
        assert!(!path.exists());
        fs::write(&path, "not a key").unwrap();
        assert!(matches!(Roots::open(&config, &[]), Err(StartError::Malformed(_))));
        fs::write(&path, "ab".repeat(KEY_BYTES)).unwrap();
        let wrong = Roots::open(&config, &[RootId(0xabcd)]).err().unwrap();
        assert!(matches!(wrong, StartError::Unknown { needs: RootId(0xabcd), .. }));
        assert!(wrong.to_string().contains("0000abcd"), "{wrong}");
        let gone = KeysConfig { other_root_files: vec![folder.path().join("none.key")], ..config };
        assert!(matches!(Roots::open(&gone, &[]), Err(StartError::File { .. })));
    }
}
