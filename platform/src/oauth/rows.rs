//! The tables of an issuer.
//!
//! All of them lie on one shard, [`HOME`]: a credential does not say whose it is, and a revocation has to reach, in one
//! transaction, whatever a client was given. Only `tambo_worker` may touch them; the number of the newest change is everybody's.

use crate::ctx::Scope;
use crate::db::Role;
use crate::db::schema::{Migration, Privilege, Table};
use sea_orm_migration::schema::{
    big_integer, big_integer_null, binary, binary_null, string, string_null, text, text_null, uuid_null,
};
use uuid::Uuid;

/// Where an issuer's rows lie, and what its sealed columns are bound to: no environment has the nil id.
pub(super) const HOME: Scope = Scope::new(0, Uuid::nil());

/// The tables.
///
/// Instants are nanoseconds since 1970, because the library compares instants of the system clock exactly. What a
/// client, a token or a code is called by is there as SHA-256 only; what is known of it is sealed.
pub const MIGRATION: Migration = Migration::new("m0004_platform_oauth", || {
    vec![
        // One row: the number of the newest change, and what revocations and issuance lock.
        Table::of_shard("oauth_issuer")
            .column(big_integer("version"))
            .key(&[])
            .grant(Role::App, &[Privilege::Select])
            .grant(Role::Worker, &Privilege::ALL),
        Table::of_shard("oauth_client")
            .column(text("client_id"))
            .column(uuid_null("scope_id"))
            .column(binary_null("body"))
            .column(text_null("entry"))
            .column(big_integer("version"))
            .column(big_integer_null("removed_ns"))
            .key(&["client_id"])
            .index(&["version"])
            .index(&["scope_id"])
            .grant(Role::Worker, &Privilege::ALL),
        Table::of_shard("oauth_record")
            .column(string("kind"))
            .column(string("key"))
            .column(text("client_id"))
            .column(text_null("family"))
            .column(string_null("user_code"))
            .column(binary("body"))
            .column(big_integer_null("expires_ns"))
            .key(&["kind", "key"])
            .unique_where(&["user_code"], "user_code IS NOT NULL")
            .index(&["client_id"])
            .index(&["family"])
            .index(&["expires_ns"])
            .check("kind IN ('device', 'code', 'token', 'refresh')")
            .grant(Role::Worker, &Privilege::ALL),
        Table::of_shard("oauth_barrier")
            .column(string("kind"))
            .column(text("name"))
            .column(big_integer("recorded_ns"))
            .column(big_integer("until_ns"))
            .key(&["kind", "name"])
            .check("kind IN ('client', 'family')")
            .grant(Role::Worker, &Privilege::ALL),
        Table::of_shard("oauth_replay")
            .column(string("key"))
            .column(big_integer("expires_ns"))
            .key(&["key"])
            .index(&["expires_ns"])
            .grant(Role::Worker, &Privilege::ALL),
        Table::of_shard("oauth_key")
            .column(string("kid"))
            .column(string("state"))
            .column(string("x"))
            .column(string("y"))
            .column(binary("body"))
            .column(big_integer("active_us"))
            .column(big_integer_null("retired_us"))
            .key(&["kid"])
            .unique_where(&["state"], "state <> 'retired'")
            .check("state IN ('next', 'active', 'retired')")
            .grant(Role::Worker, &Privilege::ALL),
    ]
});

/// Declares entities whose first column is `shard_id`, part of the key.
macro_rules! rows {
    ($($(#[$doc:meta])* $module:ident = $table:literal { $($(#[$key:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[allow(dead_code, reason = "what the derives make and nobody calls")]
        pub mod $module {
            use sea_orm::entity::prelude::*;

            #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
            #[sea_orm(table_name = $table)]
            pub struct Model {
                #[sea_orm(primary_key, auto_increment = false)]
                pub shard_id: i32,
                $($(#[$key])* pub $field: $type,)*
            }

            #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
            pub enum Relation {}

            impl ActiveModelBehavior for ActiveModel {}
        }
    )*};
}

rows! {
    /// The newest change.
    issuer = "oauth_issuer" { version: i64, }
    /// Registrations, and what is known of a client besides; without a body it was removed.
    client = "oauth_client" {
        #[sea_orm(primary_key, auto_increment = false)] client_id: String,
        scope_id: Option<Uuid>,
        body: Option<Vec<u8>>,
        entry: Option<String>,
        version: i64,
        removed_ns: Option<i64>,
    }
    /// Tokens, codes and grants.
    record = "oauth_record" {
        #[sea_orm(primary_key, auto_increment = false)] kind: String,
        #[sea_orm(primary_key, auto_increment = false)] key: String,
        client_id: String,
        family: Option<String>,
        user_code: Option<String>,
        body: Vec<u8>,
        expires_ns: Option<i64>,
    }
    /// Revocations that a late write must not undo.
    barrier = "oauth_barrier" {
        #[sea_orm(primary_key, auto_increment = false)] kind: String,
        #[sea_orm(primary_key, auto_increment = false)] name: String,
        recorded_ns: i64,
        until_ns: i64,
    }
    /// Identifiers that were used once.
    replay = "oauth_replay" {
        #[sea_orm(primary_key, auto_increment = false)] key: String,
        expires_ns: i64,
    }
    /// Signing keys.
    key = "oauth_key" {
        #[sea_orm(primary_key, auto_increment = false)] kid: String,
        state: String,
        x: String,
        y: String,
        body: Vec<u8>,
        active_us: i64,
        retired_us: Option<i64>,
    }
}
