//! Reading back what was stored as text.

use sea_orm::DbErr;

/// A text in the database that this build did not write.
pub fn wrong(error: impl std::fmt::Display) -> DbErr {
    DbErr::Type(error.to_string())
}

/// The value of a JSON column.
///
/// # Errors
/// It is not of this type.
pub fn json<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T, DbErr> {
    serde_json::from_value(value).map_err(|error| DbErr::Json(error.to_string()))
}

/// A value for a JSON column.
///
/// # Errors
/// It has no JSON form.
pub fn to_json(value: &impl serde::Serialize) -> Result<serde_json::Value, DbErr> {
    serde_json::to_value(value).map_err(|error| DbErr::Json(error.to_string()))
}
