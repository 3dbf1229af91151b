//! What a shard's writer remembers, so that most batches read nothing.
//!
//! **Promise.** An account from memory is as the database has it under the head that was asked for: totals, holds and usage
//! change only with the head, and under another head nothing is remembered. State and limits are others' to change, and
//! compared when the row is written. What is decided from memory is written only if all of it is posted; whatever else
//! there is to say is said by what was read.

use std::collections::BTreeSet;

use hashlink::LruCache;

use crate::{
    account::Account,
    batch::Written,
    limit::Limit,
    rules::{AccountKey, Book, Call},
    store::Head,
    transfer::Subject,
};

/// How many accounts are remembered, those least used forgotten first; about 400 bytes each.
const MOST: usize = 32_768;

/// How many batches read all their rows after one that could not be written from memory: who repeats a request, or changes
/// an account, often does so again.
const REST: u32 = 64;

/// The accounts of one shard that were written last, with their limits.
pub(crate) struct Memory {
    head: Option<Head>,
    accounts: LruCache<AccountKey, (Account, Vec<Limit>)>,
    rest: u32,
}

/// The rows of a batch, as far as they are remembered.
pub(crate) struct Recalled {
    pub(crate) book: Book,
    /// The accounts to read.
    pub(crate) missing: Vec<AccountKey>,
}

impl Default for Memory {
    fn default() -> Self {
        Memory { head: None, accounts: LruCache::new(MOST), rest: 0 }
    }
}

impl Memory {
    /// The rows that these calls name, under `head`, which `before` has left if it is not committed yet. `None` if more has
    /// to be read than accounts.
    pub(crate) fn recall(&mut self, head: Head, before: Option<&Book>, calls: &[Call]) -> Option<Recalled> {
        if self.rest > 0 {
            self.rest = self.rest.saturating_sub(1);
            return None;
        }
        if self.head != Some(head) {
            return None;
        }
        let mut book = Book::new(head.seq);
        let mut named = BTreeSet::new();
        for call in calls {
            for transfer in &call.transfers {
                let Subject::Accounts { debit, credit } = transfer.subject else { return None };
                if before.is_some_and(|before| before.known((call.environment, transfer.id)).is_some()) {
                    return None;
                }
                named.extend([(call.environment, debit), (call.environment, credit)]);
            }
        }
        let mut missing = Vec::new();
        for key in named {
            match self.accounts.get(&key) {
                Some((account, limits)) => {
                    book.add_account(key.0, account.clone());
                    limits.iter().for_each(|limit| book.add_limit(key.0, *limit));
                }
                None => missing.push(key),
            }
        }
        Some(Recalled { book, missing })
    }

    /// What a batch after `before` leaves behind. If it is not written after all, no head will be the one it left.
    pub(crate) fn learn(&mut self, before: Head, written: &Written) {
        if self.head != Some(before) {
            self.accounts.clear();
        }
        self.head = Some(written.head);
        for (key, account, limits) in written.book.accounts() {
            self.accounts.insert(key, (account.clone(), limits));
        }
    }

    /// What was decided from memory could not be written.
    pub(crate) fn rest(&mut self) {
        self.rest = REST;
    }
}
