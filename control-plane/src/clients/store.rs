//! The table `client`.

use platform::{
    ctx::Scope,
    db::{
        Role, Tx,
        schema::{Migration, Privilege, Table},
    },
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::Expr,
};
use sea_orm_migration::schema::{
    big_integer, boolean, json_binary, string, timestamp_with_time_zone, uuid, uuid_null,
};
use tenants::{
    contract::Binding,
    id::{ClientId, EnvironmentId, OrganizationId},
};

use super::model::{Client, Proof};
use crate::{
    PLATFORM,
    stored::{self, json, to_json},
};

/// Makes the table. Secrets are there as their hashes only.
pub const MIGRATION: Migration = Migration::new("m0160_clients", || {
    vec![
        Table::of_scope("client")
            .column(uuid("id"))
            .column(uuid_null("environment_id"))
            .column(string("name"))
            .column(json_binary("proof"))
            .column(json_binary("scopes"))
            .column(json_binary("binding"))
            .column(big_integer("epoch"))
            .column(boolean("revoked"))
            .column(big_integer("version"))
            .column(timestamp_with_time_zone("created_at"))
            .column(timestamp_with_time_zone("updated_at"))
            .column(timestamp_with_time_zone("granted_at"))
            .key(&["id"])
            .foreign(&["environment_id"], "environment", &["id"])
            .index(&["environment_id"])
            .shard_unique(&["id"])
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant_columns(
                Role::App,
                Privilege::Update,
                &["name", "proof", "scopes", "epoch", "revoked", "version", "updated_at", "granted_at"],
            )
            .grant(Role::Worker, &[Privilege::Select]),
    ]
});

mod client {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "client")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub environment_id: Option<Uuid>,
        pub name: String,
        pub proof: Json,
        pub scopes: Json,
        pub binding: Json,
        pub epoch: i64,
        pub revoked: bool,
        pub version: i64,
        pub created_at: DateTimeUtc,
        pub updated_at: DateTimeUtc,
        pub granted_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use client::{Column, Entity};

/// The clients a list asks for.
#[derive(Debug, Default)]
pub struct Filter {
    /// After this id.
    pub after: Option<ClientId>,
    /// Of this environment.
    pub environment: Option<EnvironmentId>,
}

/// The store of one organization's clients, inside one transaction.
pub struct Clients<'a> {
    tx: &'a Tx,
    scope: Scope,
}

fn read(row: client::Model) -> Result<Client, DbErr> {
    Ok(Client {
        id: ClientId::from_uuid(row.id),
        organization: OrganizationId::from_uuid(row.scope_id),
        environment: row.environment_id.map(EnvironmentId::from_uuid),
        name: row.name,
        proof: json::<Proof>(row.proof)?,
        scopes: json(row.scopes)?,
        binding: json::<Binding>(row.binding)?,
        epoch: row.epoch,
        revoked: row.revoked,
        version: row.version,
        created_at: row.created_at,
        updated_at: row.updated_at,
        granted_at: row.granted_at,
    })
}

/// The clients of all organizations, for `system.rs` only.
pub async fn list_all(tx: &Tx, filter: &Filter, limit: u64) -> Result<Vec<Client>, DbErr> {
    page(Entity::find().filter(Column::ShardId.eq(PLATFORM.shard)), tx, filter, limit).await
}

/// Whose client this is, for `system.rs` only.
pub async fn organization_of(tx: &Tx, id: ClientId) -> Result<Option<OrganizationId>, DbErr> {
    let columns = [Column::ShardId, Column::ScopeId, Column::Id];
    stored::organization_of::<Entity>(tx, columns, id.uuid()).await
}

async fn page(
    mut query: sea_orm::Select<Entity>,
    tx: &Tx,
    filter: &Filter,
    limit: u64,
) -> Result<Vec<Client>, DbErr> {
    if let Some(after) = filter.after {
        query = query.filter(Column::Id.gt(after.uuid()));
    }
    if let Some(environment) = filter.environment {
        query = query.filter(Column::EnvironmentId.eq(environment.uuid()));
    }
    query.order_by_asc(Column::Id).limit(limit).all(&**tx).await?.into_iter().map(read).collect()
}

