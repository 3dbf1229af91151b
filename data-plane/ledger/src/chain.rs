//! The hash chain: each batch row carries the hash of the one before, so that no row can be changed, added, dropped or
//! moved without every later hash changing.
//!
//! `hash = SHA-256(previous hash ‖ shard ‖ batch ‖ rows)`, each row in the order of its columns, numbers big-endian,
//! texts and options with their length before them. What it does not show: that the newest batches are still there
//! (keep the head's hash elsewhere), or who wrote them.

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
    out.extend_from_slice(&row.content);
    text(out, &row.actor);
    option(out, row.client.map(tenants::id::ClientId::uuid));
    text(out, &row.request_id);
    for field in [&row.key, &row.reference] {
        match field {
            Some(value) => {
                out.push(1);
                text(out, value);
            }
            None => out.push(0),
        }
    }
}
