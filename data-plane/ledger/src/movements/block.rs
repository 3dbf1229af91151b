//! An authority's block: a hold that nobody's capture or void ends, only its own release.

use tenants::{
    id::{AccountId, TransferId},
    money::Money,
};

use super::{Hold, Void};
use crate::transfer::{Side, Transfer};

/// What is available of an account is set aside by order of an authority, at most what was ordered; without end, and
/// whatever the account's limits say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// The hold's id.
    pub id: TransferId,
    /// The account that is blocked.
    pub debit: AccountId,
    /// The account that would get the money.
    pub credit: AccountId,
    /// How much at most.
    pub money: Money,
}

impl From<Block> for Transfer {
    fn from(block: Block) -> Transfer {
        let Block { id, debit, credit, money } = block;
        let hold = Hold { id, debit, credit, money, expires_at: None };
        Transfer { balancing: Some(Side::Debit), block: true, ..hold.into() }
    }
}

/// Ends a block without posting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// The transfer's id.
    pub id: TransferId,
    /// The block's hold.
    pub hold: TransferId,
}

impl From<Release> for Transfer {
    fn from(Release { id, hold }: Release) -> Transfer {
        Transfer { block: true, ..Void { id, hold }.into() }
    }
}
