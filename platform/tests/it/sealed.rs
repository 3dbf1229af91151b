//! Sealed columns in an entity, on both databases.

use platform::ctx::Scope;
use platform::db::Role;
use platform::db::schema::{Migration, Privilege, Table};
use platform::keys::DataKey;
use platform::sealed::{BlindIndex, Sealed};
use platform::testing::{TestDb, label};
use sea_orm::entity::prelude::*;
use sea_orm::{ActiveValue::Set, EntityTrait};
use sea_orm_migration::MigrationTrait;
use sea_orm_migration::schema::{binary, binary_null, uuid};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "person")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub shard_id: i32,
    #[sea_orm(primary_key, auto_increment = false)]
    pub environment_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: Sealed<String>,
    pub name_index: BlindIndex,
    pub note: Option<Sealed<Vec<u32>>>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

fn migrations() -> Vec<Box<dyn MigrationTrait>> {
    vec![Box::new(Migration::new("m0001_person", || {
        vec![
            Table::of_environment("person")
                .column(uuid("id"))
                .column(binary("name"))
                .column(binary("name_index"))
                .column(binary_null("note"))
                .key(&["id"])
                .index(&["name_index"])
                .grant(Role::App, &[Privilege::Select, Privilege::Insert]),
        ]
    }))]
}

#[tokio::test]
async fn a_person_is_found_and_read_with_the_key_only() {
    let scope = Scope::new(0, Uuid::from_u128(1));
    let keys = DataKey::fixed(scope.id, [7; 32]);
    for db in TestDb::both(migrations).await {
        let on = label(db.backend());
        let tx = db.begin(scope).await.unwrap();
        for (id, name, note) in [(1, "Ana", Some(vec![7])), (2, "Luz", None)] {
            let row = ActiveModel {
                shard_id: Set(scope.shard),
                environment_id: Set(scope.id),
                id: Set(Uuid::from_u128(id)),
                name: Set(keys.seal("person.name", &name.to_owned()).unwrap()),
                name_index: Set(keys.blind("person.name", name)),
                note: Set(note.map(|note| keys.seal("person.note", &note).unwrap())),
            };
            Entity::insert(row).exec_without_returning(&*tx).await.unwrap();
        }
        tx.commit().await.unwrap();

        let tx = db.begin_read(scope).await.unwrap();
        let found = Entity::find()
            .filter(Column::NameIndex.eq(keys.blind("person.name", " ana ")))
            .all(&*tx)
            .await
            .unwrap();
        assert_eq!(found.len(), 1, "{on}");
        assert_eq!(keys.open("person.name", &found[0].name).unwrap(), "Ana", "{on}");
        let note = found[0].note.as_ref().map(|note| keys.open("person.note", note).unwrap());
        assert_eq!(note, Some(vec![7]), "{on}");
        assert!(!found[0].name.bytes().windows(3).any(|part| part == b"Ana"), "{on}: no clear text");
        let luz = Entity::find_by_id((scope.shard, scope.id, Uuid::from_u128(2))).one(&*tx).await.unwrap();
        assert_eq!(luz.unwrap().note, None, "{on}");
    }
}
