//! The tables `join_token` and `link_certificate`: what a cell proves itself with. Secrets are stored as their hashes.

use chrono::{DateTime, Utc};
use platform::{db::Tx, pki::Serial};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr,
};
use tenants::id::{CellId, JoinTokenId};

use super::model::JoinToken;
use crate::{PLATFORM, stored::wrong};

mod join_token {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "join_token")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub cell_id: Uuid,
        pub secret_sha256: String,
        pub replace_instance: bool,
        pub expires_at: DateTimeUtc,
        pub used_at: Option<DateTimeUtc>,
        pub csr_sha256: Option<String>,
        pub serial: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod certificate {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "link_certificate")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub serial: String,
        pub cell_id: Uuid,
        pub csr_sha256: String,
        pub certificate_pem: String,
        pub chain_pem: String,
        pub not_after: DateTimeUtc,
        pub issued_at: DateTimeUtc,
        pub seq: i64,
        pub revoked_at: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use certificate::Column as Signed;
use join_token::Column as Join;

/// A join token as it is stored.
#[derive(Debug)]
pub struct Stored {
    pub token: JoinToken,
    pub secret_sha256: String,
    /// The request that it was used for, and the certificate that came of it.
    pub used: Option<(String, Serial)>,
}

/// A certificate that was issued to a cell.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Its number.
    pub serial: Serial,
    /// Whose it is.
    pub cell: CellId,
    /// Of the request that it answers.
    pub csr_sha256: String,
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// The issuing certificate that signed it, PEM: whoever gets it again gets that with it, whatever signs by then.
    pub chain_pem: String,
    /// When it ends.
    pub not_after: DateTime<Utc>,
    /// When it was signed.
    pub issued_at: DateTime<Utc>,
    /// Counts the certificates of its cell.
    pub seq: i64,
    /// Since when it is not honoured any more.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Keeps a token that nobody has used.
pub async fn insert_token(tx: &Tx, token: &JoinToken, secret_sha256: String) -> Result<(), DbErr> {
    let row = join_token::ActiveModel {
        shard_id: Set(PLATFORM.shard),
        scope_id: Set(PLATFORM.id),
        id: Set(token.id.uuid()),
        cell_id: Set(token.cell.uuid()),
        secret_sha256: Set(secret_sha256),
        replace_instance: Set(token.replace_instance),
        expires_at: Set(token.expires_at),
        used_at: Set(None),
        csr_sha256: Set(None),
        serial: Set(None),
    };
    join_token::Entity::insert(row).exec_without_returning(&**tx).await.map(drop)
}

/// The public part of a token.
pub async fn get_token(tx: &Tx, id: JoinTokenId) -> Result<Option<JoinToken>, DbErr> {
    let row = join_token::Entity::find()
        .select_only()
        .columns([Join::CellId, Join::ReplaceInstance])
        .column(Join::ExpiresAt)
        .filter(Join::ShardId.eq(PLATFORM.shard))
        .filter(Join::ScopeId.eq(PLATFORM.id))
        .filter(Join::Id.eq(id.uuid()))
        .into_tuple::<(uuid::Uuid, bool, DateTime<Utc>)>()
        .one(&**tx)
        .await?;
    let read = |(cell, replace_instance, expires_at)| JoinToken {
        id,
        cell: CellId::from_uuid(cell),
        expires_at,
        replace_instance,
    };
    Ok(row.map(read))
}

/// A token with its secret's hash, locked for who uses it; for `system.rs`.
pub async fn lock_token(tx: &Tx, id: JoinTokenId) -> Result<Option<Stored>, DbErr> {
    let row = join_token::Entity::find()
        .filter(Join::ShardId.eq(PLATFORM.shard))
        .filter(Join::ScopeId.eq(PLATFORM.id))
        .filter(Join::Id.eq(id.uuid()))
        .lock_exclusive()
        .one(&**tx)
        .await?;
    let read = |row: join_token::Model| -> Result<Stored, DbErr> {
        let used = match (row.csr_sha256, row.serial) {
            (Some(csr), Some(serial)) => Some((csr, serial.parse().map_err(wrong)?)),
            _ => None,
        };
        let cell = CellId::from_uuid(row.cell_id);
        let token =
            JoinToken { id, cell, expires_at: row.expires_at, replace_instance: row.replace_instance };
        Ok(Stored { token, secret_sha256: row.secret_sha256, used })
    };
    row.map(read).transpose()
}

