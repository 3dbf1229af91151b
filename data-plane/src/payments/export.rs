//! Payments as lines of an export.

use chrono::{DateTime, Utc};
use serde::Serialize;
use tenants::{
    id::{AccountId, ClientId, PaymentId, PreviewId, TransferId},
    money::Currency,
};
use utoipa::ToSchema;

use super::{Payment, Status};

/// A payment, and what became of it. Amounts are minor units.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExportedPayment)]
pub struct PaymentLine {
    /// Its id.
    pub id: PaymentId,
    /// The preview that it was.
    pub preview_id: PreviewId,
    /// The caller's own id.
    pub external_id: Option<String>,
    /// Who paid.
    pub debit_account_id: AccountId,
    /// Who was paid.
    pub credit_account_id: AccountId,
    /// What was ordered.
    pub amount: i64,
    /// Of all amounts here.
    pub currency: Currency,
    /// What stands on both statements.
    pub reference: Option<String>,
    /// Where it stands.
    pub status: Status,
    /// Why it was rejected or has expired: the name of the ledger's refusal.
    pub reason: Option<&'static str>,
    /// The transfer that moved the money, once it has.
    pub transfer_id: Option<TransferId>,
    /// What has moved, once it has.
    pub settled_amount: Option<i64>,
    /// The client that committed it.
    pub client_id: Option<ClientId>,
    /// The request that committed it.
    pub request_id: String,
    /// The `Idempotency-Key` of that request.
    pub idempotency_key: String,
    /// When it was committed.
    pub created_at: DateTime<Utc>,
    /// When it was to end.
    pub expires_at: DateTime<Utc>,
    /// When its amount was set aside.
    pub authorised_at: Option<DateTime<Utc>>,
    /// When it reached its final status.
    pub ended_at: Option<DateTime<Utc>>,
}

impl From<Payment> for PaymentLine {
    fn from(payment: Payment) -> Self {
        Self {
            id: payment.id,
            preview_id: payment.preview,
            external_id: payment.external_id,
            debit_account_id: payment.order.debit,
            credit_account_id: payment.order.credit,
            amount: payment.order.money.amount,
            currency: payment.order.money.currency,
            reference: payment.order.reference,
            status: payment.status,
            reason: payment.refusal.map(|refusal| refusal.reason.code()),
            transfer_id: payment.settlement.map(|done| done.transfer),
            settled_amount: payment.settlement.map(|done| done.amount),
            client_id: payment.client,
            request_id: payment.request_id,
            idempotency_key: payment.key,
            created_at: payment.created_at,
            expires_at: payment.expires_at,
            authorised_at: payment.authorised_at,
            ended_at: payment.ended_at,
        }
    }
}
