//! What callers ask for, and the row it becomes.

use chrono::{DateTime, Utc};
use platform::ctx::{Actor, Scope};
use ring::digest;
use serde::{Deserialize, Serialize};
use tenants::{
    id::{AccountId, ClientId, TransferId},
    money::Currency,
};
use uuid::Uuid;

/// One side of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TransferSide)]
pub enum Side {
    /// The left side.
    Debit,
    /// The right side.
    Credit,
}

/// Every way money moves. Each has its file in [`crate::movements`].
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[schema(as = TransferType)]
pub enum Kind {
    /// Between any two accounts of one currency.
    Transfer,
    /// Money arrives: an asset grows, and so does what is owed to a customer.
    Deposit,
    /// Money leaves: the reverse of a deposit.
    Withdrawal,
    /// A customer pays the institution.
    Fee,
    /// Sets an amount aside; nothing is posted.
    Hold,
    /// Posts a hold, in part or whole, and ends it; what is left is released.
    Capture,
    /// Ends a hold without posting.
    Void,
    /// Ends a hold whose time is over.
    Expiry,
    /// Undoes a posted transfer by a new one with the sides swapped.
    Reversal,
}

impl Kind {
    /// Every kind, in the order of the database's codes; new kinds go to the end.
    pub const ALL: [Kind; 9] = [
        Kind::Transfer,
        Kind::Deposit,
        Kind::Withdrawal,
        Kind::Fee,
        Kind::Hold,
        Kind::Capture,
        Kind::Void,
        Kind::Expiry,
        Kind::Reversal,
    ];

    pub(crate) fn code(self) -> i16 {
        self as i16
    }

    pub(crate) fn from_code(code: i16) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }

    /// Whether it changes posted balances.
    pub fn posts(self) -> bool {
        !matches!(self, Kind::Hold | Kind::Void | Kind::Expiry)
    }
}

/// Where the two sides of a transfer come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The caller names both accounts.
    Accounts {
        /// The account that is debited.
        debit: AccountId,
        /// The account that is credited.
        credit: AccountId,
    },
    /// Capture, void, expiry: both accounts are those of this hold.
    Hold(TransferId),
    /// Reversal: the accounts of this transfer, swapped.
    Original(TransferId),
}

/// A request to move money. Made by [`crate::movements`]; posted by [`crate::Ledger::post`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Used once, for ever; the record of idempotency.
    pub id: TransferId,
    /// What it is.
    pub kind: Kind,
    /// Whose money moves.
    pub subject: Subject,
    /// Minor units. `None` asks for all there is: the whole hold or the whole original.
    pub amount: Option<i64>,
    /// Must be that of both accounts. `None` takes the hold's or the original's.
    pub currency: Option<Currency>,
    /// Move at most `amount`: what the account on this side has available, if that is less. It must be one that pays.
    pub balancing: Option<Side>,
    /// Hold: when it ends by itself (environment time). `None`: it stands until it is ended.
    pub expires_at: Option<DateTime<Utc>>,
    /// Imported transfer: when it took effect in the system it comes from.
    pub effective_at: Option<DateTime<Utc>>,
    /// The next transfer of the call belongs to the same chain.
    pub linked: bool,
    /// The caller's own text for statements, at most [`crate::MAX_REFERENCE`] characters.
    pub reference: Option<Box<str>>,
    /// The `Idempotency-Key` it came under.
    pub key: Option<Box<str>>,
    /// Whose id was made of a key and a place in a batch: the shape of that batch, see [`shape`]. If one of a call was
    /// asked otherwise before, none of them is posted.
    pub shape: Option<[u8; 16]>,
    /// An authority's: a hold that was placed so ends only by a movement that is so too, and the other way round.
    pub block: bool,
}