/// Marks a token as used; for `system.rs`.
pub async fn use_token(
    tx: &Tx,
    id: JoinTokenId,
    csr_sha256: &str,
    serial: Serial,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    join_token::Entity::update_many()
        .col_expr(Join::UsedAt, Expr::val(now))
        .col_expr(Join::CsrSha256, Expr::val(csr_sha256))
        .col_expr(Join::Serial, Expr::val(serial.to_string()))
        .filter(Join::ShardId.eq(PLATFORM.shard))
        .filter(Join::ScopeId.eq(PLATFORM.id))
        .filter(Join::Id.eq(id.uuid()))
        .exec(&**tx)
        .await
        .map(drop)
}

/// Removes tokens that ended before `before`; for `system.rs`.
pub async fn forget_tokens(tx: &Tx, before: DateTime<Utc>) -> Result<u64, DbErr> {
    let deleted = join_token::Entity::delete_many()
        .filter(Join::ShardId.eq(PLATFORM.shard))
        .filter(Join::ScopeId.eq(PLATFORM.id))
        .filter(Join::ExpiresAt.lt(before))
        .exec(&**tx)
        .await?;
    Ok(deleted.rows_affected)
}

fn certificates() -> sea_orm::Select<certificate::Entity> {
    certificate::Entity::find()
        .filter(Signed::ShardId.eq(PLATFORM.shard))
        .filter(Signed::ScopeId.eq(PLATFORM.id))
}

fn read(row: certificate::Model) -> Result<Certificate, DbErr> {
    Ok(Certificate {
        serial: row.serial.parse().map_err(wrong)?,
        cell: CellId::from_uuid(row.cell_id),
        csr_sha256: row.csr_sha256,
        certificate_pem: row.certificate_pem,
        chain_pem: row.chain_pem,
        not_after: row.not_after,
        issued_at: row.issued_at,
        seq: row.seq,
        revoked_at: row.revoked_at,
    })
}

/// The certificate of this number.
pub async fn by_serial(tx: &Tx, serial: Serial) -> Result<Option<Certificate>, DbErr> {
    certificates().filter(Signed::Serial.eq(serial.to_string())).one(&**tx).await?.map(read).transpose()
}

/// The certificate that this request of a cell was answered with last.
pub async fn by_request(tx: &Tx, cell: CellId, csr_sha256: &str) -> Result<Option<Certificate>, DbErr> {
    let query =
        certificates().filter(Signed::CellId.eq(cell.uuid())).filter(Signed::CsrSha256.eq(csr_sha256));
    query.order_by_desc(Signed::Seq).one(&**tx).await?.map(read).transpose()
}

/// The newest certificate of a cell.
pub async fn newest(tx: &Tx, cell: CellId) -> Result<Option<Certificate>, DbErr> {
    let query = certificates().filter(Signed::CellId.eq(cell.uuid())).order_by_desc(Signed::Seq);
    query.one(&**tx).await?.map(read).transpose()
}

/// Keeps a certificate; for `system.rs`.
pub async fn insert(tx: &Tx, new: &Certificate) -> Result<(), DbErr> {
    let row = certificate::ActiveModel {
        shard_id: Set(PLATFORM.shard),
        scope_id: Set(PLATFORM.id),
        serial: Set(new.serial.to_string()),
        cell_id: Set(new.cell.uuid()),
        csr_sha256: Set(new.csr_sha256.clone()),
        certificate_pem: Set(new.certificate_pem.clone()),
        chain_pem: Set(new.chain_pem.clone()),
        not_after: Set(new.not_after),
        issued_at: Set(new.issued_at),
        seq: Set(new.seq),
        revoked_at: Set(new.revoked_at),
    };
    certificate::Entity::insert(row).exec_without_returning(&**tx).await.map(drop)
}

/// Revokes every certificate of a cell.
pub async fn revoke_all(tx: &Tx, cell: CellId, now: DateTime<Utc>) -> Result<(), DbErr> {
    certificate::Entity::update_many()
        .col_expr(Signed::RevokedAt, Expr::val(now))
        .filter(Signed::ShardId.eq(PLATFORM.shard))
        .filter(Signed::ScopeId.eq(PLATFORM.id))
        .filter(Signed::CellId.eq(cell.uuid()))
        .filter(Signed::RevokedAt.is_null())
        .exec(&**tx)
        .await
        .map(drop)
}

/// Removes certificates that ended before `before`; for `system.rs`.
pub async fn forget_certificates(tx: &Tx, before: DateTime<Utc>) -> Result<u64, DbErr> {
    let deleted = certificate::Entity::delete_many()
        .filter(Signed::ShardId.eq(PLATFORM.shard))
        .filter(Signed::ScopeId.eq(PLATFORM.id))
        .filter(Signed::NotAfter.lt(before))
        .exec(&**tx)
        .await?;
    Ok(deleted.rows_affected)
}
