//! The ledger's tables.
//!
//! Amounts are minor units. Rows of `ledger_transfer` and `ledger_batch` are never deleted, and what they say in numbers
//! and ids is never updated: no role has the grant. The worker takes the words away when an environment has ended, and the
//! hash chain shows any other change. The app role opens accounts, changes their state and sets limits; it cannot touch a
//! total.

use platform::db::{
    Role,
    schema::{Migration, Privilege, Table},
};
use sea_orm_migration::schema::{
    big_integer, big_integer_null, binary, boolean, integer, small_integer, string, string_null,
    timestamp_with_time_zone, timestamp_with_time_zone_null, uuid, uuid_null,
};

/// Makes every table of the ledger.
pub const MIGRATION: Migration = Migration::new("m0010_ledger", || {
    vec![head(), batch(), account(), limit(), transfer(), hold(), rejection()]
});

/// One row per shard, the guard of its writers.
fn head() -> Table {
    Table::of_shard("ledger_head")
        .column(big_integer("batch"))
        .column(big_integer("seq"))
        .column(binary("hash"))
        .column(timestamp_with_time_zone("booked_at"))
        .key(&[])
        .grant(Role::Ledger, &[Privilege::Select, Privilege::Insert, Privilege::Update])
}

/// The hash chain, a row per batch.
fn batch() -> Table {
    Table::of_shard("ledger_batch")
        .column(big_integer("batch"))
        .column(big_integer("first_seq"))
        .column(big_integer("last_seq"))
        .column(binary("previous_hash"))
        .column(binary("hash"))
        .column(timestamp_with_time_zone("booked_at"))
        .key(&["batch"])
        .grant(Role::Ledger, &[Privilege::Select, Privilege::Insert])
}

fn account() -> Table {
    Table::of_environment("ledger_account")
        .column(uuid("id"))
        .column(small_integer("class"))
        .column(string("currency"))
        .column(small_integer("state"))
        .column(boolean("may_overdraw"))
        .column(big_integer("limits_revision"))
        .column(big_integer("debits_posted"))
        .column(big_integer("credits_posted"))
        .column(big_integer("debits_held"))
        .column(big_integer("credits_held"))
        .column(timestamp_with_time_zone("last_effective_at"))
        .column(timestamp_with_time_zone("opened_at"))
        .key(&["id"])
        .fillfactor(50)
        .check("debits_posted >= 0 AND credits_posted >= 0 AND debits_held >= 0 AND credits_held >= 0")
        .grant(Role::Ledger, &[Privilege::Select, Privilege::Update])
        .grant(Role::App, &[Privilege::Select, Privilege::Insert])
        .grant_columns(Role::App, Privilege::Update, &["state", "limits_revision"])
}

fn limit() -> Table {
    Table::of_environment("ledger_limit")
        .column(uuid("account_id"))
        .column(small_integer("direction"))
        .column(small_integer("time_window"))
        .column(big_integer("maximum"))
        .column(string("time_zone"))
        .column(big_integer("used"))
        .column(timestamp_with_time_zone("started_at"))
        .key(&["account_id", "direction", "time_window"])
        .fillfactor(50)
        .foreign(&["account_id"], "ledger_account", &["id"])
        .grant(Role::Ledger, &[Privilege::Select, Privilege::Update])
        .grant(Role::App, &[Privilege::Select, Privilege::Insert, Privilege::Delete])
        .grant_columns(Role::App, Privilege::Update, &["maximum", "time_zone"])
        .grant(Role::Worker, &[Privilege::Select, Privilege::Delete])
}

fn transfer() -> Table {
    Table::of_environment("ledger_transfer")
        .column(uuid("id"))
        .column(big_integer("seq"))
        .column(small_integer("kind"))
        .column(uuid("debit_account"))
        .column(uuid("credit_account"))
        .column(big_integer("amount"))
        .column(string("currency"))
        .column(uuid_null("hold_id"))
        .column(uuid_null("reverses"))
        .column(uuid_null("chain_id"))
        .column(small_integer("imported"))
        .column(big_integer("debit_balance"))
        .column(big_integer("credit_balance"))
        .column(timestamp_with_time_zone("effective_at"))
        .column(timestamp_with_time_zone("booked_at"))
        .column(binary("content"))
        .column(string("actor"))
        .column(uuid_null("client_id"))
        .column(string("request_id"))
        .column(string_null("idempotency_key"))
        .column(string_null("reference"))
        .key(&["id"])
        .check("amount > 0 AND debit_account <> credit_account")
        .index(&["debit_account", "effective_at", "seq"])
        .index(&["credit_account", "effective_at", "seq"])
        .shard_unique(&["seq"])
        .unique_where(&["reverses"], "reverses IS NOT NULL")
        .grant(Role::Ledger, &[Privilege::Select, Privilege::Insert])
        .grant(Role::App, &[Privilege::Select])
        .grant(Role::Worker, &[Privilege::Select])
        .grant_columns(
            Role::Worker,
            Privilege::Update,
            &["content", "request_id", "idempotency_key", "reference"],
        )
}

fn hold() -> Table {
    Table::of_environment("ledger_hold")
        .column(uuid("id"))
        .column(uuid("debit_account"))
        .column(uuid("credit_account"))
        .column(big_integer("amount"))
        .column(string("currency"))
        .column(small_integer("state"))
        .column(big_integer_null("captured"))
        .column(timestamp_with_time_zone_null("expires_at"))
        .column(timestamp_with_time_zone("placed_at"))
        .column(uuid_null("resolved_by"))
        .key(&["id"])
        .index(&["debit_account", "id"])
        .shard_index_where(&["expires_at"], "state = 0 AND expires_at IS NOT NULL")
        .grant(Role::Ledger, &[Privilege::Select, Privilege::Insert, Privilege::Update])
        .grant(Role::Worker, &[Privilege::Select])
        .grant(Role::App, &[Privilege::Select])
}

fn rejection() -> Table {
    Table::of_environment("ledger_rejection")
        .column(uuid("id"))
        .column(binary("content"))
        .column(integer("reason"))
        .column(string("detail"))
        .column(timestamp_with_time_zone("rejected_at"))
        .key(&["id"])
        .grant(Role::Ledger, &[Privilege::Select, Privilege::Insert])
        .grant(Role::Worker, &[Privilege::Select, Privilege::Delete])
}
