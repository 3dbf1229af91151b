//! The tables `link_state` and `link_identity`: one link per cell, and the worker's only.

use chrono::{DateTime, Utc};
use platform::{
    db::{
        Role, Tx,
        schema::{Migration, Privilege, Table},
    },
    sealed::Sealed,
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QuerySelect,
    sea_query::{Expr, OnConflict},
};
use sea_orm_migration::schema::{
    big_integer, binary, boolean, integer, json_binary_null, string, string_null,
    timestamp_with_time_zone_null, uuid, uuid_null,
};
use tenants::id::{CellId, JoinTokenId};
use uuid::Uuid;

use super::model::State;

/// Makes the tables.
pub const MIGRATION: Migration = Migration::new("m0031_link", || {
    vec![
        Table::reference("link_state")
            .column(integer("one"))
            .column(uuid_null("cell_id"))
            .column(uuid("instance"))
            .column(uuid_null("join_id"))
            .column(string_null("url"))
            .column(uuid("lineage"))
            .column(big_integer("cursor"))
            .column(big_integer("report_seq"))
            .column(boolean("resync"))
            .column(string("software"))
            .column(big_integer("skew_ms"))
            .column(timestamp_with_time_zone_null("contact_at"))
            .column(json_binary_null("intent"))
            .column(uuid_null("lease_owner"))
            .column(timestamp_with_time_zone_null("lease_until"))
            .key(&["one"])
            .check("one = 1")
            .grant(Role::Worker, &Privilege::ALL),
        Table::reference("link_identity")
            .column(string("slot"))
            .column(uuid("cell_id"))
            .column(uuid_null("join_id"))
            .column(binary("key_sealed"))
            .column(string("csr_pem"))
            .column(string_null("certificate_pem"))
            .column(string_null("chain_pem"))
            .column(string_null("root_pem"))
            .column(timestamp_with_time_zone_null("not_after"))
            .column(timestamp_with_time_zone_null("renew_at"))
            .key(&["slot"])
            .check("slot IN ('current', 'pending')")
            .grant(Role::Worker, &Privilege::ALL),
    ]
});

mod state {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "link_state")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub one: i32,
        pub cell_id: Option<Uuid>,
        pub instance: Uuid,
        pub join_id: Option<Uuid>,
        pub url: Option<String>,
        pub lineage: Uuid,
        pub cursor: i64,
        pub report_seq: i64,
        pub resync: bool,
        pub software: String,
        pub skew_ms: i64,
        pub contact_at: Option<DateTimeUtc>,
        pub intent: Option<Json>,
        pub lease_owner: Option<Uuid>,
        pub lease_until: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod identity {
    use super::Sealed;
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "link_identity")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub slot: String,
        pub cell_id: Uuid,
        pub join_id: Option<Uuid>,
        pub key_sealed: Sealed<String>,
        pub csr_pem: String,
        pub certificate_pem: Option<String>,
        pub chain_pem: Option<String>,
        pub root_pem: Option<String>,
        pub not_after: Option<DateTimeUtc>,
        pub renew_at: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use identity::Column as Is;
use state::Column as Field;

const CURRENT: &str = "current";
const PENDING: &str = "pending";

/// A key and a request for its certificate, as they are stored before anybody is asked.
#[derive(Debug, Clone)]
pub struct Pending {
    /// For which cell.
    pub cell: CellId,
    /// The join token that it is asked with; none for a renewal.
    pub join: Option<JoinTokenId>,
    /// PKCS #8, PEM.
    pub key_sealed: Sealed<String>,
    /// PKCS #10, PEM.
    pub csr_pem: String,
}

/// A key with its certificate, as they are stored.
#[derive(Debug, Clone)]
pub struct Current {
    /// Of which cell.
    pub cell: CellId,
    /// PKCS #8, PEM.
    pub key_sealed: Sealed<String>,
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// What leads from it to the root, PEM.
    pub chain_pem: String,
    /// Whom alone the cell trusts, PEM.
    pub root_pem: String,
    /// When the certificate ends.
    pub not_after: DateTime<Utc>,
    /// When to ask for the next one.
    pub renew_at: DateTime<Utc>,
}

fn number(count: i64) -> Result<u64, DbErr> {
    u64::try_from(count).map_err(|error| DbErr::Type(error.to_string()))
}

fn column(count: u64) -> Result<i64, DbErr> {
    i64::try_from(count).map_err(|error| DbErr::Type(error.to_string()))
}

fn read(row: state::Model) -> Result<State, DbErr> {
    let intent = row.intent.map(serde_json::from_value).transpose();
    Ok(State {
        cell: row.cell_id.map(CellId::from_uuid),
        instance: row.instance,
        join: row.join_id.map(JoinTokenId::from_uuid),
        url: row.url,
        lineage: row.lineage,
        cursor: number(row.cursor)?,
        seq: number(row.report_seq)?,
        resync: row.resync,
        software: row.software,
        skew_ms: row.skew_ms,
        contact_at: row.contact_at,
        intent: intent.map_err(|error| DbErr::Json(error.to_string()))?,
    })
}

/// What is stored of the link.
pub async fn state(tx: &Tx) -> Result<Option<State>, DbErr> {
    state::Entity::find().one(&**tx).await?.map(read).transpose()
}

/// What is stored of the link if `owner` has the lease; the transaction is then alone with it.
pub async fn held(tx: &Tx, owner: Uuid) -> Result<Option<State>, DbErr> {
    let row = state::Entity::find().filter(Field::LeaseOwner.eq(owner)).lock_exclusive().one(&**tx).await?;
    row.map(read).transpose()
}

