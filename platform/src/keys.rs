//! The keys that personal data is sealed with.
//!
//! Promise: what was sealed for one scope and field opens for that scope and field only; any changed bit is noticed.
//! Sealing is AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce under a key that HKDF-SHA-256 (RFC 5869)
//! derives per scope, which keeps each key far below its 2^32 messages. The stored bytes are
//!
//! | bytes | content |
//! |---|---|
//! | 1 | format version, 1 |
//! | 4 | id of the key, big-endian |
//! | 12 | nonce |
//! | n + 16 | ciphertext of the JSON, and tag |
//!
//! and version, key id, scope and field are authenticated with it. The shard is not: an environment may move. A blind
//! index is HMAC-SHA-256 under a key of its own per scope and field.
//!
//! For now there is one development key.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::{hkdf, hmac};
use secrecy::{ExposeSecret, SecretBox};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ctx::Scope;
use crate::random;
use crate::sealed::{BlindIndex, Sealed};

const VERSION: u8 = 1;
const HEADER: usize = 1 + 4;
const KEY_BYTES: usize = 32;

/// Why a value cannot be sealed or opened. Never says what the value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key is not 64 hexadecimal digits.
    #[error("a key is 64 hexadecimal digits")]
    MalformedKey,
    /// The stored bytes are too short or of an unknown version.
    #[error("these bytes were not sealed by this program")]
    UnknownFormat,
    /// The value was sealed with a key that is not here.
    #[error("the value was sealed with key {0}, which is not here")]
    UnknownKey(u32),
    /// The bytes were changed, or belong to another scope or field.
    #[error("the sealed value does not belong here or was changed")]
    Refused,
    /// The content is not of the expected type, or cannot be written as JSON.
    #[error("the sealed value is of another type")]
    WrongType,
}

/// The keys of a cell. Cheap enough to share by reference; never printed.
pub struct Keys {
    id: u32,
    secret: SecretBox<[u8; KEY_BYTES]>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.id)
    }
}

/// The bytes of the development key in the file at `path`, 64 hexadecimal digits; if there is none, makes one that only
/// its owner may read.
fn development_bytes(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(mut file) => {
            file.write_all(hex::encode(random::bytes::<KEY_BYTES>()).as_bytes())?;
            file.sync_all()?;
        }
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
        Err(err) => return Err(err),
    }
    decoded(&fs::read_to_string(path)?).map_err(io::Error::other)
}

fn decoded(hexadecimal: &str) -> Result<[u8; KEY_BYTES], KeyError> {
    let mut bytes = [0; KEY_BYTES];
    hex::decode_to_slice(hexadecimal.trim(), &mut bytes).map_err(|_| KeyError::MalformedKey)?;
    Ok(bytes)
}

impl Keys {
    /// The development key with these 64 hexadecimal digits.
    ///
    /// # Errors
    /// It is not 64 hexadecimal digits.
    pub fn development(hexadecimal: &str) -> Result<Self, KeyError> {
        Ok(Self { id: 1, secret: SecretBox::new(Box::new(decoded(hexadecimal)?)) })
    }

    /// The development key in the file at `path`, 64 hexadecimal digits; if there is none, makes one that only its owner
    /// may read.
    ///
    /// # Errors
    /// The file cannot be read, made, or does not hold a key.
    pub fn development_file(path: &Path) -> io::Result<Self> {
        Ok(Self { id: 1, secret: SecretBox::new(Box::new(development_bytes(path)?)) })
    }

    /// Seals `value` for `field` (such as `party.name`) of `scope`.
    ///
    /// # Errors
    /// `value` cannot be written as JSON.
    pub fn seal<T: Serialize>(&self, scope: &Scope, field: &str, value: &T) -> Result<Sealed<T>, KeyError> {
        let mut content = serde_json::to_vec(value).map_err(|_| KeyError::WrongType)?;
        let nonce = random::bytes::<NONCE_LEN>();
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.id.to_be_bytes());
        let bound = bound(&bytes, scope, field);
        self.sealing_key(scope)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound), &mut content)
            .map_err(|_| KeyError::WrongType)?;
        bytes.extend_from_slice(&nonce);
        bytes.append(&mut content);
        Ok(Sealed::from_bytes(bytes))
    }

    /// Opens what was sealed for `field` of `scope`.
    ///
    /// # Errors
    /// The bytes were changed, belong elsewhere, or hold another type.
    pub fn open<T: DeserializeOwned>(
        &self,
        scope: &Scope,
        field: &str,
        sealed: &Sealed<T>,
    ) -> Result<T, KeyError> {
        let (header, rest) = sealed.bytes().split_at_checked(HEADER).ok_or(KeyError::UnknownFormat)?;
        let (&version, id) = header.split_first().ok_or(KeyError::UnknownFormat)?;
        let (nonce, content) = rest.split_at_checked(NONCE_LEN).ok_or(KeyError::UnknownFormat)?;
        if version != VERSION {
            return Err(KeyError::UnknownFormat);
        }
        let id = u32::from_be_bytes(id.try_into().map_err(|_| KeyError::UnknownFormat)?);
        if id != self.id {
            return Err(KeyError::UnknownKey(id));
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeyError::UnknownFormat)?;
        let mut content = content.to_vec();
        let clear = self
            .sealing_key(scope)?
            .open_in_place(nonce, Aad::from(bound(header, scope, field)), &mut content)
            .map_err(|_| KeyError::Refused)?;
        serde_json::from_slice(clear).map_err(|_| KeyError::WrongType)
    }

    /// The blind index of `text` in `field` of `scope`. Spaces around and between words and the case of letters do not
    /// count; a field with punctuation of its own (a tax number) is normalised by its slice first.
    pub fn blind(&self, scope: &Scope, field: &str, text: &str) -> BlindIndex {
        let normal = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.derive(b"blind", scope, field));
        BlindIndex::from_bytes(hmac::sign(&key, normal.as_bytes()).as_ref().to_vec())
    }

    fn sealing_key(&self, scope: &Scope) -> Result<LessSafeKey, KeyError> {
        let key = UnboundKey::new(&AES_256_GCM, &self.derive(b"seal", scope, ""))
            .map_err(|_| KeyError::MalformedKey)?;
        Ok(LessSafeKey::new(key))
    }

    /// HKDF with purpose, scope and field as its info; the field comes last, so no two infos are the same bytes.
    fn derive(&self, purpose: &[u8], scope: &Scope, field: &str) -> [u8; KEY_BYTES] {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"tambo.keys.1");
        let pseudorandom = salt.extract(self.secret.expose_secret());
        let mut key = [0; KEY_BYTES];
        let info = [purpose, b"\0", scope.id.as_bytes(), field.as_bytes()];
        pseudorandom
            .expand(&info, hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut key))
            .expect("32 bytes is what HKDF-SHA-256 gives");
        key
    }
}

