//! The tables `document` and `document_link`.

use platform::{
    ctx::{Ctx, Scope},
    db::{
        Role, Tx,
        schema::{Migration, Privilege, Table},
    },
};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use sea_orm_migration::schema::{big_integer, string, timestamp_with_time_zone, uuid};
use tenants::id::{DocumentId, DocumentLinkId, OrganizationId, TenantId};

use super::model::{Document, Use, digits};
use crate::stored::{self, json, to_json, wrong};

/// Makes the tables. Nobody may change a document, or what is known of who was given a link.
pub const MIGRATION: Migration = Migration::new("m0170_documents", || {
    vec![
        Table::of_scope("document")
            .column(uuid("id"))
            .column(uuid("tenant_id"))
            .column(string("name"))
            .column(string("kind"))
            .column(string("content_type"))
            .column(big_integer("bytes"))
            .column(string("sha256"))
            .column(string("region"))
            .column(string("recorded_by"))
            .column(timestamp_with_time_zone("created_at"))
            .key(&["id"])
            .foreign(&["tenant_id"], "tenant", &["id"])
            .index(&["tenant_id", "id"])
            .shard_unique(&["id"])
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant(Role::Worker, &[Privilege::Select]),
        Table::of_scope("document_link")
            .column(uuid("id"))
            .column(uuid("document_id"))
            .column(string("used_for"))
            .column(string("given_to"))
            .column(timestamp_with_time_zone("given_at"))
            .key(&["id"])
            .foreign(&["document_id"], "document", &["id"])
            .index(&["document_id", "id"])
            .grant(Role::App, &[Privilege::Select, Privilege::Insert]),
    ]
});

mod document {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "document")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub tenant_id: Uuid,
        pub name: String,
        pub kind: String,
        pub content_type: String,
        pub bytes: i64,
        pub sha256: String,
        pub region: String,
        pub recorded_by: String,
        pub created_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod document_link {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "document_link")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub document_id: Uuid,
        pub used_for: String,
        pub given_to: String,
        pub given_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use document::{Column, Entity};

/// The store of one organization's documents, inside one transaction.
pub struct Documents<'a> {
    tx: &'a Tx,
    scope: Scope,
}

fn read(row: document::Model) -> Result<Document, DbErr> {
    Ok(Document {
        id: DocumentId::from_uuid(row.id),
        tenant: TenantId::from_uuid(row.tenant_id),
        name: row.name,
        kind: json(row.kind.into())?,
        content_type: json(row.content_type.into())?,
        bytes: u64::try_from(row.bytes).map_err(wrong)?,
        sha256: digits(&row.sha256).ok_or_else(|| wrong("not a hash"))?,
        region: row.region.parse().map_err(wrong)?,
        recorded_by: row.recorded_by,
        created_at: row.created_at,
    })
}

/// A word of the wire, which the tables keep too.
fn word(value: &impl serde::Serialize) -> Result<String, DbErr> {
    json(to_json(value)?)
}

/// Whose document this is, for `system.rs` only.
pub async fn organization_of(tx: &Tx, id: DocumentId) -> Result<Option<OrganizationId>, DbErr> {
    let columns = [Column::ShardId, Column::ScopeId, Column::Id];
    stored::organization_of::<Entity>(tx, columns, id.uuid()).await
}

impl<'a> Documents<'a> {
    /// Of `scope`, in the caller's transaction.
    pub const fn new(tx: &'a Tx, scope: Scope) -> Self {
        Self { tx, scope }
    }

    fn select(&self) -> sea_orm::Select<Entity> {
        Entity::find().filter(Column::ShardId.eq(self.scope.shard)).filter(Column::ScopeId.eq(self.scope.id))
    }

    pub async fn get(&self, id: DocumentId) -> Result<Option<Document>, DbErr> {
        self.select().filter(Column::Id.eq(id.uuid())).one(&**self.tx).await?.map(read).transpose()
    }

    pub async fn list(
        &self,
        tenant: TenantId,
        after: Option<DocumentId>,
        limit: u64,
    ) -> Result<Vec<Document>, DbErr> {
        let mut query = self.select().filter(Column::TenantId.eq(tenant.uuid()));
        if let Some(after) = after {
            query = query.filter(Column::Id.gt(after.uuid()));
        }
        let rows = query.order_by_asc(Column::Id).limit(limit).all(&**self.tx).await?;
        rows.into_iter().map(read).collect()
    }

    pub async fn insert(&self, document: &Document) -> Result<(), DbErr> {
        let row = document::ActiveModel {
            shard_id: Set(self.scope.shard),
            scope_id: Set(self.scope.id),
            id: Set(document.id.uuid()),
            tenant_id: Set(document.tenant.uuid()),
            name: Set(document.name.clone()),
            kind: Set(word(&document.kind)?),
            content_type: Set(word(&document.content_type)?),
            bytes: Set(i64::try_from(document.bytes).map_err(wrong)?),
            sha256: Set(hex::encode(document.sha256)),
            region: Set(document.region.to_string()),
            recorded_by: Set(document.recorded_by.clone()),
            created_at: Set(document.created_at),
        };
        Entity::insert(row).exec_without_returning(&**self.tx).await.map(drop)
    }

    /// Writes down who is about to be given a link.
    pub async fn given(
        &self,
        ctx: &Ctx,
        id: DocumentLinkId,
        document: DocumentId,
        what: Use,
    ) -> Result<(), DbErr> {
        let row = document_link::ActiveModel {
            shard_id: Set(self.scope.shard),
            scope_id: Set(self.scope.id),
            id: Set(id.uuid()),
            document_id: Set(document.uuid()),
            used_for: Set(word(&what)?),
            given_to: Set(ctx.actor.to_string()),
            given_at: Set(ctx.now()),
        };
        document_link::Entity::insert(row).exec_without_returning(&**self.tx).await.map(drop)
    }
}
