//! Columns whose content the database cannot read: [`Sealed`] and [`BlindIndex`].
//!
//! Nothing here encrypts or decrypts; that takes [`crate::keys::DataKey`] explicitly, so that reading a row is never
//! reading a person.

use std::fmt;
use std::marker::PhantomData;

use sea_orm::sea_query::{ArrayType, ColumnType, Nullable, ValueType, ValueTypeErr};
use sea_orm::{ActiveValue, ColIdx, DbErr, IntoActiveValue, QueryResult, TryGetError, TryGetable, Value};

/// A column that holds a `T` as ciphertext; made by `DataKey::seal`, read by `DataKey::open`.
///
/// Two sealings of one value differ; equality is equality of bytes.
pub struct Sealed<T> {
    bytes: Vec<u8>,
    content: PhantomData<fn() -> T>,
}

impl<T> Sealed<T> {
    pub(crate) const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes, content: PhantomData }
    }

    /// The ciphertext as it is stored: version, key id, nonce, content and tag.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<T> Clone for Sealed<T> {
    fn clone(&self) -> Self {
        Self::from_bytes(self.bytes.clone())
    }
}

impl<T> PartialEq for Sealed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<T> Eq for Sealed<T> {}

impl<T> fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.bytes.len())
    }
}

/// A column that finds equal values without revealing them: a keyed hash of the normalised text, made by
/// `DataKey::blind`. It answers "is this the same?" and nothing else; it leaks which rows are equal.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BlindIndex(Vec<u8>);

impl BlindIndex {
    pub(crate) const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the hash.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for BlindIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlindIndex")
    }
}

/// Both are plain bytes to sea-orm.
macro_rules! bytes_column {
    ([$($t:ident)?] $name:ty, $bytes:tt) => {
        impl$(<$t>)? From<$name> for Value {
            fn from(column: $name) -> Self {
                Value::from(column.$bytes)
            }
        }

        impl$(<$t>)? TryGetable for $name {
            fn try_get_by<I: ColIdx>(res: &QueryResult, index: I) -> Result<Self, TryGetError> {
                <Vec<u8> as TryGetable>::try_get_by(res, index).map(Self::from_bytes)
            }
        }

        impl$(<$t>)? ValueType for $name {
            fn try_from(value: Value) -> Result<Self, ValueTypeErr> {
                <Vec<u8> as ValueType>::try_from(value).map(Self::from_bytes)
            }

            fn type_name() -> String {
                stringify!($name).to_owned()
            }

            fn array_type() -> ArrayType {
                ArrayType::Bytes
            }

            fn column_type() -> ColumnType {
                ColumnType::Blob
            }
        }

        impl$(<$t>)? Nullable for $name {
            fn null() -> Value {
                Value::Bytes(None)
            }
        }

        impl$(<$t>)? IntoActiveValue<$name> for $name {
            fn into_active_value(self) -> ActiveValue<$name> {
                ActiveValue::Set(self)
            }
        }

        impl$(<$t>)? sea_orm::sea_query::postgres_array::NotU8 for $name {}

        impl$(<$t>)? sea_orm::TryFromU64 for $name {
            fn try_from_u64(_: u64) -> Result<Self, DbErr> {
                Err(DbErr::ConvertFromU64(stringify!($name)))
            }
        }
    };
}

bytes_column!([T] Sealed<T>, bytes);

bytes_column!([] BlindIndex, 0);
