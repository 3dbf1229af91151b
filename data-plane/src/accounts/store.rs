//! The tables `account`, `account_move`, `account_block` and `account_block_release`.

use chrono::{DateTime, Utc};
use ledger::books;
use platform::{
    ctx::{Ctx, Scope},
    db::{
        Role, Tx,
        schema::{Migration, Privilege, Table},
    },
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, ExprTrait, OnConflict},
};
use sea_orm_migration::schema::{
    big_integer, json_binary, string, string_null, timestamp_with_time_zone, uuid, uuid_null,
};
use tenants::id::{AccountId, PartyId, TransferId};

use super::{
    export::{BlockLine, MoveLine},
    model::{Order, Owner, Reason, ReasonCode, Record, Standing},
};

/// Makes the tables. An account's row is not deleted while its environment lives; its moves, its blocks and their releases
/// are never changed.
pub const MIGRATION: Migration = Migration::new("m0021_accounts", || {
    vec![
        Table::of_environment("account")
            .column(uuid("id"))
            .column(uuid_null("party_id"))
            .column(string_null("name"))
            .column(string_null("external_id"))
            .column(json_binary("metadata"))
            .column(big_integer("moves"))
            .column(timestamp_with_time_zone("opened_at"))
            .key(&["id"])
            .foreign(&["id"], "ledger_account", &["id"])
            .foreign(&["party_id"], "party", &["id"])
            .check("(party_id IS NULL) <> (name IS NULL)")
            .unique(&["external_id"])
            .index(&["party_id", "id"])
            .index(&["opened_at", "id"])
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant_columns(Role::App, Privilege::Update, &["moves"])
            .grant(Role::Worker, &[Privilege::Select, Privilege::Delete]),
        Table::of_environment("account_move")
            .column(uuid("account_id"))
            .column(big_integer("number"))
            .column(string("to_state"))
            .column(string("reason"))
            .column(string_null("detail"))
            .column(string("actor"))
            .column(string("request_id"))
            .column(timestamp_with_time_zone("moved_at"))
            .key(&["account_id", "number"])
            .foreign(&["account_id"], "account", &["id"])
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant(Role::Worker, &[Privilege::Select, Privilege::Delete]),
        Table::of_environment("account_block")
            .column(uuid("hold_id"))
            .column(uuid("account_id"))
            .column(uuid("beneficiary_id"))
            .column(string("authority"))
            .column(string("reference"))
            .column(big_integer("amount"))
            .column(string("actor"))
            .column(timestamp_with_time_zone("ordered_at"))
            .key(&["hold_id"])
            .foreign(&["account_id"], "account", &["id"])
            .foreign(&["beneficiary_id"], "account", &["id"])
            .index(&["account_id", "hold_id"])
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant(Role::Worker, &[Privilege::Select, Privilege::Delete]),
        Table::of_environment("account_block_release")
            .column(uuid("hold_id"))
            .column(string("reason"))
            .column(string_null("detail"))
            .column(string("actor"))
            .column(string("request_id"))
            .column(timestamp_with_time_zone("asked_at"))
            .key(&["hold_id"])
            .foreign(&["hold_id"], "account_block", &["hold_id"])
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant(Role::Worker, &[Privilege::Select, Privilege::Delete]),
    ]
});

mod account {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "account")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub environment_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub party_id: Option<Uuid>,
        pub name: Option<String>,
        pub external_id: Option<String>,
        pub metadata: Json,
        pub moves: i64,
        pub opened_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod account_move {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "account_move")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub environment_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub account_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub number: i64,
        pub to_state: String,
        pub reason: String,
        pub detail: Option<String>,
        pub actor: String,
        pub request_id: String,
        pub moved_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod account_block {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "account_block")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub environment_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub hold_id: Uuid,
        pub account_id: Uuid,
        pub beneficiary_id: Uuid,
        pub authority: String,
        pub reference: String,
        pub amount: i64,
        pub actor: String,
        pub ordered_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod account_block_release {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "account_block_release")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub environment_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub hold_id: Uuid,
        pub reason: String,
        pub detail: Option<String>,
        pub actor: String,
        pub request_id: String,
        pub asked_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use account::Column;

/// The accounts that a list asks for.
#[derive(Debug, Default)]
pub struct Filter {
    /// After this id.
    pub after: Option<AccountId>,
    /// Of this party.
    pub party: Option<PartyId>,
    /// With this id of the caller's.
    pub external_id: Option<String>,
    /// In this state.
    pub state: Option<Standing>,
    /// Opened at this instant or later.
    pub from: Option<DateTime<Utc>>,
    /// Opened before this instant.
    pub until: Option<DateTime<Utc>>,
}

