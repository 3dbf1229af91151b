//! Money: minor units of an ISO 4217 currency, in checked integers.
//!
//! An amount is an `i64` of minor units; on the wire it is a JSON number of at most 2^53 − 1, which every JSON reader
//! keeps exactly (RFC 8259 §6). Nothing here rounds: what cannot be split evenly is allocated to the last unit.

#![deny(clippy::arithmetic_side_effects)]

use serde::{Deserialize, Serialize};

/// The largest amount and the largest balance on the wire: 2^53 − 1 minor units.
pub const MAX_AMOUNT: i64 = 9_007_199_254_740_991;

/// A currency of ISO 4217, list one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// Codes by number of decimals, where it is not two (ISO 4217, amendment 176).
const NO_DECIMALS: &[&str] = &[
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF",
    "XPF",
];
const THREE_DECIMALS: &[&str] = &["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"];
const FOUR_DECIMALS: &[&str] = &["CLF", "UYW"];
const TWO_DECIMALS: &[&str] = &[
    "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BMD", "BND", "BOB", "BOV",
    "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHE", "CHF", "CHW", "CNY", "COP", "COU", "CRC", "CUP",
    "CVE", "CZK", "DKK", "DOP", "DZD", "EGP", "ERN", "ETB", "EUR", "FJD", "FKP", "GBP", "GEL", "GHS", "GIP", "GMD",
    "GTQ", "GYD", "HKD", "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "IRR", "JMD", "KES", "KGS", "KHR", "KPW", "KYD",
    "KZT", "LAK", "LBP", "LKR", "LRD", "LSL", "MAD", "MDL", "MGA", "MKD", "MMK", "MNT", "MOP", "MRU", "MUR", "MVR",
    "MWK", "MXN", "MXV", "MYR", "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "PAB", "PEN", "PGK", "PHP", "PKR",
    "PLN", "QAR", "RON", "RSD", "RUB", "SAR", "SBD", "SCR", "SDG", "SEK", "SGD", "SHP", "SLE", "SOS", "SRD", "SSP",
    "STN", "SVC", "SYP", "SZL", "THB", "TJS", "TMT", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH", "USD", "USN", "UYU",
    "UZS", "VED", "VES", "WST", "XCD", "XCG", "YER", "ZAR", "ZMW", "ZWG",
];

impl Currency {
    /// The currency with this code, upper case as ISO 4217 writes it.
    pub fn parse(code: &str) -> Option<Self> {
        let lists = [TWO_DECIMALS, NO_DECIMALS, THREE_DECIMALS, FOUR_DECIMALS];
        lists.iter().any(|list| list.binary_search(&code).is_ok()).then_some(())?;
        Some(Currency(code.as_bytes().try_into().ok()?))
    }

    /// The three letters.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Decimals of the minor unit: 100 minor units of a currency with 2 are one of the major.
    pub fn exponent(&self) -> u8 {
        match self.code() {
            code if NO_DECIMALS.contains(&code) => 0,
            code if THREE_DECIMALS.contains(&code) => 3,
            code if FOUR_DECIMALS.contains(&code) => 4,
            _ => 2,
        }
    }
}

impl std::fmt::Display for Currency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl std::fmt::Debug for Currency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Currency::parse(&code).ok_or_else(|| serde::de::Error::custom("not a currency code of ISO 4217"))
    }
}

impl utoipa::PartialSchema for Currency {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::SchemaType::Type(utoipa::openapi::Type::String))
            .description(Some("Currency code of ISO 4217."))
            .pattern(Some("^[A-Z]{3}$"))
            .examples(["MXN"])
            .into()
    }
}

impl utoipa::ToSchema for Currency {}

/// Why a calculation with money has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The amounts are in different currencies.
    #[error("the currencies differ")]
    CurrencyMismatch,
    /// The result does not fit.
    #[error("the amount is out of range")]
    Overflow,
    /// No weight to allocate by.
    #[error("there is no weight to allocate by")]
    NoWeight,
}

/// An amount of a currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// Minor units.
    #[schema(minimum = -9007199254740991_i64, maximum = 9007199254740991_i64, example = 123456)]
    pub amount: i64,
    /// Of which currency.
    pub currency: Currency,
}

impl Money {
    /// An amount of minor units.
    pub fn new(amount: i64, currency: Currency) -> Self {
        Money { amount, currency }
    }

    /// The sum.
    pub fn checked_add(self, other: Money) -> Result<Money, MoneyError> {
        self.with(other, i64::checked_add)
    }

    /// The difference.
    pub fn checked_sub(self, other: Money) -> Result<Money, MoneyError> {
        self.with(other, i64::checked_sub)
    }