/// Begins the link's state, unless it has begun.
pub async fn begin(tx: &Tx, new: &State) -> Result<(), DbErr> {
    let row = state::Model {
        one: 1,
        cell_id: None,
        instance: new.instance,
        join_id: None,
        url: None,
        lineage: new.lineage,
        cursor: 0,
        report_seq: 0,
        resync: new.resync,
        software: new.software.clone(),
        skew_ms: 0,
        contact_at: None,
        intent: None,
        lease_owner: None,
        lease_until: None,
    };
    let once = OnConflict::column(Field::One).do_nothing().to_owned();
    state::Entity::insert(row.into_active_model())
        .on_conflict(once)
        .exec_without_returning(&**tx)
        .await
        .map(drop)
}

/// Writes everything but instance and lease.
pub async fn write(tx: &Tx, state: &State) -> Result<(), DbErr> {
    let intent = state.intent.as_ref().map(serde_json::to_value).transpose();
    let row = state::ActiveModel {
        one: Set(1),
        cell_id: Set(state.cell.map(|id| id.uuid())),
        join_id: Set(state.join.map(|id| id.uuid())),
        url: Set(state.url.clone()),
        lineage: Set(state.lineage),
        cursor: Set(column(state.cursor)?),
        report_seq: Set(column(state.seq)?),
        resync: Set(state.resync),
        software: Set(state.software.clone()),
        skew_ms: Set(state.skew_ms),
        contact_at: Set(state.contact_at),
        intent: Set(intent.map_err(|error| DbErr::Json(error.to_string()))?),
        ..Default::default()
    };
    state::Entity::update_many().set(row).filter(Field::One.eq(1)).exec(&**tx).await.map(drop)
}

/// Gives `owner` the lease until `until`, if it has it or nobody has at `now`; whether it has it.
pub async fn lease(tx: &Tx, owner: Uuid, now: DateTime<Utc>, until: DateTime<Utc>) -> Result<bool, DbErr> {
    let free = Condition::any()
        .add(Field::LeaseOwner.eq(owner))
        .add(Field::LeaseOwner.is_null())
        .add(Field::LeaseUntil.lte(now));
    let taken = state::Entity::update_many()
        .col_expr(Field::LeaseOwner, Expr::val(owner))
        .col_expr(Field::LeaseUntil, Expr::val(until))
        .filter(free)
        .exec(&**tx)
        .await?;
    Ok(taken.rows_affected == 1)
}

/// Gives the lease back.
pub async fn release(tx: &Tx, owner: Uuid) -> Result<(), DbErr> {
    state::Entity::update_many()
        .set(state::ActiveModel { lease_owner: Set(None), lease_until: Set(None), ..Default::default() })
        .filter(Field::LeaseOwner.eq(owner))
        .exec(&**tx)
        .await
        .map(drop)
}

/// The key that waits for its certificate.
pub async fn pending(tx: &Tx) -> Result<Option<Pending>, DbErr> {
    let row = identity::Entity::find_by_id(PENDING.to_owned()).one(&**tx).await?;
    Ok(row.map(|row| Pending {
        cell: CellId::from_uuid(row.cell_id),
        join: row.join_id.map(JoinTokenId::from_uuid),
        key_sealed: row.key_sealed,
        csr_pem: row.csr_pem,
    }))
}

/// The identity, if there is one.
pub async fn current(tx: &Tx) -> Result<Option<Current>, DbErr> {
    let Some(row) = identity::Entity::find_by_id(CURRENT.to_owned()).one(&**tx).await? else {
        return Ok(None);
    };
    let missing = || DbErr::Type("a current identity without its certificate".to_owned());
    Ok(Some(Current {
        cell: CellId::from_uuid(row.cell_id),
        key_sealed: row.key_sealed,
        certificate_pem: row.certificate_pem.ok_or_else(missing)?,
        chain_pem: row.chain_pem.ok_or_else(missing)?,
        root_pem: row.root_pem.ok_or_else(missing)?,
        not_after: row.not_after.ok_or_else(missing)?,
        renew_at: row.renew_at.ok_or_else(missing)?,
    }))
}

async fn put(tx: &Tx, row: identity::Model) -> Result<(), DbErr> {
    forget(tx, &row.slot).await?;
    identity::Entity::insert(row.into_active_model()).exec_without_returning(&**tx).await.map(drop)
}

async fn forget(tx: &Tx, slot: &str) -> Result<(), DbErr> {
    identity::Entity::delete_many().filter(Is::Slot.eq(slot)).exec(&**tx).await.map(drop)
}

/// Keeps a key that waits for its certificate, in the place of the one that did.
pub async fn put_pending(tx: &Tx, new: &Pending) -> Result<(), DbErr> {
    let row = identity::Model {
        slot: PENDING.to_owned(),
        cell_id: new.cell.uuid(),
        join_id: new.join.map(|id| id.uuid()),
        key_sealed: new.key_sealed.clone(),
        csr_pem: new.csr_pem.clone(),
        certificate_pem: None,
        chain_pem: None,
        root_pem: None,
        not_after: None,
        renew_at: None,
    };
    put(tx, row).await
}

/// Makes this the identity, and nothing pending.
pub async fn install(tx: &Tx, csr_pem: &str, new: &Current) -> Result<(), DbErr> {
    forget(tx, PENDING).await?;
    let row = identity::Model {
        slot: CURRENT.to_owned(),
        cell_id: new.cell.uuid(),
        join_id: None,
        key_sealed: new.key_sealed.clone(),
        csr_pem: csr_pem.to_owned(),
        certificate_pem: Some(new.certificate_pem.clone()),
        chain_pem: Some(new.chain_pem.clone()),
        root_pem: Some(new.root_pem.clone()),
        not_after: Some(new.not_after),
        renew_at: Some(new.renew_at),
    };
    put(tx, row).await
}
