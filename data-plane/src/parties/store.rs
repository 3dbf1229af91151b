//! The tables `party` and `party_identifier`.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use platform::{
    ctx::Scope,
    db::{
        Role, Tx,
        schema::{Migration, Privilege, Table},
    },
    keys::{DataKey, KeyError},
    sealed::{BlindIndex, Sealed},
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::{Expr, ExprTrait},
};
use sea_orm_migration::schema::{
    big_integer, binary, binary_null, string, string_null, timestamp_with_time_zone, uuid,
};
use tenants::{id::PartyId, profile::Person};
use uuid::Uuid;

use super::{
    Error,
    model::{Address, Identifier, Name, Particulars, Party},
};

/// Makes the tables. What says who a person is, is sealed; what is next to it is not personal, or a keyed hash.
pub const MIGRATION: Migration = Migration::new("m0020_parties", || {
    vec![
        Table::of_environment("party")
            .column(uuid("id"))
            .column(string("person"))
            .column(string_null("external_id"))
            .column(binary("name"))
            .column(binary_null("born_on"))
            .column(binary_null("email"))
            .column(binary_null("email_index"))
            .column(binary_null("phone"))
            .column(binary_null("phone_index"))
            .column(binary_null("address"))
            .column(big_integer("version"))
            .column(timestamp_with_time_zone("created_at"))
            .column(timestamp_with_time_zone("updated_at"))
            .key(&["id"])
            .check("person IN ('natural', 'legal')")
            .unique(&["external_id"])
            .index(&["email_index"])
            .index(&["phone_index"])
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant(Role::Worker, &[Privilege::Select, Privilege::Delete])
            .grant_columns(
                Role::App,
                Privilege::Update,
                &["email", "email_index", "phone", "phone_index", "address", "version", "updated_at"],
            ),
        Table::of_environment("party_identifier")
            .column(uuid("party_id"))
            .column(string("code"))
            .column(binary("value"))
            .column(binary("value_index"))
            .key(&["party_id", "code"])
            .foreign(&["party_id"], "party", &["id"])
            .index(&["code", "value_index"])
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant(Role::Worker, &[Privilege::Select, Privilege::Delete]),
    ]
});

mod party {
    use super::{Address, BlindIndex, NaiveDate, Name, Sealed};
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "party")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub environment_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub person: String,
        pub external_id: Option<String>,
        pub name: Sealed<Name>,
        pub born_on: Option<Sealed<NaiveDate>>,
        pub email: Option<Sealed<String>>,
        pub email_index: Option<BlindIndex>,
        pub phone: Option<Sealed<String>>,
        pub phone_index: Option<BlindIndex>,
        pub address: Option<Sealed<Address>>,
        pub version: i64,
        pub created_at: DateTimeUtc,
        pub updated_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod identifier {
    use super::{BlindIndex, Sealed};
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "party_identifier")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub environment_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub party_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub code: String,
        pub value: Sealed<String>,
        pub value_index: BlindIndex,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use party::Column;

const NAME: &str = "party.name";
const BORN_ON: &str = "party.born_on";
const EMAIL: &str = "party.email";
const PHONE: &str = "party.phone";
const ADDRESS: &str = "party.address";

/// The field of an identifier: the code is in it, so that equal digits of two codes do not look equal.
fn identifier_field(code: &str) -> String {
    format!("party.identifier.{code}")
}

/// A field of one row, to which its sealed value is bound: what is sealed for one party does not open as another's.
fn of_row(field: &str, row: Uuid) -> String {
    format!("{field}/{}", row.simple())
}

/// The store of one environment's parties, inside one transaction.
pub struct Parties<'a> {
    tx: &'a Tx,
    key: &'a DataKey,
    scope: Scope,
}

/// The parties a list asks for.
#[derive(Default)]
pub struct Filter {
    /// After this id.
    pub after: Option<PartyId>,
    /// With this id of the caller's.
    pub external_id: Option<String>,
    /// With this identifier, in its normal spelling.
    pub identifier: Option<Identifier>,
    /// With this address of electronic mail, in any case of letters.
    pub email: Option<String>,
    /// With this telephone number.
    pub phone: Option<String>,
    /// Made at or after.
    pub from: Option<DateTime<Utc>>,
    /// Made before.
    pub until: Option<DateTime<Utc>>,
}

impl<'a> Parties<'a> {
    /// Of `scope`, in the caller's transaction.
    pub const fn new(tx: &'a Tx, key: &'a DataKey, scope: Scope) -> Self {
        Self { tx, key, scope }
    }

    fn select(&self) -> sea_orm::Select<party::Entity> {
        party::Entity::find()
            .filter(Column::ShardId.eq(self.scope.shard))
            .filter(Column::EnvironmentId.eq(self.scope.id))
    }

