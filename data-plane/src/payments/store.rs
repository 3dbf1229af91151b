//! The tables of previews and payments.

use chrono::{DateTime, Utc};
use ledger::outcome::{Detail, Reason};
use platform::{
    ctx::Scope,
    db::{
        Role, Tx,
        schema::{Migration, Privilege, Table},
    },
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::Expr,
};
use sea_orm_migration::schema::{
    big_integer, big_integer_null, json_binary_null, string, string_null, timestamp_with_time_zone,
    timestamp_with_time_zone_null, uuid, uuid_null,
};
use tenants::{
    id::{AccountId, ClientId, PaymentId, PreviewId, TransferId},
    money::Money,
};
use uuid::Uuid;

use super::model::{Move, Order, Payment, Preview, Refusal, Settlement, Status};

/// Makes the tables.
pub const MIGRATION: Migration = Migration::new("m0022_payments", || {
    vec![
        Table::of_environment("payment_preview")
            .column(uuid("id"))
            .column(uuid("debit_account_id"))
            .column(uuid("credit_account_id"))
            .column(big_integer("amount"))
            .column(string("currency"))
            .column(string_null("reference"))
            .column(big_integer("available"))
            .column(string("actor"))
            .column(timestamp_with_time_zone("created_at"))
            .column(timestamp_with_time_zone("expires_at"))
            .column(uuid_null("payment_id"))
            .key(&["id"])
            .check("amount > 0")
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant_columns(Role::App, Privilege::Update, &["payment_id"])
            .grant(Role::Worker, &[Privilege::Select, Privilege::Delete]),
        Table::of_environment("payment")
            .column(uuid("id"))
            .column(uuid("preview_id"))
            .column(string_null("external_id"))
            .column(uuid("debit_account_id"))
            .column(uuid("credit_account_id"))
            .column(big_integer("amount"))
            .column(string("currency"))
            .column(string_null("reference"))
            .column(string("status"))
            .column(string_null("reason"))
            .column(json_binary_null("detail"))
            .column(uuid_null("transfer_id"))
            .column(big_integer_null("settled_amount"))
            .column(uuid_null("client_id"))
            .column(string("request_id"))
            .column(string("idempotency_key"))
            .column(timestamp_with_time_zone("created_at"))
            .column(timestamp_with_time_zone("expires_at"))
            .column(timestamp_with_time_zone_null("authorised_at"))
            .column(timestamp_with_time_zone_null("ended_at"))
            .key(&["id"])
            .foreign(&["preview_id"], "payment_preview", &["id"])
            .unique(&["preview_id"])
            .unique(&["external_id"])
            .index(&["debit_account_id", "id"])
            .index(&["credit_account_id", "id"])
            .index(&["status", "id"])
            .check("amount > 0")
            .check("status IN ('created', 'authorised', 'settled', 'rejected', 'expired')")
            .check("(status IN ('settled', 'rejected', 'expired')) = (ended_at IS NOT NULL)")
            .check("(status = 'settled') = (transfer_id IS NOT NULL)")
            .check("(status = 'settled') = (settled_amount IS NOT NULL)")
            .check("(status IN ('rejected', 'expired')) = (reason IS NOT NULL)")
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant_columns(
                Role::App,
                Privilege::Update,
                &["status", "reason", "detail", "transfer_id", "settled_amount", "authorised_at", "ended_at"],
            )
            .grant(Role::Worker, &[Privilege::Select, Privilege::Delete]),
    ]
});

mod preview {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "payment_preview")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub environment_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub debit_account_id: Uuid,
        pub credit_account_id: Uuid,
        pub amount: i64,
        pub currency: String,
        pub reference: Option<String>,
        pub available: i64,
        pub actor: String,
        pub created_at: DateTimeUtc,
        pub expires_at: DateTimeUtc,
        pub payment_id: Option<Uuid>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod payment {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "payment")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub environment_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub preview_id: Uuid,
        pub external_id: Option<String>,
        pub debit_account_id: Uuid,
        pub credit_account_id: Uuid,
        pub amount: i64,
        pub currency: String,
        pub reference: Option<String>,
        pub status: String,
        pub reason: Option<String>,
        pub detail: Option<Json>,
        pub transfer_id: Option<Uuid>,
        pub settled_amount: Option<i64>,
        pub client_id: Option<Uuid>,
        pub request_id: String,
        pub idempotency_key: String,
        pub created_at: DateTimeUtc,
        pub expires_at: DateTimeUtc,
        pub authorised_at: Option<DateTimeUtc>,
        pub ended_at: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use payment::Column;