impl<'a> Clients<'a> {
    /// Of `scope`, in the caller's transaction.
    pub const fn new(tx: &'a Tx, scope: Scope) -> Self {
        Self { tx, scope }
    }

    fn select(&self) -> sea_orm::Select<Entity> {
        Entity::find().filter(Column::ShardId.eq(self.scope.shard)).filter(Column::ScopeId.eq(self.scope.id))
    }

    fn of(&self, environment: Option<EnvironmentId>) -> sea_orm::Select<Entity> {
        self.select().filter(match environment {
            Some(id) => Column::EnvironmentId.eq(id.uuid()),
            None => Column::EnvironmentId.is_null(),
        })
    }

    pub async fn get(&self, id: ClientId) -> Result<Option<Client>, DbErr> {
        self.select().filter(Column::Id.eq(id.uuid())).one(&**self.tx).await?.map(read).transpose()
    }

    pub async fn list(&self, filter: &Filter, limit: u64) -> Result<Vec<Client>, DbErr> {
        page(self.select(), self.tx, filter, limit).await
    }

    /// Those of an environment that its cell is told of: who is not revoked, and the last `tombstones` that are.
    pub async fn told(&self, environment: EnvironmentId, tombstones: u64) -> Result<Vec<Client>, DbErr> {
        let gone =
            self.of(Some(environment)).filter(Column::Revoked.eq(true)).order_by_desc(Column::UpdatedAt);
        let gone = gone.order_by_desc(Column::Id).limit(tombstones).all(&**self.tx).await?;
        let mut told = self.living(Some(environment)).await?;
        for row in gone {
            told.push(read(row)?);
        }
        told.sort_by_key(|client| client.id);
        Ok(told)
    }

    /// Those of an environment, or of the organization itself, that are not revoked.
    pub async fn living(&self, environment: Option<EnvironmentId>) -> Result<Vec<Client>, DbErr> {
        let query = self.of(environment).filter(Column::Revoked.eq(false));
        query.order_by_asc(Column::Id).all(&**self.tx).await?.into_iter().map(read).collect()
    }

    /// How many an environment, or the organization itself, has had.
    pub async fn count(&self, environment: Option<EnvironmentId>) -> Result<u64, DbErr> {
        self.of(environment).count(&**self.tx).await
    }

    pub async fn insert(&self, client: &Client) -> Result<(), DbErr> {
        let row = client::ActiveModel {
            shard_id: Set(self.scope.shard),
            scope_id: Set(self.scope.id),
            id: Set(client.id.uuid()),
            environment_id: Set(client.environment.map(EnvironmentId::uuid)),
            name: Set(client.name.clone()),
            proof: Set(to_json(&client.proof)?),
            scopes: Set(to_json(&client.scopes)?),
            binding: Set(to_json(&client.binding)?),
            epoch: Set(client.epoch),
            revoked: Set(client.revoked),
            version: Set(client.version),
            created_at: Set(client.created_at),
            updated_at: Set(client.updated_at),
            granted_at: Set(client.granted_at),
        };
        Entity::insert(row).exec_without_returning(&**self.tx).await.map(drop)
    }

    /// Writes all that may change of `after`, if the row still has the version of `before`.
    pub async fn update(&self, before: &Client, after: &Client) -> Result<(), DbErr> {
        let updated = Entity::update_many()
            .col_expr(Column::Name, Expr::val(after.name.clone()))
            .col_expr(Column::Proof, Expr::val(to_json(&after.proof)?))
            .col_expr(Column::Scopes, Expr::val(to_json(&after.scopes)?))
            .col_expr(Column::Epoch, Expr::val(after.epoch))
            .col_expr(Column::Revoked, Expr::val(after.revoked))
            .col_expr(Column::Version, Expr::val(after.version))
            .col_expr(Column::UpdatedAt, Expr::val(after.updated_at))
            .col_expr(Column::GrantedAt, Expr::val(after.granted_at))
            .filter(Column::ShardId.eq(self.scope.shard))
            .filter(Column::ScopeId.eq(self.scope.id))
            .filter(Column::Id.eq(before.id.uuid()))
            .filter(Column::Version.eq(before.version))
            .exec(&**self.tx)
            .await?;
        if updated.rows_affected == 1 { Ok(()) } else { Err(DbErr::RecordNotUpdated) }
    }
}
