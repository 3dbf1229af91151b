//! The tables `operation` and `operation_step`.

use chrono::{DateTime, Utc};
use platform::{
    ctx::Scope,
    db::{
        Role, Tx,
        schema::{Migration, Privilege, Table},
    },
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, TryInsertResult,
    sea_query::{Expr, OnConflict},
};
use sea_orm_migration::schema::{
    big_integer, boolean, string, string_null, text_null, timestamp_with_time_zone,
    timestamp_with_time_zone_null, uuid,
};
use tenants::id::{OperationId, OrganizationId};

use super::model::{Operation, Progress, Reason, State, Step};
use crate::{
    PLATFORM,
    stored::{self, wrong},
};

/// Makes the tables. Of each subject one operation is open at a time.
pub const MIGRATION: Migration = Migration::new("m0120_operations", || {
    vec![
        Table::of_scope("operation")
            .column(uuid("id"))
            .column(string("kind"))
            .column(string("subject"))
            .column(string("state"))
            .column(string_null("reason_code"))
            .column(text_null("reason_detail"))
            .column(string("actor"))
            .column(big_integer("generation"))
            .column(big_integer("steps_done"))
            .column(big_integer("steps_of"))
            .column(boolean("cancellable"))
            .column(timestamp_with_time_zone_null("cancel_asked_at"))
            .column(timestamp_with_time_zone("created_at"))
            .column(timestamp_with_time_zone_null("ended_at"))
            .key(&["id"])
            .unique_where(&["subject"], "ended_at IS NULL")
            .index(&["subject", "id"])
            .shard_unique(&["id"])
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant_columns(
                Role::App,
                Privilege::Update,
                &[
                    "state",
                    "reason_code",
                    "reason_detail",
                    "steps_done",
                    "cancellable",
                    "cancel_asked_at",
                    "ended_at",
                ],
            )
            .grant(Role::Worker, &[Privilege::Select]),
        Table::of_scope("operation_step")
            .column(uuid("operation_id"))
            .column(big_integer("seq"))
            .column(string("name"))
            .column(string("state"))
            .column(text_null("detail"))
            .column(big_integer("steps_done"))
            .column(timestamp_with_time_zone("at"))
            .key(&["operation_id", "seq"])
            .foreign(&["operation_id"], "operation", &["id"])
            .grant(Role::App, &[Privilege::Select, Privilege::Insert]),
    ]
});

mod operation {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "operation")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub kind: String,
        pub subject: String,
        pub state: String,
        pub reason_code: Option<String>,
        pub reason_detail: Option<String>,
        pub actor: String,
        pub generation: i64,
        pub steps_done: i64,
        pub steps_of: i64,
        pub cancellable: bool,
        pub cancel_asked_at: Option<DateTimeUtc>,
        pub created_at: DateTimeUtc,
        pub ended_at: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod step {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "operation_step")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub operation_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub seq: i64,
        pub name: String,
        pub state: String,
        pub detail: Option<String>,
        pub steps_done: i64,
        pub at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use operation::{Column, Entity};

/// The operations a list asks for.
#[derive(Debug, Default)]
pub struct Filter {
    /// After this id.
    pub after: Option<OperationId>,
    /// About this.
    pub subject: Option<String>,
    /// In this state.
    pub state: Option<State>,
}

/// The store of one organization's operations, inside one transaction.
pub struct Operations<'a> {
    tx: &'a Tx,
    scope: Scope,
}

fn read(row: operation::Model) -> Result<Operation, DbErr> {
    Ok(Operation {
        id: OperationId::from_uuid(row.id),
        organization: OrganizationId::from_uuid(row.scope_id),
        kind: row.kind.parse().map_err(wrong)?,
        subject: row.subject,
        state: row.state.parse().map_err(wrong)?,
        reason: row.reason_code.map(|code| Reason { code, detail: row.reason_detail }),
        actor: row.actor,
        generation: row.generation,
        progress: Progress { done: row.steps_done, of: row.steps_of },
        cancellable: row.cancellable,
        cancel_asked_at: row.cancel_asked_at,
        created_at: row.created_at,
        ended_at: row.ended_at,
    })
}

