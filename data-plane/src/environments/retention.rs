//! The table `environment_hold`: until when what is left of a removed environment is kept.
//!
//! Rows are added and never changed: no role has the grant, and a later row only prolongs.

use chrono::{DateTime, Utc};
use platform::db::{
    Role, Tx,
    schema::{Migration, Privilege, Table},
};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, sea_query::OnConflict};
use sea_orm_migration::schema::{timestamp_with_time_zone, uuid};
use tenants::id::EnvironmentId;

/// Makes the table.
pub const MIGRATION: Migration = Migration::new("m0032_environment_hold", || {
    vec![
        Table::reference("environment_hold")
            .column(uuid("id"))
            .column(timestamp_with_time_zone("ended_at"))
            .column(timestamp_with_time_zone("hold_until"))
            .key(&["id", "ended_at", "hold_until"])
            .grant(Role::Worker, &[Privilege::Select, Privilege::Insert]),
    ]
});

mod hold {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "environment_hold")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub ended_at: DateTimeUtc,
        #[sea_orm(primary_key, auto_increment = false)]
        pub hold_until: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use hold::{ActiveModel, Column, Entity};

/// What the rows of an environment say together.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// When it ended, at the latest.
    pub ended: DateTime<Utc>,
    /// Until when it is kept.
    pub until: DateTime<Utc>,
}

/// Until when an environment is kept, as far as is written.
pub async fn written(tx: &Tx, id: EnvironmentId) -> Result<Option<Written>, DbErr> {
    let rows = Entity::find().filter(Column::Id.eq(id.uuid())).all(&**tx).await?;
    let written = rows.into_iter().map(|row| Written { ended: row.ended_at, until: row.hold_until });
    Ok(written.reduce(|one, other| Written {
        ended: one.ended.max(other.ended),
        until: one.until.max(other.until),
    }))
}

/// Writes that what ended then is kept until then.
pub async fn begin(
    tx: &Tx,
    id: EnvironmentId,
    ended: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<(), DbErr> {
    let row = ActiveModel { id: Set(id.uuid()), ended_at: Set(ended), hold_until: Set(until) };
    let there = OnConflict::columns([Column::Id, Column::EndedAt, Column::HoldUntil]).do_nothing().to_owned();
    Entity::insert(row).on_conflict(there).try_insert().exec_without_returning(&**tx).await?;
    Ok(())
}
