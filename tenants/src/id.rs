//! Type-prefixed, time-ordered ids: `acct_01jd4q…`.
//!
//! An id is 128 bits, a UUID version 7 where Tambo makes it (RFC 9562 §5.7), written as its type's prefix, `_` and
//! 26 digits of lower-case Crockford base 32, the text form of the TypeID specification 0.3. Text order is time order.
//! The database stores the 128 bits; the prefix exists on the wire only, so that an account's id can never be taken
//! for a transfer's.

use chrono::{DateTime, Utc};
use uuid::Uuid;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGITS: usize = 26;

/// Why a text is not an id of the type asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected `{expected}_` and 26 base-32 digits")]
pub struct InvalidId {
    /// The prefix that was expected, such as `acct`.
    pub expected: &'static str,
}

/// What every id type offers; implemented by the types of this module only.
pub trait Id: Copy + Ord + std::fmt::Display + std::str::FromStr<Err = InvalidId> {
    /// The prefix on the wire, without the underscore.
    const PREFIX: &'static str;

    /// The id with these 128 bits.
    fn from_uuid(uuid: Uuid) -> Self;

    /// The 128 bits, as the database stores them.
    fn uuid(self) -> Uuid;

    /// A fresh id: `at` gives the order, `random` the other 74 bits.
    fn from_parts(at: DateTime<Utc>, random: u128) -> Self {
        let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
        let random = random.to_be_bytes();
        let mut tail = [0; 10];
        tail.copy_from_slice(&random[..10]);
        Self::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid())
    }
}

/// Writes `prefix_` and the 26 digits of `uuid`.
fn write(f: &mut std::fmt::Formatter<'_>, prefix: &str, uuid: Uuid) -> std::fmt::Result {
    let mut text = [b'0'; DIGITS];
    let mut rest = uuid.as_u128();
    for digit in text.iter_mut().rev() {
        *digit = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
    }
    f.write_str(prefix)?;
    f.write_str("_")?;
    f.write_str(std::str::from_utf8(&text).unwrap_or_default())
}

/// Reads what [`write`] wrote; upper case and the look-alikes of Crockford's alphabet are refused, so that one id has
/// one text.
fn read(text: &str, expected: &'static str) -> Result<Uuid, InvalidId> {
    let refused = InvalidId { expected };
    let digits = text.strip_prefix(expected).and_then(|rest| rest.strip_prefix('_')).ok_or(refused)?;
    if digits.len() != DIGITS || digits.as_bytes()[0] > b'7' {
        return Err(refused);
    }
    let mut bits: u128 = 0;
    for byte in digits.bytes() {
        let value = VALUES[usize::from(byte)];
        if value > 31 {
            return Err(refused);
        }
        bits = (bits << 5) | u128::from(value);
    }
    Ok(Uuid::from_u128(bits))
}

/// The value of each byte as a digit, 255 where it is none.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut i = 0;
    while i < 32 {
        values[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    values
};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl Id for $name {
            const PREFIX: &'static str = $prefix;
            fn from_uuid(uuid: Uuid) -> Self { Self(uuid) }
            fn uuid(self) -> Uuid { self.0 }
        }
        impl $name {
            /// The id with these 128 bits.
            pub const fn from_uuid(uuid: Uuid) -> Self { Self(uuid) }
            /// The 128 bits, as the database stores them.
            pub const fn uuid(self) -> Uuid { self.0 }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write(f, $prefix, self.0) }
        }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write(f, $prefix, self.0) }
        }
        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> { read(text, $prefix).map(Self) }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                // A visitor, so that no text is allocated: a batch reads thousands of ids.
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("an id `", $prefix, "_…`"))
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::SchemaType::Type(utoipa::openapi::Type::String))
                    .pattern(Some(concat!("^", $prefix, "_[0-7][0-9abcdefghjkmnpqrstvwxyz]{25}$")))
                    .examples([concat!($prefix, "_01jd4q8e7xf2r9k3m5n7p0s4t6")])
                    .into()
            }
        }
        impl utoipa::ToSchema for $name {}
    )*};
}

ids! {
    /// A legal person that pays for its tenants.
    OrganizationId = "org";
    /// One licence of an organization in one jurisdiction.
    TenantId = "tnt";
    /// A tenant's sandbox or live environment: the unit of placement, isolation, keys, quota and clock.
    EnvironmentId = "env";
    /// A data-plane instance.
    CellId = "cell";
    /// What a cell enrols with, once.
    JoinTokenId = "join";
    /// A certificate that was issued to a cell.
    CertificateId = "crt";
    /// An OAuth client of an environment.
    ClientId = "cli";
    /// A natural or legal person who holds accounts.
    PartyId = "pty";
    /// An account of the ledger.
    AccountId = "acct";
    /// A transfer of the ledger; a hold's id is the id of the transfer that placed it.
    TransferId = "trf";
    /// A payment: the intent to move money, and what became of it.
    PaymentId = "pay";
    /// A preview of a payment, to be committed once.
    PreviewId = "prv";
    /// An import of a file.
    ImportId = "imp";
    /// A long-running operation.
    OperationId = "op";
    /// A record that a condition of residency is met.
    ResidencyId = "res";
    /// A document about a tenant's own people and papers.
    DocumentId = "doc";
    /// A link to a document that somebody was given.
    DocumentLinkId = "dlk";
    /// A bundle of everything that an environment had.
    ExportId = "exp";
    /// A row of the work queue.
    WorkId = "wrk";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bits_are_the_same_id() {
        for bits in [0, 1, 31, 32, u128::MAX, 0x0193_4f2e_1c3b_7abc_8def_0123_4567_89ab] {
            let id = AccountId::from_uuid(Uuid::from_u128(bits));
            let text = id.to_string();
            assert_eq!(text.len(), "acct_".len() + DIGITS);
            assert_eq!(text.parse::<AccountId>(), Ok(id));
        }
    }

    #[test]
    fn text_order_is_time_order() {
        let at = |millis| DateTime::from_timestamp_millis(millis).unwrap_or_default();
        let early = <TransferId as Id>::from_parts(at(1_700_000_000_000), u128::MAX);
        let late = <TransferId as Id>::from_parts(at(1_700_000_000_001), 0);
        assert!(early < late && early.to_string() < late.to_string());
    }

    #[test]
    fn another_type_and_another_spelling_are_refused() {
        let id = AccountId::from_uuid(Uuid::from_u128(7)).to_string();
        for text in [
            id.replace("acct", "trf"),
            id.to_uppercase(),
            id.replace('0', "o"),
            format!("{id}0"),
            id[..id.len() - 1].to_owned(),
            id.replace("acct_0", "acct_8"),
            String::new(),
        ] {
            assert_eq!(text.parse::<AccountId>(), Err(InvalidId { expected: "acct" }), "{text}");
        }
    }
}