fn read_step(row: step::Model) -> Result<Step, DbErr> {
    Ok(Step {
        seq: row.seq,
        name: row.name,
        state: row.state.parse().map_err(wrong)?,
        detail: row.detail,
        done: row.steps_done,
        at: row.at,
    })
}

/// The operations of all organizations, for `system.rs` only.
pub async fn list_all(tx: &Tx, filter: &Filter, limit: u64) -> Result<Vec<Operation>, DbErr> {
    page(Entity::find().filter(Column::ShardId.eq(PLATFORM.shard)), tx, filter, limit).await
}

/// Whose operation this is, for `system.rs` only.
pub async fn organization_of(tx: &Tx, id: OperationId) -> Result<Option<OrganizationId>, DbErr> {
    let columns = [Column::ShardId, Column::ScopeId, Column::Id];
    stored::organization_of::<Entity>(tx, columns, id.uuid()).await
}

async fn page(
    mut query: sea_orm::Select<Entity>,
    tx: &Tx,
    filter: &Filter,
    limit: u64,
) -> Result<Vec<Operation>, DbErr> {
    if let Some(after) = filter.after {
        query = query.filter(Column::Id.gt(after.uuid()));
    }
    if let Some(subject) = &filter.subject {
        query = query.filter(Column::Subject.eq(subject));
    }
    if let Some(state) = filter.state {
        query = query.filter(Column::State.eq(state.as_str()));
    }
    query.order_by_asc(Column::Id).limit(limit).all(&**tx).await?.into_iter().map(read).collect()
}

impl<'a> Operations<'a> {
    /// Of `scope`, in the caller's transaction.
    pub const fn new(tx: &'a Tx, scope: Scope) -> Self {
        Self { tx, scope }
    }

    fn select(&self) -> sea_orm::Select<Entity> {
        Entity::find().filter(Column::ShardId.eq(self.scope.shard)).filter(Column::ScopeId.eq(self.scope.id))
    }

    pub async fn get(&self, id: OperationId) -> Result<Option<Operation>, DbErr> {
        self.select().filter(Column::Id.eq(id.uuid())).one(&**self.tx).await?.map(read).transpose()
    }

    /// The one about `subject` that has not ended.
    pub async fn open(&self, subject: &str) -> Result<Option<Operation>, DbErr> {
        let query = self.select().filter(Column::Subject.eq(subject)).filter(Column::EndedAt.is_null());
        query.one(&**self.tx).await?.map(read).transpose()
    }

    pub async fn list(&self, filter: &Filter, limit: u64) -> Result<Vec<Operation>, DbErr> {
        page(self.select(), self.tx, filter, limit).await
    }

    /// Whether no other operation about the subject was open; this one is now.
    pub async fn insert(&self, operation: &Operation) -> Result<bool, DbErr> {
        let row = operation::ActiveModel {
            shard_id: Set(self.scope.shard),
            scope_id: Set(self.scope.id),
            id: Set(operation.id.uuid()),
            kind: Set(operation.kind.as_str().to_owned()),
            subject: Set(operation.subject.clone()),
            state: Set(operation.state.as_str().to_owned()),
            reason_code: Set(None),
            reason_detail: Set(None),
            actor: Set(operation.actor.clone()),
            generation: Set(operation.generation),
            steps_done: Set(operation.progress.done),
            steps_of: Set(operation.progress.of),
            cancellable: Set(operation.cancellable),
            cancel_asked_at: Set(None),
            created_at: Set(operation.created_at),
            ended_at: Set(None),
        };
        // A violation would end the caller's transaction on PostgreSQL; a row that is not written does not.
        let any = OnConflict::new().do_nothing().to_owned();
        let inserted =
            Entity::insert(row).on_conflict(any).try_insert().exec_without_returning(&**self.tx).await?;
        Ok(matches!(inserted, TryInsertResult::Inserted(rows) if rows > 0))
    }

