//! The key of one environment.
//!
//! Sealing is AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce under a key that HKDF-SHA-256 (RFC 5869) derives
//! from the data key, which keeps each key far below its 2^32 messages. The stored bytes are
//!
//! | bytes | content |
//! |---|---|
//! | 1 | format version, 2 |
//! | 4 | id of the data key, big-endian |
//! | 12 | nonce |
//! | n + 16 | ciphertext of the JSON, and tag |
//!
//! and version, key id, environment and field are authenticated with it. The shard is not: an environment may move. A
//! blind index is HMAC-SHA-256 under a key of its own per field.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use secrecy::{ExposeSecret, SecretBox};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{KEY_BYTES, KeyError, derived, short_id};
use crate::random;
use crate::sealed::{BlindIndex, Sealed};

/// Version 1 was sealed under a root key itself, which nothing but losing the root would have erased.
const VERSION: u8 = 2;
const HEADER: usize = 1 + 4;
const SALT: &[u8] = b"tambo.keys.2";

/// The data key of one environment, opened. Never printed.
pub struct DataKey {
    id: u32,
    owner: Uuid,
    secret: SecretBox<[u8; KEY_BYTES]>,
    sealing: LessSafeKey,
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({:08x})", self.id)
    }
}

impl DataKey {
    pub(super) fn new(owner: Uuid, secret: SecretBox<[u8; KEY_BYTES]>) -> Result<Self, KeyError> {
        let key = derived(SALT, secret.expose_secret(), &[b"seal"]);
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| KeyError::Malformed)?;
        let id = short_id(SALT, secret.expose_secret());
        Ok(Self { id, owner, secret, sealing: LessSafeKey::new(key) })
    }

    /// A key of these bytes, without a database.
    ///
    /// # Panics
    /// Never: 32 bytes are a key.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn fixed(owner: Uuid, bytes: [u8; 32]) -> Self {
        Self::new(owner, SecretBox::new(Box::new(bytes))).expect("32 bytes are a key")
    }

    /// Seals `value` for `field` (such as `party.name`).
    ///
    /// # Errors
    /// `value` cannot be written as JSON.
    pub fn seal<T: Serialize>(&self, field: &str, value: &T) -> Result<Sealed<T>, KeyError> {
        let mut content = serde_json::to_vec(value).map_err(|_| KeyError::WrongType)?;
        let nonce = random::bytes::<NONCE_LEN>();
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.id.to_be_bytes());
        let bound = self.bound(&bytes, field);
        self.sealing
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound), &mut content)
            .map_err(|_| KeyError::WrongType)?;
        bytes.extend_from_slice(&nonce);
        bytes.append(&mut content);
        Ok(Sealed::from_bytes(bytes))
    }

    /// Opens what was sealed for `field`.
    ///
    /// # Errors
    /// The bytes were changed, belong elsewhere, or hold another type.
    pub fn open<T: DeserializeOwned>(&self, field: &str, sealed: &Sealed<T>) -> Result<T, KeyError> {
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
            .sealing
            .open_in_place(nonce, Aad::from(self.bound(header, field)), &mut content)
            .map_err(|_| KeyError::Refused)?;
        serde_json::from_slice(clear).map_err(|_| KeyError::WrongType)
    }

    /// The blind index of `text` in `field`. Spaces around and between words and the case of letters do not count; a
    /// field with punctuation of its own (a tax number) is normalised by its slice first.
    #[must_use]
    pub fn blind(&self, field: &str, text: &str) -> BlindIndex {
        let normal = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        // The field comes last, so no two infos are the same bytes.
        let key = derived(SALT, self.secret.expose_secret(), &[b"blind\0", field.as_bytes()]);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        BlindIndex::from_bytes(hmac::sign(&key, normal.as_bytes()).as_ref().to_vec())
    }

    /// What is authenticated with a sealed value.
    fn bound(&self, header: &[u8], field: &str) -> Vec<u8> {
        [header, self.owner.as_bytes(), field.as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(owner: u128, byte: u8) -> DataKey {
        DataKey::fixed(Uuid::from_u128(owner), [byte; KEY_BYTES])
    }

    #[test]
    fn what_is_sealed_opens_again() {
        let sealed = key(1, 7).seal("party.name", &"Ana".to_owned()).unwrap();
        assert_eq!(key(1, 7).open("party.name", &sealed), Ok("Ana".to_owned()));
        let again = key(1, 7).seal("party.name", &"Ana".to_owned()).unwrap();
        assert_ne!(sealed, again, "one nonce each");
    }

    #[test]
    fn another_environment_field_or_key_is_refused() {
        let sealed = key(1, 7).seal("party.name", &1).unwrap();
        assert_eq!(key(2, 7).open("party.name", &sealed), Err(KeyError::Refused));
        assert_eq!(key(1, 7).open("party.mail", &sealed), Err(KeyError::Refused));
        assert_eq!(key(1, 8).open("party.name", &sealed), Err(KeyError::UnknownKey(key(1, 7).id)));
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let sealed = key(1, 7).seal("party.name", &"Ana".to_owned()).unwrap();
        for position in 0..sealed.bytes().len() * 8 {
            let mut bytes = sealed.bytes().to_vec();
            bytes[position / 8] ^= 1 << (position % 8);
            let changed = Sealed::<String>::from_bytes(bytes);
            assert!(key(1, 7).open("party.name", &changed).is_err(), "bit {position}");
        }
        for length in 0..sealed.bytes().len() {
            let cut = Sealed::<String>::from_bytes(sealed.bytes()[..length].to_vec());
            assert!(key(1, 7).open("party.name", &cut).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn versions_and_types_are_named() {
        let sealed = key(1, 7).seal("f", &"x".to_owned()).unwrap();
        let mut bytes = sealed.bytes().to_vec();
        bytes[0] = 1;
        let older = Sealed::<String>::from_bytes(bytes);
        assert_eq!(key(1, 7).open("f", &older), Err(KeyError::UnknownFormat));
        let number = Sealed::<u32>::from_bytes(sealed.bytes().to_vec());
        assert_eq!(key(1, 7).open("f", &number), Err(KeyError::WrongType));
    }

    #[test]
    fn a_blind_index_is_equal_for_equal_text_only() {
        let one = key(1, 7).blind("party.name", "  Ana  MARÍA ");
        assert_eq!(one, key(1, 7).blind("party.name", "ana maría"));
        assert_ne!(one, key(1, 7).blind("party.name", "ana mario"));
        assert_ne!(one, key(1, 7).blind("party.mail", "ana maría"));
        assert_ne!(one, key(1, 8).blind("party.name", "ana maría"), "keys are the environment's own");
    }

    #[test]
    fn nothing_is_printed() {
        let key = key(1, 7);
        let sealed = key.seal("f", &"secret").unwrap();
        let blind = key.blind("f", "secret");
        let printed = format!("{key:?} {sealed:?} {blind:?}");
        assert_eq!(
            printed,
            format!("DataKey({:08x}) Sealed({} bytes) BlindIndex", key.id, sealed.bytes().len())
        );
    }
}
