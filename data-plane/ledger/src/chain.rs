//! The hash chain: each batch row carries the hash of the one before, so that no row can be changed, added, dropped or
//! moved without every later hash changing.
//!
//! `hash = SHA-256(previous hash ‖ shard ‖ batch ‖ rows)`, each row in the order of its columns, numbers big-endian,
//! texts and options with their length before them. What it does not show: that the newest batches are still there
//! (keep the head's hash elsewhere), or who wrote them.
//!
//! What a caller has said in words is in it as a digest of its own, [`words`]. When an environment has ended and nobody may
//! know those words any more, the digest takes their place in the row, and the chain, which other environments share, holds.

use ring::digest;
use uuid::Uuid;

use crate::transfer::Posted;

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// The hash before a shard's first batch.
pub const GENESIS: Hash = [0; 32];

/// The hash of a batch.
pub fn hash<'a>(previous: &Hash, shard: i32, batch: i64, rows: impl IntoIterator<Item = &'a Posted>) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(previous);
    context.update(&shard.to_be_bytes());
    context.update(&batch.to_be_bytes());
    let mut bytes = Vec::with_capacity(384);
    for row in rows {
        bytes.clear();
        encode(row, &mut bytes);
        context.update(&bytes);
    }
    let mut hash = GENESIS;
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn encode(row: &Posted, out: &mut Vec<u8>) {
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    let option = |out: &mut Vec<u8>, id: Option<Uuid>| match id {
        Some(id) => {
            out.push(1);
            out.extend_from_slice(id.as_bytes());
        }
        None => out.push(0),
    };
    out.extend_from_slice(row.environment.as_bytes());
    out.extend_from_slice(row.id.uuid().as_bytes());
    out.extend_from_slice(&row.seq.to_be_bytes());
    out.extend_from_slice(&row.kind.code().to_be_bytes());
    out.extend_from_slice(row.debit.uuid().as_bytes());
    out.extend_from_slice(row.credit.uuid().as_bytes());
    out.extend_from_slice(&row.amount.to_be_bytes());
    text(out, row.currency.code());
    for id in [row.hold, row.reverses, row.chain] {
        option(out, id.map(tenants::id::TransferId::uuid));
    }
    out.push(u8::from(row.imported));
    out.extend_from_slice(&row.debit_balance.to_be_bytes());
    out.extend_from_slice(&row.credit_balance.to_be_bytes());
    out.extend_from_slice(&row.effective_at.timestamp_micros().to_be_bytes());
    out.extend_from_slice(&row.booked_at.timestamp_micros().to_be_bytes());
    out.extend_from_slice(&words(row));
    text(out, &row.actor);
    option(out, row.client.map(tenants::id::ClientId::uuid));
}

/// What stands before the digest in the place of a request's id; no request's id begins so.
const FORGOTTEN: char = '#';

/// The digest of what a caller has said in words: the id of its request, its key and its reference, and the hash of what
/// was asked for, which has the reference in it. Of a row whose words are forgotten it is what stands there instead.
pub fn words(row: &Posted) -> Hash {
    if let (Some(stands), None, None) = (row.request_id.strip_prefix(FORGOTTEN), &row.key, &row.reference) {
        let mut digest = GENESIS;
        if row.content == [0; 16] && hex::decode_to_slice(stands, &mut digest).is_ok() {
            return digest;
        }
    }
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(&row.content);
    for field in [Some(&*row.request_id), row.key.as_deref(), row.reference.as_deref()] {
        match field {
            Some(value) => {
                bytes.push(1);
                bytes.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
                bytes.extend_from_slice(value.as_bytes());
            }
            None => bytes.push(0),
        }
    }
    let mut hash = GENESIS;
    hash.copy_from_slice(digest::digest(&digest::SHA256, &bytes).as_ref());
    hash
}

/// What takes the place of the request's id when a row's words are forgotten.
pub fn forgotten(words: &Hash) -> String {
    format!("{FORGOTTEN}{}", hex::encode(words))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use tenants::{
        id::{AccountId, TransferId},
        money::Currency,
    };

    use super::*;
    use crate::transfer::Kind;

    fn row() -> Posted {
        Posted {
            environment: Uuid::from_u128(1),
            id: TransferId::from_uuid(Uuid::from_u128(2)),
            seq: 1,
            kind: Kind::Transfer,
            debit: AccountId::from_uuid(Uuid::from_u128(3)),
            credit: AccountId::from_uuid(Uuid::from_u128(4)),
            amount: 7,
            currency: Currency::parse("MXN").unwrap(),
            hold: None,
            reverses: None,
            chain: None,
            imported: false,
            debit_balance: 0,
            credit_balance: 0,
            effective_at: DateTime::UNIX_EPOCH,
            booked_at: DateTime::UNIX_EPOCH,
            content: [5; 16],
            actor: "client".into(),
            client: None,
            request_id: "request".into(),
            key: Some("key".into()),
            reference: Some("For Ana".into()),
        }
    }

    fn hash_of(row: &Posted) -> Hash {
        hash(&GENESIS, 0, 1, [row])
    }

    #[test]
    fn words_can_be_forgotten_and_nothing_else_can_be_changed() {
        let gone = Posted {
            content: [0; 16],
            request_id: forgotten(&words(&row())).into(),
            key: None,
            reference: None,
            ..row()
        };
        assert_eq!(hash_of(&gone), hash_of(&row()));
        assert_eq!(words(&gone), words(&row()), "again to no effect");
        for changed in [
            Posted { reference: Some("For Luz".into()), ..row() },
            Posted { reference: None, ..row() },
            Posted { key: None, reference: Some("keyFor Ana".into()), ..row() },
            Posted { request_id: "other".into(), ..row() },
            Posted { content: [0; 16], ..row() },
            Posted { amount: 8, ..gone.clone() },
            Posted { actor: "another".into(), ..gone.clone() },
            Posted { reference: Some("For Ana".into()), ..gone.clone() },
            Posted { content: [5; 16], ..gone.clone() },
            Posted { request_id: forgotten(&GENESIS).into(), ..gone.clone() },
            Posted { request_id: "#x".into(), ..gone },
        ] {
            assert_ne!(hash_of(&changed), hash_of(&row()), "{changed:?}");
        }
    }
}
