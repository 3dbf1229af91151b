//! What PostgreSQL's own catalogue says of a plane's tables, held against the rules of [`crate::db::schema`].

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};

/// What a table is, and the statement that finds those that are not so, with what is wrong. `$1` are the reference tables.
const RULES: [(&str, &str); 6] = [
    // Policies that hold the owner hang moves of tables.
    ("the owner's, whom no policy holds", "SELECT relname FROM mine WHERE owner <> 'tambo_owner' OR forced"),
    (
        "under row-level security, or a reference table and not",
        "SELECT relname FROM mine WHERE secured = (relname = ANY($1))",
    ),
    (
        "open to each role by one policy if it has a grant, and by none otherwise",
        "SELECT relname || ' ' || role FROM mine, unnest(array['tambo_app', 'tambo_worker', 'tambo_ledger']) AS role \
         WHERE relname <> ALL($1) AND (SELECT count(*) FROM policies AS p WHERE p.tablename = relname \
         AND p.roles = array[role::name] AND p.permissive = 'PERMISSIVE' AND p.cmd = 'ALL') \
         <> (has_any_column_privilege(role, oid, 'SELECT, INSERT, UPDATE') OR has_table_privilege(role, oid, 'DELETE'))::int \
         UNION ALL SELECT tablename || ' ' || policyname FROM policies WHERE tablename = ANY($1) \
         OR cardinality(roles) <> 1 OR roles[1] NOT IN ('tambo_app', 'tambo_worker', 'tambo_ledger')",
    ),
    (
        "open to requests for the rows of their environment, if its rows are of one",
        "SELECT relname || ' ' || p.qual FROM mine JOIN pg_attribute AS a ON a.attrelid = oid \
         AND a.attname IN ('environment_id', 'scope_id') AND a.attnum = own[1] \
         JOIN policies AS p ON p.tablename = relname AND p.roles = '{tambo_app}' \
         WHERE p.qual <> '(' || a.attname || \
         ' = (NULLIF(current_setting(''app.environment''::text, true), ''''::text))::uuid)' \
         OR p.with_check <> p.qual",
    ),
    (
        "without a key or a reference that does not begin with the shard",
        "SELECT relname || ' ' || name FROM ( \
           SELECT oid, relname, i.indexrelid::regclass::text AS name, i.indkey[0] AS first FROM mine \
           JOIN pg_index AS i ON i.indrelid = oid WHERE i.indisunique AND relname <> ALL($1) \
           UNION ALL SELECT mine.oid, relname, c.conname, c.conkey[1] FROM mine \
           JOIN pg_constraint AS c ON c.conrelid = mine.oid WHERE c.contype = 'f' AND relname <> ALL($1) \
           UNION ALL SELECT oid, relname, 'no primary key', NULL FROM mine WHERE own = '{}' \
         ) AS keys LEFT JOIN pg_attribute AS a ON a.attrelid = keys.oid AND a.attnum = first \
         WHERE a.attname IS DISTINCT FROM 'shard_id'",
    ),
    (
        "granted to no other than the four roles",
        "SELECT relname || ' ' || CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END FROM mine, LATERAL ( \
           SELECT grantee FROM aclexplode(mine.relacl) \
           UNION SELECT x.grantee FROM pg_attribute AS a, aclexplode(a.attacl) AS x WHERE a.attrelid = oid \
         ) AS acl WHERE grantee = 0 \
         OR grantee::regrole::text NOT IN ('tambo_owner', 'tambo_app', 'tambo_worker', 'tambo_ledger')",
    ),
];

/// The plane's own tables; `own` are the columns of their primary keys, counted from 0.
const MINE: &str = "WITH mine AS (SELECT c.oid, c.relname::text AS relname, c.relrowsecurity AS secured, \
    c.relforcerowsecurity AS forced, pg_get_userbyid(c.relowner)::text AS owner, c.relacl, \
    coalesce((SELECT i.indkey::int2[] FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary), '{}') AS own \
    FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') \
    AND c.relname <> 'seaql_migrations'), policies AS (SELECT * FROM pg_policies WHERE schemaname = 'public') ";

/// What is wrong with the tables of a migrated PostgreSQL, a line each, and how many tables there are. `references` are
/// those that are the same in every shard: they have no scope.
///
/// # Panics
/// The catalogue cannot be read, or there is no table of a name in `references`.
pub async fn faults(root: &DatabaseConnection, references: &[&str]) -> (Vec<String>, usize) {
    let backend = root.get_database_backend();
    let strings = async |sql: &str, values: Vec<sea_orm::Value>| -> Vec<String> {
        let statement = Statement::from_sql_and_values(backend, format!("{MINE}{sql}"), values);
        let rows = root.query_all_raw(statement).await.expect("the catalogue can be read");
        rows.iter().map(|row| row.try_get_by_index(0).expect("a name is text")).collect()
    };
    let tables = strings("SELECT relname FROM mine", vec![]).await;
    for reference in references {
        assert!(tables.iter().any(|table| table == reference), "there is no table {reference}");
    }
    let references: Vec<String> = references.iter().map(|&name| name.to_owned()).collect();
    let mut faults = Vec::new();
    for (rule, sql) in RULES {
        let values = if sql.contains("$1") { vec![references.clone().into()] } else { vec![] };
        faults.extend(strings(sql, values).await.into_iter().map(|fault| format!("{fault}: not {rule}")));
    }
    (faults, tables.len())
}