    /// Adds parties, a few hundred at most.
    pub async fn insert(&self, parties: &[Party]) -> Result<(), Error> {
        if parties.is_empty() {
            return Ok(());
        }
        let rows = parties.iter().map(|party| self.row(party)).collect::<Result<Vec<_>, _>>()?;
        party::Entity::insert_many(rows).exec_without_returning(&**self.tx).await?;
        let mut rows = Vec::new();
        for party in parties {
            for one in &party.particulars.identifiers {
                rows.push(self.identifier_row(party.id, one)?);
            }
        }
        if !rows.is_empty() {
            identifier::Entity::insert_many(rows).exec_without_returning(&**self.tx).await?;
        }
        Ok(())
    }

    fn row(&self, party: &Party) -> Result<party::ActiveModel, KeyError> {
        let known = &party.particulars;
        let id = party.id.uuid();
        let (email, email_index) = self.contact(EMAIL, id, known.email.as_ref())?;
        let (phone, phone_index) = self.contact(PHONE, id, known.phone.as_ref())?;
        Ok(party::ActiveModel {
            shard_id: Set(self.scope.shard),
            environment_id: Set(self.scope.id),
            id: Set(id),
            person: Set(person_text(known.name.person()).to_owned()),
            external_id: Set(known.external_id.clone()),
            name: Set(self.key.seal(&of_row(NAME, id), &known.name)?),
            born_on: Set(self.sealed(BORN_ON, id, known.born_on.as_ref())?),
            email: Set(email),
            email_index: Set(email_index),
            phone: Set(phone),
            phone_index: Set(phone_index),
            address: Set(self.sealed(ADDRESS, id, known.address.as_ref())?),
            version: Set(party.version),
            created_at: Set(party.created_at),
            updated_at: Set(party.updated_at),
        })
    }

    fn identifier_row(&self, party: PartyId, one: &Identifier) -> Result<identifier::ActiveModel, KeyError> {
        let field = identifier_field(&one.code);
        Ok(identifier::ActiveModel {
            shard_id: Set(self.scope.shard),
            environment_id: Set(self.scope.id),
            party_id: Set(party.uuid()),
            code: Set(one.code.clone()),
            value: Set(self.key.seal(&of_row(&field, party.uuid()), &one.value)?),
            value_index: Set(self.key.blind(&field, &one.value)),
        })
    }

    fn sealed<T: serde::Serialize>(
        &self,
        field: &str,
        row: Uuid,
        value: Option<&T>,
    ) -> Result<Option<Sealed<T>>, KeyError> {
        value.map(|value| self.key.seal(&of_row(field, row), value)).transpose()
    }

    fn contact(
        &self,
        field: &str,
        row: Uuid,
        value: Option<&String>,
    ) -> Result<(Option<Sealed<String>>, Option<BlindIndex>), KeyError> {
        let index = value.map(|value| self.key.blind(field, value));
        Ok((self.sealed(field, row, value)?, index))
    }

    /// Writes contacts, version and time of `party`, if its row still has the version `before`.
    pub async fn update_contacts(&self, party: &Party, before: i64) -> Result<bool, Error> {
        let known = &party.particulars;
        let id = party.id.uuid();
        let (email, email_index) = self.contact(EMAIL, id, known.email.as_ref())?;
        let (phone, phone_index) = self.contact(PHONE, id, known.phone.as_ref())?;
        let address = self.sealed(ADDRESS, id, known.address.as_ref())?;
        let updated = party::Entity::update_many()
            .col_expr(Column::Email, Expr::val(email))
            .col_expr(Column::EmailIndex, Expr::val(email_index))
            .col_expr(Column::Phone, Expr::val(phone))
            .col_expr(Column::PhoneIndex, Expr::val(phone_index))
            .col_expr(Column::Address, Expr::val(address))
            .col_expr(Column::Version, Expr::val(party.version))
            .col_expr(Column::UpdatedAt, Expr::val(party.updated_at))
            .filter(Column::ShardId.eq(self.scope.shard))
            .filter(Column::EnvironmentId.eq(self.scope.id))
            .filter(Column::Id.eq(party.id.uuid()))
            .filter(Column::Version.eq(before))
            .exec(&**self.tx)
            .await?;
        Ok(updated.rows_affected == 1)
    }

    /// The party of this id.
    pub async fn get(&self, id: PartyId) -> Result<Option<Party>, Error> {
        let rows = self.select().filter(Column::Id.eq(id.uuid())).all(&**self.tx).await?;
        Ok(self.open(rows).await?.pop())
    }

    /// The parties of these ids of the caller's, a few hundred at most.
    pub async fn with_external_ids(&self, ids: &[&str]) -> Result<BTreeMap<String, Party>, Error> {
        let ids = ids.iter().copied();
        let rows = self.select().filter(Column::ExternalId.is_in(ids)).all(&**self.tx).await?;
        let parties = self.open(rows).await?;
        Ok(parties.into_iter().filter_map(|one| Some((one.particulars.external_id.clone()?, one))).collect())
    }