/// The rows of one environment's accounts, inside one transaction.
pub struct Accounts<'a> {
    tx: &'a Tx,
    scope: Scope,
}

fn broken(what: &str) -> DbErr {
    DbErr::Type(format!("an account's row has {what} that this program does not write"))
}

fn record(row: account::Model) -> Result<Record, DbErr> {
    let owner = match (row.party_id, row.name) {
        (Some(party), None) => Owner::Customer(PartyId::from_uuid(party)),
        (None, Some(name)) => Owner::Internal(name),
        _ => return Err(broken("an owner")),
    };
    Ok(Record {
        id: AccountId::from_uuid(row.id),
        owner,
        external_id: row.external_id,
        metadata: serde_json::from_value(row.metadata).map_err(|_| broken("metadata"))?,
        moves: row.moves,
        opened_at: row.opened_at,
    })
}

impl<'a> Accounts<'a> {
    /// Those of `scope`, through this transaction of it.
    pub fn new(tx: &'a Tx, scope: Scope) -> Self {
        Self { tx, scope }
    }

    fn all(&self) -> sea_orm::Select<account::Entity> {
        account::Entity::find()
            .filter(Column::ShardId.eq(self.scope.shard))
            .filter(Column::EnvironmentId.eq(self.scope.id))
    }

    /// Adds an account; the ledger's row is there.
    ///
    /// # Errors
    /// A unique violation if the `external_id` is taken.
    pub async fn insert(&self, record: &Record) -> Result<(), DbErr> {
        let (party, name) = match &record.owner {
            Owner::Customer(party) => (Some(party.uuid()), None),
            Owner::Internal(name) => (None, Some(name.clone())),
        };
        let row = account::ActiveModel {
            shard_id: Set(self.scope.shard),
            environment_id: Set(self.scope.id),
            id: Set(record.id.uuid()),
            party_id: Set(party),
            name: Set(name),
            external_id: Set(record.external_id.clone()),
            metadata: Set(serde_json::to_value(&record.metadata).map_err(|_| broken("metadata"))?),
            moves: Set(record.moves),
            opened_at: Set(record.opened_at),
        };
        account::Entity::insert(row).exec_without_returning(&**self.tx).await.map(drop)
    }

    /// An account.
    ///
    /// # Errors
    /// The database's.
    pub async fn get(&self, id: AccountId) -> Result<Option<Record>, DbErr> {
        self.all().filter(Column::Id.eq(id.uuid())).one(&**self.tx).await?.map(record).transpose()
    }

    /// At most `limit` accounts that satisfy `filter`, in the order of their ids.
    ///
    /// # Errors
    /// The database's.
    pub async fn list(&self, filter: &Filter, limit: u64) -> Result<Vec<Record>, DbErr> {
        let mut query = self.all();
        if let Some(after) = filter.after {
            query = query.filter(Column::Id.gt(after.uuid()));
        }
        if let Some(party) = filter.party {
            query = query.filter(Column::PartyId.eq(party.uuid()));
        }
        if let Some(external_id) = &filter.external_id {
            query = query.filter(Column::ExternalId.eq(external_id));
        }
        if let Some(state) = filter.state {
            query = query.filter(Column::Id.in_subquery(books::ids_in_states(self.scope, &state.states())));
        }
        if let Some(from) = filter.from {
            query = query.filter(Column::OpenedAt.gte(from));
        }
        if let Some(until) = filter.until {
            query = query.filter(Column::OpenedAt.lt(until));
        }
        let rows = query.order_by_asc(Column::Id).limit(limit).all(&**self.tx).await?;
        rows.into_iter().map(record).collect()
    }

    /// Records that `account` has moved to a state, in the transaction that moves it; `account` is the row as it was
    /// before, and stays locked until the transaction ends.
    ///
    /// # Errors
    /// The database's.
    pub async fn moved(&self, ctx: &Ctx, id: AccountId, to: &str, reason: &Reason) -> Result<(), DbErr> {
        account::Entity::update_many()
            .col_expr(Column::Moves, Expr::col(Column::Moves).add(1))
            .filter(Column::ShardId.eq(self.scope.shard))
            .filter(Column::EnvironmentId.eq(self.scope.id))
            .filter(Column::Id.eq(id.uuid()))
            .exec(&**self.tx)
            .await?;
        let now = self.get(id).await?.ok_or_else(|| broken("no counterpart"))?;
        let row = account_move::ActiveModel {
            shard_id: Set(self.scope.shard),
            environment_id: Set(self.scope.id),
            account_id: Set(id.uuid()),
            number: Set(now.moves),
            to_state: Set(to.to_owned()),
            reason: Set(reason.code.name().to_owned()),
            detail: Set(reason.detail.clone()),
            actor: Set(ctx.actor.to_string()),
            request_id: Set(ctx.request_id.to_string()),
            moved_at: Set(ctx.now()),
        };
        account_move::Entity::insert(row).exec_without_returning(&**self.tx).await.map(drop)
    }

