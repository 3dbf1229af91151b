//! Money: whole minor units of one currency, with checked arithmetic only.
//!
//! An amount is an `i64` count of the currency's minor unit (ISO 4217 exponent), never a float, and at most
//! [`MAX_AMOUNT`] either way: what every JSON reader can hold exactly. Nothing here wraps, saturates or rounds a unit
//! away: an operation that cannot be exact is a [`MoneyError`].

#![deny(clippy::arithmetic_side_effects)]

use serde::{Deserialize, Serialize};
use std::fmt;

mod currency;

pub use currency::{Currency, UnknownCurrency};

/// The largest amount on the wire and in the books, in minor units: 2^53 − 1 (RFC 8259 §6, RFC 7493 §2.2).
pub const MAX_AMOUNT: i64 = 9_007_199_254_740_991;

/// Why an amount of money could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Two currencies met in one sum.
    #[error("{left} and {right} cannot be added")]
    CurrencyMismatch {
        /// The currency that was expected.
        left: Currency,
        /// The currency that came.
        right: Currency,
    },
    /// The amount is beyond ±[`MAX_AMOUNT`].
    #[error("the amount is beyond {MAX_AMOUNT} minor units")]
    OutOfRange,
    /// The amount is zero or negative where only a positive one makes sense.
    #[error("the amount is not positive")]
    NotPositive,
    /// There is nothing to allocate to: no weights, or all of them zero.
    #[error("there is no weight to allocate by")]
    NoWeights,
}

/// An amount of one currency: `{"amount": 123456, "currency": "MXN"}` is 1,234.56 pesos.
///
/// As read from the wire the amount is any integer of 64 bits, so that whoever receives it can name what is wrong with
/// it ([`Money::positive`], [`Money::in_range`]); the arithmetic gives only amounts in range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// Minor units of the currency.
    pub amount: i64,
    /// The currency.
    pub currency: Currency,
}

impl Money {
    /// `amount` minor units of `currency`, whatever the range: see [`Money::in_range`].
    pub const fn new(amount: i64, currency: Currency) -> Self {
        Self { amount, currency }
    }

    /// No money at all.
    pub const fn zero(currency: Currency) -> Self {
        Self { amount: 0, currency }
    }

    /// This amount, if it is within ±[`MAX_AMOUNT`].
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`] otherwise.
    pub fn in_range(self) -> Result<Self, MoneyError> {
        if (-MAX_AMOUNT..=MAX_AMOUNT).contains(&self.amount) { Ok(self) } else { Err(MoneyError::OutOfRange) }
    }

    /// This amount, if it can be moved: from 1 to [`MAX_AMOUNT`].
    ///
    /// # Errors
    /// [`MoneyError::NotPositive`], then [`MoneyError::OutOfRange`].
    pub fn positive(self) -> Result<Self, MoneyError> {
        if self.amount <= 0 { Err(MoneyError::NotPositive) } else { self.in_range() }
    }

    /// The sum.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`], then [`MoneyError::OutOfRange`].
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.with(other, i64::checked_add)
    }

    /// The difference, which may be negative.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`], then [`MoneyError::OutOfRange`].
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.with(other, i64::checked_sub)
    }

    fn with(self, other: Self, operation: fn(i64, i64) -> Option<i64>) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch { left: self.currency, right: other.currency });
        }
        let amount = operation(self.amount, other.amount).ok_or(MoneyError::OutOfRange)?;
        Self::new(amount, self.currency).in_range()
    }

    /// Shares this amount in proportion to `weights`, without loss: the parts, one per weight and in their order, sum
    /// to the whole, and each is within one minor unit of its exact share.
    ///
    /// The units left over go to the largest remainders; among equal remainders to the earlier weight.
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`] for an amount out of range, [`MoneyError::NoWeights`] where nothing has a weight.
    pub fn allocate(self, weights: &[u64]) -> Result<Vec<Self>, MoneyError> {
        self.in_range()?;
        let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        if total == 0 {
            return Err(MoneyError::NoWeights);
        }
        let whole = self.amount.unsigned_abs();
        let mut left = whole;
        // (share, remainder) of each weight; below 2^53 × 2^64, so u128 holds every product.
        let mut shares = Vec::with_capacity(weights.len());
        for weight in weights {
            let product = u128::from(whole).checked_mul(u128::from(*weight)).ok_or(MoneyError::OutOfRange)?;
            let share = product.checked_div(total).and_then(|share| u64::try_from(share).ok());
            let share = share.ok_or(MoneyError::OutOfRange)?;
            let remainder = product.checked_rem(total).ok_or(MoneyError::NoWeights)?;
            left = left.checked_sub(share).ok_or(MoneyError::OutOfRange)?;
            shares.push((share, remainder));
        }
        let mut by_remainder: Vec<usize> = (0..shares.len()).collect();
        by_remainder.sort_by_key(|&at| std::cmp::Reverse(shares[at].1));
        // Fewer units are left than there are weights with a remainder.
        for at in by_remainder {
            if left == 0 {
                break;
            }
            shares[at].0 = shares[at].0.checked_add(1).ok_or(MoneyError::OutOfRange)?;
            left = left.checked_sub(1).ok_or(MoneyError::OutOfRange)?;
        }
        let sign = if self.amount < 0 { -1 } else { 1 };
        shares
            .into_iter()
            .map(|(share, _)| {
                let share = i64::try_from(share).ok().and_then(|share| share.checked_mul(sign));
                Ok(Self::new(share.ok_or(MoneyError::OutOfRange)?, self.currency))
            })
            .collect()
    }

    /// The amount in major units with all its decimals and a point, as ISO 20022 and CSV want it: `-1234.56`.
    pub fn decimal(self) -> String {
        let exponent = usize::from(self.currency.exponent());
        let sign = if self.amount < 0 { "-" } else { "" };
        let width = exponent.saturating_add(1);
        let digits = format!("{:0>width$}", self.amount.unsigned_abs());
        let (major, minor) = digits.split_at(digits.len().saturating_sub(exponent));
        if minor.is_empty() { format!("{sign}{major}") } else { format!("{sign}{major}.{minor}") }
    }
}

/// `1234.56 MXN`, for logs and tables; what people read is localised elsewhere.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.decimal(), self.currency)
    }
}

impl utoipa::PartialSchema for Money {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{AdditionalProperties, KnownFormat, SchemaFormat, SchemaType, Type};
        let amount = utoipa::openapi::ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Integer))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(-MAX_AMOUNT))
            .maximum(Some(MAX_AMOUNT))
            .description(Some("Minor units of the currency (ISO 4217 exponent)."));
        utoipa::openapi::ObjectBuilder::new()
            .property("amount", amount)
            .required("amount")
            .property("currency", Currency::schema())
            .required("currency")
            .additional_properties(Some(AdditionalProperties::<utoipa::openapi::schema::Schema>::FreeForm(
                false,
            )))
            .description(Some("An amount of one currency."))
            .examples([serde_json::json!({"amount": 123_456, "currency": "MXN"})])
            .into()
    }
}

impl utoipa::ToSchema for Money {}

#[cfg(test)]
mod tests;