/// What is authenticated with a sealed value.
fn bound(header: &[u8], scope: &Scope, field: &str) -> Vec<u8> {
    [header, scope.id.as_bytes(), field.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn keys(digit: &str) -> Keys {
        Keys::development(&digit.repeat(64)).unwrap()
    }

    fn scope(number: u128) -> Scope {
        Scope::new(1, Uuid::from_u128(number))
    }

    #[test]
    fn what_is_sealed_opens_again_on_any_shard() {
        let sealed = keys("a").seal(&scope(1), "party.name", &"Ana".to_owned()).unwrap();
        let moved = Scope::new(7, scope(1).id);
        assert_eq!(keys("a").open(&moved, "party.name", &sealed), Ok("Ana".to_owned()));
        let again = keys("a").seal(&scope(1), "party.name", &"Ana".to_owned()).unwrap();
        assert_ne!(sealed, again, "one nonce each");
    }

    #[test]
    fn another_scope_field_or_key_is_refused() {
        let sealed = keys("a").seal(&scope(1), "party.name", &1).unwrap();
        assert_eq!(keys("a").open(&scope(2), "party.name", &sealed), Err(KeyError::Refused));
        assert_eq!(keys("a").open(&scope(1), "party.mail", &sealed), Err(KeyError::Refused));
        assert_eq!(keys("b").open(&scope(1), "party.name", &sealed), Err(KeyError::Refused));
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let sealed = keys("a").seal(&scope(1), "party.name", &"Ana".to_owned()).unwrap();
        for position in 0..sealed.bytes().len() * 8 {
            let mut bytes = sealed.bytes().to_vec();
            bytes[position / 8] ^= 1 << (position % 8);
            let changed = Sealed::<String>::from_bytes(bytes);
            assert!(keys("a").open(&scope(1), "party.name", &changed).is_err(), "bit {position}");
        }
        for length in 0..sealed.bytes().len() {
            let cut = Sealed::<String>::from_bytes(sealed.bytes()[..length].to_vec());
            assert!(keys("a").open(&scope(1), "party.name", &cut).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn versions_keys_and_types_are_named() {
        let sealed = keys("a").seal(&scope(1), "f", &"x".to_owned()).unwrap();
        let with = |position: usize, byte: u8| {
            let mut bytes = sealed.bytes().to_vec();
            bytes[position] = byte;
            keys("a").open(&scope(1), "f", &Sealed::<String>::from_bytes(bytes))
        };
        assert_eq!(with(0, 2), Err(KeyError::UnknownFormat));
        assert_eq!(with(4, 9), Err(KeyError::UnknownKey(9)));
        let number = Sealed::<u32>::from_bytes(sealed.bytes().to_vec());
        assert_eq!(keys("a").open(&scope(1), "f", &number), Err(KeyError::WrongType));
    }

    #[test]
    fn a_blind_index_is_equal_for_equal_text_only() {
        let keys_a = keys("a");
        let one = keys_a.blind(&scope(1), "party.name", "  Ana  MARÍA ");
        assert_eq!(one, keys_a.blind(&scope(1), "party.name", "ana maría"));
        assert_ne!(one, keys_a.blind(&scope(1), "party.name", "ana mario"));
        assert_ne!(one, keys_a.blind(&scope(2), "party.name", "ana maría"));
        assert_ne!(one, keys_a.blind(&scope(1), "party.mail", "ana maría"));
        assert_ne!(one, keys("b").blind(&scope(1), "party.name", "ana maría"));
    }

    #[test]
    fn nothing_is_printed() {
        let keys = keys("a");
        let sealed = keys.seal(&scope(1), "f", &"secret").unwrap();
        let blind = keys.blind(&scope(1), "f", "secret");
        let printed = format!("{keys:?} {sealed:?} {blind:?}");
        assert_eq!(printed, format!("Keys(1) Sealed({} bytes) BlindIndex", sealed.bytes().len()));
    }

    #[test]
    fn a_key_file_is_made_once_and_for_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let sealed = Keys::development_file(&path).unwrap().seal(&scope(1), "f", &5).unwrap();
        assert_eq!(Keys::development_file(&path).unwrap().open(&scope(1), "f", &sealed), Ok(5));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "not a key").unwrap();
        assert!(Keys::development_file(&path).is_err());
    }
}