/// The payments a list asks for.
#[derive(Debug, Default)]
pub struct Filter {
    /// After this id.
    pub after: Option<PaymentId>,
    /// With this id of the caller's.
    pub external_id: Option<String>,
    /// From or to this account.
    pub account: Option<AccountId>,
    /// In this status.
    pub status: Option<Status>,
    /// Made at or after.
    pub from: Option<DateTime<Utc>>,
    /// Made before.
    pub until: Option<DateTime<Utc>>,
}

/// The store of one environment's previews and payments, inside one transaction.
pub struct Payments<'a> {
    tx: &'a Tx,
    scope: Scope,
}

impl<'a> Payments<'a> {
    /// Of `scope`, in the caller's transaction.
    pub const fn new(tx: &'a Tx, scope: Scope) -> Self {
        Self { tx, scope }
    }

    /// Adds a preview.
    pub async fn insert_preview(&self, new: &Preview) -> Result<(), DbErr> {
        let row = preview::ActiveModel {
            shard_id: Set(self.scope.shard),
            environment_id: Set(self.scope.id),
            id: Set(new.id.uuid()),
            debit_account_id: Set(new.order.debit.uuid()),
            credit_account_id: Set(new.order.credit.uuid()),
            amount: Set(new.order.money.amount),
            currency: Set(new.order.money.currency.code().to_owned()),
            reference: Set(new.order.reference.clone()),
            available: Set(new.available),
            actor: Set(new.actor.clone()),
            created_at: Set(new.created_at),
            expires_at: Set(new.expires_at),
            payment_id: Set(new.payment.map(PaymentId::uuid)),
        };
        preview::Entity::insert(row).exec_without_returning(&**self.tx).await.map(drop)
    }

    /// The preview of this id.
    pub async fn preview(&self, id: PreviewId) -> Result<Option<Preview>, DbErr> {
        let row = preview::Entity::find()
            .filter(preview::Column::ShardId.eq(self.scope.shard))
            .filter(preview::Column::EnvironmentId.eq(self.scope.id))
            .filter(preview::Column::Id.eq(id.uuid()))
            .one(&**self.tx)
            .await?;
        row.map(read_preview).transpose()
    }

    /// Uses a preview for a payment, if it was not used before; the row stays locked until the transaction ends.
    pub async fn use_preview(&self, id: PreviewId, payment: PaymentId) -> Result<bool, DbErr> {
        let updated = preview::Entity::update_many()
            .col_expr(preview::Column::PaymentId, Expr::val(payment.uuid()))
            .filter(preview::Column::ShardId.eq(self.scope.shard))
            .filter(preview::Column::EnvironmentId.eq(self.scope.id))
            .filter(preview::Column::Id.eq(id.uuid()))
            .filter(preview::Column::PaymentId.is_null())
            .exec(&**self.tx)
            .await?;
        Ok(updated.rows_affected == 1)
    }

    /// Adds a payment.
    pub async fn insert(&self, new: &Payment) -> Result<(), DbErr> {
        let row = payment::ActiveModel {
            shard_id: Set(self.scope.shard),
            environment_id: Set(self.scope.id),
            id: Set(new.id.uuid()),
            preview_id: Set(new.preview.uuid()),
            external_id: Set(new.external_id.clone()),
            debit_account_id: Set(new.order.debit.uuid()),
            credit_account_id: Set(new.order.credit.uuid()),
            amount: Set(new.order.money.amount),
            currency: Set(new.order.money.currency.code().to_owned()),
            reference: Set(new.order.reference.clone()),
            status: Set(new.status.name().to_owned()),
            client_id: Set(new.client.map(ClientId::uuid)),
            request_id: Set(new.request_id.clone()),
            idempotency_key: Set(new.key.clone()),
            created_at: Set(new.created_at),
            expires_at: Set(new.expires_at),
            ..Default::default()
        };
        payment::Entity::insert(row).exec_without_returning(&**self.tx).await.map(drop)
    }

    fn select(&self) -> sea_orm::Select<payment::Entity> {
        payment::Entity::find()
            .filter(Column::ShardId.eq(self.scope.shard))
            .filter(Column::EnvironmentId.eq(self.scope.id))
    }

    /// The payment of this id.
    pub async fn get(&self, id: PaymentId) -> Result<Option<Payment>, DbErr> {
        let row = self.select().filter(Column::Id.eq(id.uuid())).one(&**self.tx).await?;
        row.map(read).transpose()
    }

