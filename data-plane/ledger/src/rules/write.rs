//! What a transfer that was accepted changes.

use std::sync::Arc;

use super::{checks::sides, *};

impl Book {
    /// Puts a decision into the book and remembers how to take it back.
    pub(super) fn write(
        &mut self,
        call: &Call,
        transfer: &Transfer,
        content: [u8; 16],
        chain: Option<TransferId>,
        now: DateTime<Utc>,
        decision: Decision,
    ) -> Arc<Posted> {
        let environment = call.environment;
        let key = (environment, transfer.id);
        let Decision { debit, credit, amount, effective_at, hold, original } = decision;
        self.count_limits(environment, transfer, &debit, &credit, amount, effective_at);
        let imported = transfer.effective_at.is_some();
        let row = Arc::new(Posted {
            environment,
            id: transfer.id,
            seq: self
                .first_seq
                .saturating_add(i64::try_from(self.posted.len()).unwrap_or(i64::MAX))
                .saturating_add(1),
            kind: transfer.kind,
            debit: debit.id,
            credit: credit.id,
            amount,
            currency: debit.currency,
            hold,
            reverses: original,
            chain,
            imported,
            debit_balance: debit.balance().unwrap_or_default(),
            credit_balance: credit.balance().unwrap_or_default(),
            effective_at,
            booked_at: if imported { now } else { effective_at },
            content,
            actor: call.provenance.actor.clone(),
            client: call.provenance.client,
            request_id: call.provenance.request_id.clone(),
            key: transfer.key.clone(),
            reference: transfer.reference.clone(),
        });
        if transfer.kind == Kind::Hold {
            let placed = Hold {
                environment,
                id: transfer.id,
                debit: debit.id,
                credit: credit.id,
                amount,
                currency: debit.currency,
                state: if transfer.block { HoldState::Blocked } else { HoldState::Held },
                captured: None,
                expires_at: transfer.expires_at,
                placed_at: effective_at,
                resolved_by: None,
            };
            self.holds.insert(key, Slot { row: placed, changed: true, new: true });
            self.undo.push(Undo::Hold(key, None));
        }
        if let Some(id) = hold
            && let Some(slot) = self.holds.get_mut(&(environment, id))
        {
            self.undo.push(Undo::Hold((environment, id), Some(slot.row.clone())));
            slot.row.state = match transfer.kind {
                Kind::Capture => HoldState::Captured,
                Kind::Expiry => HoldState::Expired,
                _ => HoldState::Voided,
            };
            slot.row.captured = (transfer.kind == Kind::Capture).then_some(amount);
            slot.row.resolved_by = Some(transfer.id);
            slot.changed = true;
        }
        if let Some(id) = original {
            self.reversed.insert((environment, id), transfer.id);
            self.undo.push(Undo::Reversed((environment, id)));
        }
        for account in [debit, credit] {
            let account_key = (environment, account.id);
            if let Some(slot) = self.accounts.get_mut(&account_key) {
                self.undo.push(Undo::Account(account_key, std::mem::replace(&mut slot.row, account)));
                slot.changed = true;
            }
        }
        self.known.insert(key, Known::Posted(row.clone()));
        self.undo.push(Undo::Known(key));
        self.posted.push(row.clone());
        row
    }

    fn count_limits(
        &mut self,
        environment: Uuid,
        transfer: &Transfer,
        debit: &Account,
        credit: &Account,
        amount: i64,
        at: DateTime<Utc>,
    ) {
        if self.limits.is_empty() {
            return;
        }
        // What a hold counted when it was placed and does not post now; a block counted nothing.
        let released = match transfer.subject {
            Subject::Hold(id) => self.holds.get(&(environment, id)).map(|slot| &slot.row),
            _ => None,
        };
        let released = released.filter(|hold| hold.state != HoldState::Blocked).map(|hold| {
            let posted = if transfer.kind == Kind::Capture { amount } else { 0 };
            (hold.amount.saturating_sub(posted), hold.placed_at)
        });
        for (account, direction) in sides(debit, credit) {
            let key = (environment, account.id);
            let Some(slots) = self.limits.get_mut(&key) else { continue };
            self.undo.push(Undo::Limits(key, slots.iter().map(|slot| slot.row).collect()));
            for slot in slots.iter_mut().filter(|slot| slot.row.rule.direction == direction) {
                let before = slot.row;
                if limit::applies(slot.row.rule.window, transfer) {
                    slot.row.count(amount, at);
                }
                if let Some((amount, placed_at)) = released {
                    slot.row.give_back(amount, placed_at);
                }
                slot.changed |= slot.row != before;
            }
        }
    }
}