    /// Why these accounts are in the state they are in; those that have never moved are not among them.
    ///
    /// # Errors
    /// The database's.
    pub async fn reasons(&self, records: &[Record]) -> Result<Vec<(AccountId, Reason)>, DbErr> {
        use account_move::Column;
        let moved: Vec<_> = records.iter().filter(|record| record.moves > 0).collect();
        if moved.is_empty() {
            return Ok(Vec::new());
        }
        let last = moved.iter().fold(sea_orm::Condition::any(), |any, record| {
            any.add(Column::AccountId.eq(record.id.uuid()).and(Column::Number.eq(record.moves)))
        });
        let rows = account_move::Entity::find()
            .filter(Column::ShardId.eq(self.scope.shard))
            .filter(Column::EnvironmentId.eq(self.scope.id))
            .filter(last)
            .all(&**self.tx)
            .await?;
        rows.into_iter()
            .map(|row| {
                let code = ReasonCode::of(&row.reason).ok_or_else(|| broken("a reason"))?;
                Ok((AccountId::from_uuid(row.account_id), Reason { code, detail: row.detail }))
            })
            .collect()
    }

    /// Records an authority's order before the ledger is asked to hold the amount under `hold`.
    ///
    /// # Errors
    /// The database's.
    pub async fn ordered(
        &self,
        ctx: &Ctx,
        hold: TransferId,
        id: AccountId,
        order: &Order,
    ) -> Result<(), DbErr> {
        let row = account_block::ActiveModel {
            shard_id: Set(self.scope.shard),
            environment_id: Set(self.scope.id),
            hold_id: Set(hold.uuid()),
            account_id: Set(id.uuid()),
            beneficiary_id: Set(order.beneficiary.uuid()),
            authority: Set(order.authority.clone()),
            reference: Set(order.reference.clone()),
            amount: Set(order.amount),
            actor: Set(ctx.actor.to_string()),
            ordered_at: Set(ctx.now()),
        };
        account_block::Entity::insert(row).exec_without_returning(&**self.tx).await.map(drop)
    }

    /// At most `limit` orders to block amounts of this account, oldest first, after this hold; with their holds and when
    /// they were recorded.
    ///
    /// # Errors
    /// The database's.
    pub async fn orders(
        &self,
        id: AccountId,
        after: Option<TransferId>,
        limit: u64,
    ) -> Result<Vec<(TransferId, Order, DateTime<Utc>)>, DbErr> {
        use account_block::Column;
        let rows = account_block::Entity::find()
            .filter(Column::ShardId.eq(self.scope.shard))
            .filter(Column::EnvironmentId.eq(self.scope.id))
            .filter(Column::AccountId.eq(id.uuid()))
            .filter(Column::HoldId.gt(after.map(TransferId::uuid).unwrap_or_default()))
            .order_by_asc(Column::HoldId)
            .limit(limit)
            .all(&**self.tx)
            .await?;
        let order =
            |row: account_block::Model| (TransferId::from_uuid(row.hold_id), order(&row), row.ordered_at);
        Ok(rows.into_iter().map(order).collect())
    }

    /// The order whose hold this is, with its account.
    ///
    /// # Errors
    /// The database's.
    pub async fn order(&self, hold: TransferId) -> Result<Option<(AccountId, Order)>, DbErr> {
        use account_block::Column;
        let row = account_block::Entity::find()
            .filter(Column::ShardId.eq(self.scope.shard))
            .filter(Column::EnvironmentId.eq(self.scope.id))
            .filter(Column::HoldId.eq(hold.uuid()))
            .one(&**self.tx)
            .await?;
        Ok(row.map(|row| (AccountId::from_uuid(row.account_id), order(&row))))
    }