    fn update_open(&self, id: OperationId) -> sea_orm::UpdateMany<Entity> {
        Entity::update_many()
            .filter(Column::ShardId.eq(self.scope.shard))
            .filter(Column::ScopeId.eq(self.scope.id))
            .filter(Column::Id.eq(id.uuid()))
            .filter(Column::EndedAt.is_null())
    }

    /// Says that an open operation is running, whether it may still be cancelled, and that so many steps of its way are
    /// done, if that is more than before.
    pub async fn run(&self, id: OperationId, cancellable: bool, done: i64) -> Result<bool, DbErr> {
        let further = Expr::case(Expr::col(Column::StepsDone).lt(done), Expr::val(done));
        let updated = self
            .update_open(id)
            .col_expr(Column::State, Expr::val(State::Running.as_str()))
            .col_expr(Column::Cancellable, Expr::val(cancellable))
            .col_expr(Column::StepsDone, further.finally(Expr::col(Column::StepsDone)).into())
            .exec(&**self.tx)
            .await?;
        Ok(updated.rows_affected == 1)
    }

    /// Ends an open operation; whether it was open.
    pub async fn end(
        &self,
        id: OperationId,
        state: State,
        reason: Option<&Reason>,
        at: DateTime<Utc>,
    ) -> Result<bool, DbErr> {
        // Steps that nobody saw on the way are done too.
        let done = if state == State::Succeeded { Column::StepsOf } else { Column::StepsDone };
        let updated = self
            .update_open(id)
            .col_expr(Column::State, Expr::val(state.as_str()))
            .col_expr(Column::StepsDone, Expr::col(done))
            .col_expr(Column::ReasonCode, Expr::val(reason.map(|reason| reason.code.clone())))
            .col_expr(Column::ReasonDetail, Expr::val(reason.and_then(|reason| reason.detail.clone())))
            .col_expr(Column::Cancellable, Expr::val(false))
            .col_expr(Column::EndedAt, Expr::val(at))
            .exec(&**self.tx)
            .await?;
        Ok(updated.rows_affected == 1)
    }

    /// Notes that an open operation is to be cancelled; whether it may be.
    pub async fn ask_cancel(&self, id: OperationId, at: DateTime<Utc>) -> Result<bool, DbErr> {
        let updated = self
            .update_open(id)
            .filter(Column::Cancellable.eq(true))
            .col_expr(Column::CancelAskedAt, Expr::val(at))
            .exec(&**self.tx)
            .await?;
        Ok(updated.rows_affected == 1)
    }

    fn steps(&self, id: OperationId) -> sea_orm::Select<step::Entity> {
        step::Entity::find()
            .filter(step::Column::ShardId.eq(self.scope.shard))
            .filter(step::Column::ScopeId.eq(self.scope.id))
            .filter(step::Column::OperationId.eq(id.uuid()))
    }

    /// The steps behind `after`, oldest first.
    pub async fn list_steps(&self, id: OperationId, after: i64) -> Result<Vec<Step>, DbErr> {
        let query = self.steps(id).filter(step::Column::Seq.gt(after)).order_by_asc(step::Column::Seq);
        query.all(&**self.tx).await?.into_iter().map(read_step).collect()
    }

    pub async fn last_step(&self, id: OperationId) -> Result<Option<Step>, DbErr> {
        let query = self.steps(id).order_by_desc(step::Column::Seq);
        query.one(&**self.tx).await?.map(read_step).transpose()
    }

    pub async fn add_step(&self, id: OperationId, step: &Step) -> Result<(), DbErr> {
        let row = step::ActiveModel {
            shard_id: Set(self.scope.shard),
            scope_id: Set(self.scope.id),
            operation_id: Set(id.uuid()),
            seq: Set(step.seq),
            name: Set(step.name.clone()),
            state: Set(step.state.as_str().to_owned()),
            detail: Set(step.detail.clone()),
            steps_done: Set(step.done),
            at: Set(step.at),
        };
        step::Entity::insert(row).exec_without_returning(&**self.tx).await.map(drop)
    }
}