    /// At most `limit` parties, in the order of their ids.
    pub async fn list(&self, filter: &Filter, limit: u64) -> Result<Vec<Party>, Error> {
        let mut query = self.select();
        if let Some(after) = filter.after {
            query = query.filter(Column::Id.gt(after.uuid()));
        }
        if let Some(external_id) = &filter.external_id {
            query = query.filter(Column::ExternalId.eq(external_id));
        }
        if let Some(email) = &filter.email {
            query = query.filter(Column::EmailIndex.eq(self.key.blind(EMAIL, email)));
        }
        if let Some(phone) = &filter.phone {
            query = query.filter(Column::PhoneIndex.eq(self.key.blind(PHONE, phone)));
        }
        if let Some(from) = filter.from {
            query = query.filter(Column::CreatedAt.gte(from));
        }
        if let Some(before) = filter.until {
            query = query.filter(Column::CreatedAt.lt(before));
        }
        if let Some(one) = &filter.identifier {
            let index = self.key.blind(&identifier_field(&one.code), &one.value);
            let holders = identifier::Entity::find()
                .select_only()
                .column(identifier::Column::PartyId)
                .filter(identifier::Column::ShardId.eq(self.scope.shard))
                .filter(identifier::Column::EnvironmentId.eq(self.scope.id))
                .filter(identifier::Column::Code.eq(&one.code))
                .filter(identifier::Column::ValueIndex.eq(index))
                .into_query();
            query = query.filter(Expr::col((party::Entity, Column::Id)).in_subquery(holders));
        }
        let rows = query.order_by_asc(Column::Id).limit(limit).all(&**self.tx).await?;
        self.open(rows).await
    }

    /// The parties of these rows, in their order.
    async fn open(&self, rows: Vec<party::Model>) -> Result<Vec<Party>, Error> {
        let mut identifiers = BTreeMap::<Uuid, Vec<Identifier>>::new();
        if !rows.is_empty() {
            let found = identifier::Entity::find()
                .filter(identifier::Column::ShardId.eq(self.scope.shard))
                .filter(identifier::Column::EnvironmentId.eq(self.scope.id))
                .filter(identifier::Column::PartyId.is_in(rows.iter().map(|row| row.id)))
                .order_by_asc(identifier::Column::Code)
                .all(&**self.tx)
                .await?;
            for row in found {
                let field = of_row(&identifier_field(&row.code), row.party_id);
                let value = self.key.open(&field, &row.value)?;
                identifiers.entry(row.party_id).or_default().push(Identifier { code: row.code, value });
            }
        }
        let party = |row: party::Model| {
            Ok(Party {
                id: PartyId::from_uuid(row.id),
                particulars: Particulars {
                    external_id: row.external_id,
                    name: self.key.open(&of_row(NAME, row.id), &row.name)?,
                    born_on: self.opened(BORN_ON, row.id, row.born_on.as_ref())?,
                    identifiers: identifiers.remove(&row.id).unwrap_or_default(),
                    email: self.opened(EMAIL, row.id, row.email.as_ref())?,
                    phone: self.opened(PHONE, row.id, row.phone.as_ref())?,
                    address: self.opened(ADDRESS, row.id, row.address.as_ref())?,
                },
                version: row.version,
                created_at: row.created_at,
                updated_at: row.updated_at,
            })
        };
        rows.into_iter().map(party).collect()
    }

    fn opened<T: serde::de::DeserializeOwned>(
        &self,
        field: &str,
        row: Uuid,
        value: Option<&Sealed<T>>,
    ) -> Result<Option<T>, KeyError> {
        value.map(|value| self.key.open(&of_row(field, row), value)).transpose()
    }
}

/// Whether there is a party of this id; reads nothing personal.
pub async fn exists(tx: &Tx, scope: Scope, id: PartyId) -> Result<bool, DbErr> {
    let found = party::Entity::find()
        .select_only()
        .column(Column::Version)
        .filter(Column::ShardId.eq(scope.shard))
        .filter(Column::EnvironmentId.eq(scope.id))
        .filter(Column::Id.eq(id.uuid()))
        .into_tuple::<i64>()
        .one(&**tx)
        .await?;
    Ok(found.is_some())
}

/// Whether there is any party; reads nothing personal.
pub async fn any(tx: &Tx, scope: Scope) -> Result<bool, DbErr> {
    let found = party::Entity::find()
        .select_only()
        .column(Column::Version)
        .filter(Column::ShardId.eq(scope.shard))
        .filter(Column::EnvironmentId.eq(scope.id))
        .limit(1)
        .into_tuple::<i64>()
        .one(&**tx)
        .await?;
    Ok(found.is_some())
}

const fn person_text(person: Person) -> &'static str {
    match person {
        Person::Natural => "natural",
        Person::Legal => "legal",
    }
}
