//! Hashes of what is compared, never of what is secret and guessable.

use ring::digest::{SHA256, digest};

/// SHA-256 (FIPS 180-4) in hexadecimal digits.
#[must_use]
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(digest(&SHA256, bytes.as_ref()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_sha_256() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(super::sha256(""), empty);
    }
}
