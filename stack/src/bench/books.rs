//! Whether the books are right after a round: as many transfers as were acknowledged, debits equal to credits, every
//! account the sum of its transfers, the hash chain whole.

use std::error::Error;

use ledger::{books, system};
use platform::db::Db;

use super::world::SCOPE;

/// Checks one database; `transfers` is how many it must have, `chained` whether its writer keeps a hash chain.
pub async fn check(name: &str, db: &Db, transfers: u64, chained: bool) -> Result<(), Box<dyn Error>> {
    let tx = db.begin_read(SCOPE).await?;
    let lines = books::trial_balance(&tx, SCOPE).await?;
    tx.commit().await?;
    if lines.is_empty() {
        return Err(format!("{name}: there are no accounts").into());
    }
    for line in lines {
        if line.debits != line.credits {
            return Err(format!("{name}: debits and credits differ: {line:?}").into());
        }
    }
    let counted = system::verify_totals(db, SCOPE.shard).await.map_err(|error| format!("{name}: {error}"))?;
    if counted.transfers != i64::try_from(transfers)? {
        let text =
            format!("{name}: {} transfers are stored, {transfers} were acknowledged", counted.transfers);
        return Err(text.into());
    }
    if chained {
        let chain =
            system::verify_chain(db, SCOPE.shard).await.map_err(|error| format!("{name}: {error}"))?;
        if chain.transfers != counted.transfers {
            return Err(
                format!("{name}: the chain holds {} transfers of {transfers}", chain.transfers).into()
            );
        }
    }
    Ok(())
}