    /// At most `limit` payments, in the order of their ids.
    pub async fn list(&self, filter: &Filter, limit: u64) -> Result<Vec<Payment>, DbErr> {
        let mut query = self.select();
        if let Some(after) = filter.after {
            query = query.filter(Column::Id.gt(after.uuid()));
        }
        if let Some(external_id) = &filter.external_id {
            query = query.filter(Column::ExternalId.eq(external_id));
        }
        if let Some(account) = filter.account {
            let either = Condition::any()
                .add(Column::DebitAccountId.eq(account.uuid()))
                .add(Column::CreditAccountId.eq(account.uuid()));
            query = query.filter(either);
        }
        if let Some(status) = filter.status {
            query = query.filter(Column::Status.eq(status.name()));
        }
        if let Some(from) = filter.from {
            query = query.filter(Column::CreatedAt.gte(from));
        }
        if let Some(before) = filter.until {
            query = query.filter(Column::CreatedAt.lt(before));
        }
        let rows = query.order_by_asc(Column::Id).limit(limit).all(&**self.tx).await?;
        rows.into_iter().map(read).collect()
    }

    /// Whether there is a payment whose status is not final.
    pub async fn any_open(&self) -> Result<bool, DbErr> {
        let open = [Status::Created, Status::Authorised].map(Status::name);
        let found = self.select().filter(Column::Status.is_in(open)).limit(1).one(&**self.tx).await?;
        Ok(found.is_some())
    }

    /// Moves a payment on, if its status is still `from`.
    pub async fn advance(&self, id: PaymentId, from: Status, to: &Move) -> Result<bool, DbErr> {
        let mut update = payment::Entity::update_many()
            .col_expr(Column::Status, Expr::val(to.to.name()))
            .filter(Column::ShardId.eq(self.scope.shard))
            .filter(Column::EnvironmentId.eq(self.scope.id))
            .filter(Column::Id.eq(id.uuid()))
            .filter(Column::Status.eq(from.name()));
        update = match to.to {
            Status::Created | Status::Authorised => update.col_expr(Column::AuthorisedAt, Expr::val(to.at)),
            Status::Settled | Status::Rejected | Status::Expired => {
                update.col_expr(Column::EndedAt, Expr::val(to.at))
            }
        };
        if let Some(Refusal { reason, detail }) = &to.refusal {
            let detail = serde_json::to_value(detail).map_err(|error| DbErr::Json(error.to_string()))?;
            update = update
                .col_expr(Column::Reason, Expr::val(reason.code()))
                .col_expr(Column::Detail, Expr::val(detail));
        }
        if let Some(Settlement { transfer, amount }) = to.settlement {
            update = update
                .col_expr(Column::TransferId, Expr::val(transfer.uuid()))
                .col_expr(Column::SettledAmount, Expr::val(amount));
        }
        Ok(update.exec(&**self.tx).await?.rows_affected == 1)
    }
}

fn unreadable(what: &str, id: Uuid) -> DbErr {
    DbErr::Type(format!("the {what} of payment or preview {id} cannot be read"))
}

fn money(id: Uuid, amount: i64, currency: &str) -> Result<Money, DbErr> {
    Ok(Money::new(amount, currency.parse().map_err(|_| unreadable("currency", id))?))
}

fn read_preview(row: preview::Model) -> Result<Preview, DbErr> {
    Ok(Preview {
        id: PreviewId::from_uuid(row.id),
        order: Order {
            debit: AccountId::from_uuid(row.debit_account_id),
            credit: AccountId::from_uuid(row.credit_account_id),
            money: money(row.id, row.amount, &row.currency)?,
            reference: row.reference,
        },
        available: row.available,
        actor: row.actor,
        created_at: row.created_at,
        expires_at: row.expires_at,
        payment: row.payment_id.map(PaymentId::from_uuid),
    })
}

fn read(row: payment::Model) -> Result<Payment, DbErr> {
    let refusal = match row.reason {
        None => None,
        Some(code) => {
            let reason = Reason::ALL.iter().copied().find(|reason| reason.code() == code);
            let detail = row.detail.map(serde_json::from_value::<Detail>).transpose();
            Some(Refusal {
                reason: reason.ok_or_else(|| unreadable("reason", row.id))?,
                detail: detail.map_err(|_| unreadable("detail", row.id))?.unwrap_or(Detail::None),
            })
        }
    };
    let settlement = row.transfer_id.zip(row.settled_amount);
    Ok(Payment {
        id: PaymentId::from_uuid(row.id),
        preview: PreviewId::from_uuid(row.preview_id),
        external_id: row.external_id,
        order: Order {
            debit: AccountId::from_uuid(row.debit_account_id),
            credit: AccountId::from_uuid(row.credit_account_id),
            money: money(row.id, row.amount, &row.currency)?,
            reference: row.reference,
        },
        status: Status::of(&row.status).ok_or_else(|| unreadable("status", row.id))?,
        refusal,
        settlement: settlement
            .map(|(transfer, amount)| Settlement { transfer: TransferId::from_uuid(transfer), amount }),
        client: row.client_id.map(ClientId::from_uuid),
        request_id: row.request_id,
        key: row.idempotency_key,
        created_at: row.created_at,
        expires_at: row.expires_at,
        authorised_at: row.authorised_at,
        ended_at: row.ended_at,
    })
}
