//! Reading back what was stored: texts, and whose a row is.

use platform::db::Tx;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QuerySelect};
use tenants::id::OrganizationId;
use uuid::Uuid;

use crate::PLATFORM;

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

/// Whose row of `E` has this id, whoever asks: for who crosses organizations. The columns are those of shard, scope and id.
///
/// # Errors
/// The database's.
pub async fn organization_of<E: EntityTrait>(
    tx: &Tx,
    [shard, scope, key]: [E::Column; 3],
    id: Uuid,
) -> Result<Option<OrganizationId>, DbErr> {
    let query = E::find().select_only().column(scope).filter(shard.eq(PLATFORM.shard)).filter(key.eq(id));
    Ok(query.into_tuple::<Uuid>().one(&**tx).await?.map(OrganizationId::from_uuid))
}