    /// Why the releases of these blocks were asked for; those of which none was are not among them.
    ///
    /// # Errors
    /// The database's.
    pub async fn release_reasons(&self, holds: &[TransferId]) -> Result<Vec<(TransferId, Reason)>, DbErr> {
        use account_block_release::Column;
        let rows = account_block_release::Entity::find()
            .filter(Column::ShardId.eq(self.scope.shard))
            .filter(Column::EnvironmentId.eq(self.scope.id))
            .filter(Column::HoldId.is_in(holds.iter().map(|hold| hold.uuid())))
            .all(&**self.tx)
            .await?;
        rows.into_iter()
            .map(|row| {
                let code = ReasonCode::of(&row.reason).ok_or_else(|| broken("a reason"))?;
                Ok((TransferId::from_uuid(row.hold_id), Reason { code, detail: row.detail }))
            })
            .collect()
    }

    /// Records that a block is to be released, and why, before the ledger is asked to void the hold; a second time
    /// nothing changes.
    ///
    /// # Errors
    /// The database's.
    pub async fn releasing(&self, ctx: &Ctx, hold: TransferId, reason: &Reason) -> Result<(), DbErr> {
        use account_block_release::Column;
        let row = account_block_release::ActiveModel {
            shard_id: Set(self.scope.shard),
            environment_id: Set(self.scope.id),
            hold_id: Set(hold.uuid()),
            reason: Set(reason.code.name().to_owned()),
            detail: Set(reason.detail.clone()),
            actor: Set(ctx.actor.to_string()),
            request_id: Set(ctx.request_id.to_string()),
            asked_at: Set(ctx.now()),
        };
        let mut known = OnConflict::columns([Column::ShardId, Column::EnvironmentId, Column::HoldId]);
        account_block_release::Entity::insert(row)
            .on_conflict(known.do_nothing().to_owned())
            .exec_without_returning(&**self.tx)
            .await
            .map(drop)
    }

    /// Every move of the states of these accounts, in order.
    ///
    /// # Errors
    /// The database's.
    pub async fn moves_of(&self, ids: &[AccountId]) -> Result<Vec<(AccountId, MoveLine)>, DbErr> {
        use account_move::Column;
        let rows = account_move::Entity::find()
            .filter(Column::ShardId.eq(self.scope.shard))
            .filter(Column::EnvironmentId.eq(self.scope.id))
            .filter(Column::AccountId.is_in(ids.iter().map(|id| id.uuid())))
            .order_by_asc(Column::AccountId)
            .order_by_asc(Column::Number)
            .all(&**self.tx)
            .await?;
        rows.into_iter()
            .map(|row| {
                let code = ReasonCode::of(&row.reason).ok_or_else(|| broken("a reason"))?;
                let line = MoveLine {
                    number: row.number,
                    to: row.to_state,
                    reason: Reason { code, detail: row.detail },
                    actor: row.actor,
                    request_id: row.request_id,
                    moved_at: row.moved_at,
                };
                Ok((AccountId::from_uuid(row.account_id), line))
            })
            .collect()
    }

    /// Every authority's order to block amounts of these accounts, in order.
    ///
    /// # Errors
    /// The database's.
    pub async fn blocks_of(&self, ids: &[AccountId]) -> Result<Vec<(AccountId, BlockLine)>, DbErr> {
        use account_block::Column;
        let rows = account_block::Entity::find()
            .filter(Column::ShardId.eq(self.scope.shard))
            .filter(Column::EnvironmentId.eq(self.scope.id))
            .filter(Column::AccountId.is_in(ids.iter().map(|id| id.uuid())))
            .order_by_asc(Column::AccountId)
            .order_by_asc(Column::HoldId)
            .all(&**self.tx)
            .await?;
        let holds: Vec<TransferId> = rows.iter().map(|row| TransferId::from_uuid(row.hold_id)).collect();
        let mut released: std::collections::HashMap<_, _> =
            self.release_reasons(&holds).await?.into_iter().collect();
        let line = |row: account_block::Model| {
            let hold_id = TransferId::from_uuid(row.hold_id);
            let line = BlockLine {
                hold_id,
                authority: row.authority,
                reference: row.reference,
                amount: row.amount,
                beneficiary_id: AccountId::from_uuid(row.beneficiary_id),
                actor: row.actor,
                ordered_at: row.ordered_at,
                release_reason: released.remove(&hold_id),
            };
            (AccountId::from_uuid(row.account_id), line)
        };
        Ok(rows.into_iter().map(line).collect())
    }
}

fn order(row: &account_block::Model) -> Order {
    Order {
        authority: row.authority.clone(),
        reference: row.reference.clone(),
        amount: row.amount,
        beneficiary: AccountId::from_uuid(row.beneficiary_id),
    }
}