    fn with(self, other: Money, how: fn(i64, i64) -> Option<i64>) -> Result<Money, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch);
        }
        let amount = how(self.amount, other.amount).ok_or(MoneyError::Overflow)?;
        Ok(Money { amount, ..self })
    }

    /// Splits the amount in proportion to `weights`; the parts sum to it exactly. Each part is within one minor unit of
    /// its share; the units left over go to the largest remainders, earlier parts first (Hamilton's method).
    pub fn allocate(self, weights: &[u64]) -> Result<Vec<Money>, MoneyError> {
        let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        if total == 0 {
            return Err(MoneyError::NoWeight);
        }
        let whole = u128::from(self.amount.unsigned_abs());
        let mut parts = Vec::with_capacity(weights.len());
        let mut remainders = Vec::with_capacity(weights.len());
        let mut given: u128 = 0;
        for (index, weight) in weights.iter().enumerate() {
            let product = whole.checked_mul(u128::from(*weight)).ok_or(MoneyError::Overflow)?;
            let (share, remainder) = (product.div_euclid(total), product.rem_euclid(total));
            given = given.checked_add(share).ok_or(MoneyError::Overflow)?;
            parts.push(share);
            remainders.push((std::cmp::Reverse(remainder), index));
        }
        remainders.sort_unstable();
        let left = usize::try_from(whole.saturating_sub(given)).map_err(|_| MoneyError::Overflow)?;
        for (_, index) in remainders.into_iter().take(left) {
            parts[index] = parts[index].saturating_add(1);
        }
        let sign = |part: u128| {
            let part = i64::try_from(part).map_err(|_| MoneyError::Overflow)?;
            if self.amount < 0 { part.checked_neg().ok_or(MoneyError::Overflow) } else { Ok(part) }
        };
        parts.into_iter().map(|part| Ok(Money { amount: sign(part)?, ..self })).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mxn(amount: i64) -> Money {
        Money::new(amount, Currency::parse("MXN").unwrap())
    }

    #[test]
    fn lists_are_sorted_so_that_they_can_be_searched() {
        for list in [TWO_DECIMALS, NO_DECIMALS, THREE_DECIMALS, FOUR_DECIMALS] {
            assert!(list.is_sorted(), "{list:?}");
        }
    }

    #[test]
    fn only_codes_of_the_list_are_currencies() {
        for code in ["MXN", "COP", "BRL", "CLP", "CLF", "BHD"] {
            assert_eq!(Currency::parse(code).map(|currency| currency.to_string()).as_deref(), Some(code));
        }
        for code in ["mxn", "MX", "MXNN", "XXX", "", "ÄÖ"] {
            assert_eq!(Currency::parse(code), None, "{code}");
        }
        assert_eq!(Currency::parse("CLP").unwrap().exponent(), 0);
        assert_eq!(Currency::parse("CLF").unwrap().exponent(), 4);
    }

    #[test]
    fn nothing_overflows_and_nothing_mixes() {
        assert_eq!(mxn(i64::MAX).checked_add(mxn(1)), Err(MoneyError::Overflow));
        let brl = Money::new(1, Currency::parse("BRL").unwrap());
        assert_eq!(mxn(1).checked_sub(brl), Err(MoneyError::CurrencyMismatch));
    }

    #[test]
    fn allocation_gives_left_over_units_to_the_largest_remainders() {
        let parts = |amount, weights: &[u64]| -> Vec<i64> {
            mxn(amount).allocate(weights).unwrap().iter().map(|part| part.amount).collect()
        };
        assert_eq!(parts(100, &[1, 1, 1]), [34, 33, 33]);
        assert_eq!(parts(-100, &[1, 1, 1]), [-34, -33, -33]);
        assert_eq!(parts(10, &[0, 7, 3]), [0, 7, 3]);
        assert_eq!(parts(5, &[1, 2]), [2, 3]);
        assert_eq!(mxn(1).allocate(&[0, 0]), Err(MoneyError::NoWeight));
    }

    proptest::proptest! {
        #[test]
        fn allocation_loses_nothing_and_is_fair(
            amount in -MAX_AMOUNT..=MAX_AMOUNT,
            weights in proptest::collection::vec(0_u64..1_000_000, 1..20),
        ) {
            proptest::prop_assume!(weights.iter().any(|weight| *weight > 0));
            let total: u64 = weights.iter().sum();
            let parts = mxn(amount).allocate(&weights).unwrap();
            proptest::prop_assert_eq!(parts.iter().map(|part| part.amount).sum::<i64>(), amount);
            for (part, weight) in parts.iter().zip(&weights) {
                let fair = i128::from(amount) * i128::from(*weight);
                let off = (i128::from(part.amount) * i128::from(total) - fair).abs();
                proptest::prop_assert!(off < i128::from(total), "{} of {}", part.amount, amount);
            }
        }
    }
}