impl Transfer {
    /// Identifies what was asked for: two requests with one id are the same request exactly if these are equal. The
    /// first 128 bits of SHA-256 over every field but the id, `linked` and `key`.
    pub(crate) fn content(&self) -> [u8; 16] {
        let mut bytes = Vec::with_capacity(160);
        let mut put = |field: &[u8]| {
            bytes.push(u8::try_from(field.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(field);
        };
        put(&[self.kind as u8, u8::from(self.block)]);
        match self.subject {
            Subject::Accounts { debit, credit } => {
                put(debit.uuid().as_bytes());
                put(credit.uuid().as_bytes());
            }
            Subject::Hold(id) | Subject::Original(id) => put(id.uuid().as_bytes()),
        }
        put(self.amount.map(i64::to_be_bytes).as_ref().map_or(&[], |amount| &amount[..]));
        put(self.currency.as_ref().map_or(&[], |currency| currency.code().as_bytes()));
        put(self.balancing.map(|side| [side as u8]).as_ref().map_or(&[], |side| &side[..]));
        for time in [self.expires_at, self.effective_at] {
            put(time.map(|t| t.timestamp_micros().to_be_bytes()).as_ref().map_or(&[], |t| &t[..]));
        }
        put(self.shape.as_ref().map_or(&[], |shape| &shape[..]));
        bytes.extend_from_slice(self.reference.as_deref().unwrap_or_default().as_bytes());
        half(&bytes)
    }
}

/// The first 128 bits of SHA-256.
fn half(bytes: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&digest::digest(&digest::SHA256, bytes).as_ref()[..16]);
    half
}

/// What a batch says beyond its transfers: how many they are, and of each whether it is `linked` and whether it has an
/// id of its own.
pub fn shape(transfers: impl Iterator<Item = (bool, bool)>) -> [u8; 16] {
    let bytes: Vec<u8> = transfers.map(|(linked, own)| u8::from(linked) | (u8::from(own) << 1)).collect();
    half(&bytes)
}

/// Who asks, and under which clock: the same for every transfer of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// Person, client or part of the system, as written into the row.
    pub actor: std::sync::Arc<str>,
    /// The OAuth client, where there is one.
    pub client: Option<ClientId>,
    /// Of the request that carried the call.
    pub request_id: std::sync::Arc<str>,
    /// Environment time less wall clock, in milliseconds; 0 in live.
    pub clock_offset_ms: i64,
}

/// A posted transfer: the one wide row that entries, statements, events and usage are views of. Never updated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The environment it belongs to.
    pub environment: Uuid,
    /// Its id.
    pub id: TransferId,
    /// Position in its shard, without gaps from 1.
    pub seq: i64,
    /// What it is.
    pub kind: Kind,
    /// The account that was debited.
    pub debit: AccountId,
    /// The account that was credited.
    pub credit: AccountId,
    /// Minor units; what really moved, or was held or released.
    pub amount: i64,
    /// Of the amount and both accounts.
    pub currency: Currency,
    /// Capture, void, expiry: the hold.
    pub hold: Option<TransferId>,
    /// Reversal: the original.
    pub reverses: Option<TransferId>,
    /// The first transfer of its chain, if it was linked.
    pub chain: Option<TransferId>,
    /// Whether it came with a past date from another system.
    pub imported: bool,
    /// The debit account's posted balance afterwards, on its normal side.
    pub debit_balance: i64,
    /// The credit account's posted balance afterwards, on its normal side.
    pub credit_balance: i64,
    /// When it counts, environment time; never before that of an earlier transfer of either account.
    pub effective_at: DateTime<Utc>,
    /// When it was written, environment time.
    pub booked_at: DateTime<Utc>,
    /// Hash of the request, see [`Transfer`].
    pub content: [u8; 16],
    /// Who asked.
    pub actor: std::sync::Arc<str>,
    /// The OAuth client, where there is one.
    pub client: Option<ClientId>,
    /// The request that carried it.
    pub request_id: std::sync::Arc<str>,
    /// The `Idempotency-Key` it came under.
    pub key: Option<Box<str>>,
    /// The caller's own text.
    pub reference: Option<Box<str>>,
}

/// An id that a flow posts under: the same inputs give the same id, so that a repeated step has one effect.
///
/// `intent` is the id of the row that records the intent; the id keeps its time, so that ids stay ordered. `step` names
/// the movement within the flow.
pub fn derived_id(intent: Uuid, step: &str) -> TransferId {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"tambo transfer of intent");
    context.update(intent.as_bytes());
    context.update(step.as_bytes());
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&intent.as_bytes()[..6]);
    bytes[6..].copy_from_slice(&context.finish().as_ref()[..10]);
    TransferId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// The id that a request's `Idempotency-Key` stands for, where the caller chose none: the same environment, caller,
/// operation, key and position in the call give the same id, so that a repeated request has one effect.
pub fn keyed_id(scope: Scope, actor: &Actor, operation: &str, key: &str, position: usize) -> TransferId {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"tambo transfer of key");
    context.update(scope.id.as_bytes());
    match actor {
        Actor::Client(client) => context.update(client.uuid().as_bytes()),
        Actor::System(name) => context.update(name.as_bytes()),
    }
    context.update(&u64::try_from(position).unwrap_or(u64::MAX).to_be_bytes());
    // Neither an operation's name nor a key holds a line break.
    for part in [operation, "\n", key] {
        context.update(part.as_bytes());
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&context.finish().as_ref()[..16]);
    TransferId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}
