//! Money against its laws: exact or refused.

#![allow(clippy::arithmetic_side_effects, reason = "a panic in a test is its failure report")]

use super::*;
use proptest::prelude::*;

fn mxn(amount: i64) -> Money {
    Money { amount, currency: Currency::parse("MXN").unwrap() }
}

fn cop(amount: i64) -> Money {
    Money { amount, currency: Currency::parse("COP").unwrap() }
}

#[test]
fn every_code_reads_back_as_itself_once() {
    let mut codes: Vec<_> = Currency::all().map(|currency| currency.code().to_owned()).collect();
    assert_eq!(codes.len(), BY_CODE_COUNT);
    codes.sort();
    let mut unique = codes.clone();
    unique.dedup();
    assert_eq!(codes, unique);
    for code in codes {
        assert_eq!(Currency::parse(&code).map(|currency| currency.to_string()), Some(code));
    }
}

/// The codes of Debian's iso-codes 4.15, less withdrawn ones, codes without a minor unit, and with those added since.
const BY_CODE_COUNT: usize = 165;

#[test]
fn exponents_are_those_of_the_standard() {
    for (code, exponent) in
        [("MXN", 2), ("COP", 2), ("BRL", 2), ("USD", 2), ("CLP", 0), ("JPY", 0), ("KWD", 3), ("CLF", 4)]
    {
        assert_eq!(Currency::parse(code).map(|currency| currency.exponent()), Some(exponent), "{code}");
    }
}

#[test]
fn other_texts_are_no_currency() {
    for text in ["", "MX", "MXNN", "mxn", "MX ", " XN", "XAU", "XXX", "ZZZ", "ÑÑ", "M\0N", "N M"] {
        assert_eq!(text.parse::<Currency>(), Err(UnknownCurrency), "{text:?}");
    }
}

#[test]
fn the_wire_form_is_minor_units_and_a_code() {
    let text = r#"{"amount":123456,"currency":"MXN"}"#;
    assert_eq!(serde_json::from_str::<Money>(text).unwrap(), mxn(123_456));
    assert_eq!(serde_json::to_string(&mxn(123_456)).unwrap(), text);
    for refused in [
        r#"{"amount":1.5,"currency":"MXN"}"#,
        r#"{"amount":"1","currency":"MXN"}"#,
        r#"{"amount":1,"currency":"mxn"}"#,
        r#"{"amount":1,"currency":7}"#,
        r#"{"amount":1}"#,
        r#"{"amount":1,"currency":"MXN","unit":"cent"}"#,
        r#"{"amount":9223372036854775808,"currency":"MXN"}"#,
    ] {
        assert!(serde_json::from_str::<Money>(refused).is_err(), "{refused}");
    }
}

#[test]
fn amounts_out_of_range_are_named() {
    assert_eq!(mxn(MAX_AMOUNT).in_range(), Ok(mxn(MAX_AMOUNT)));
    assert_eq!(mxn(MAX_AMOUNT + 1).in_range(), Err(MoneyError::OutOfRange));
    assert_eq!(mxn(-MAX_AMOUNT - 1).in_range(), Err(MoneyError::OutOfRange));
    assert_eq!(mxn(0).positive(), Err(MoneyError::NotPositive));
    assert_eq!(mxn(-1).positive(), Err(MoneyError::NotPositive));
    assert_eq!(mxn(i64::MIN).positive(), Err(MoneyError::NotPositive));
    assert_eq!(mxn(i64::MAX).positive(), Err(MoneyError::OutOfRange));
    assert_eq!(mxn(1).positive(), Ok(mxn(1)));
}

#[test]
fn sums_are_exact_or_refused() {
    assert_eq!(mxn(MAX_AMOUNT - 1).checked_add(mxn(1)), Ok(mxn(MAX_AMOUNT)));
    assert_eq!(mxn(MAX_AMOUNT).checked_add(mxn(1)), Err(MoneyError::OutOfRange));
    assert_eq!(mxn(i64::MAX).checked_add(mxn(i64::MAX)), Err(MoneyError::OutOfRange));
    assert_eq!(mxn(-MAX_AMOUNT).checked_sub(mxn(1)), Err(MoneyError::OutOfRange));
    assert_eq!(mxn(1).checked_sub(mxn(3)), Ok(mxn(-2)));
    let mismatch = MoneyError::CurrencyMismatch { left: mxn(0).currency, right: cop(0).currency };
    assert_eq!(mxn(1).checked_add(cop(1)), Err(mismatch));
}

#[test]
fn decimals_follow_the_exponent() {
    let money = |amount, code| Money { amount, currency: Currency::parse(code).unwrap() };
    for (amount, code, text) in [
        (123_456, "MXN", "1234.56"),
        (-5, "MXN", "-0.05"),
        (0, "BRL", "0.00"),
        (7, "CLP", "7"),
        (1, "KWD", "0.001"),
        (i64::MIN, "MXN", "-92233720368547758.08"),
    ] {
        assert_eq!(money(amount, code).decimal(), text);
    }
    assert_eq!(mxn(100).to_string(), "1.00 MXN");
}

#[test]
fn the_left_over_goes_to_the_largest_remainder_then_to_the_earlier() {
    let parts = |amount, weights: &[u64]| {
        mxn(amount).allocate(weights).map(|parts| parts.iter().map(|part| part.amount).collect::<Vec<_>>())
    };
    assert_eq!(parts(100, &[1, 1, 1]), Ok(vec![34, 33, 33]));
    assert_eq!(parts(-100, &[1, 1, 1]), Ok(vec![-34, -33, -33]));
    assert_eq!(parts(5, &[3, 7]), Ok(vec![2, 3]));
    assert_eq!(parts(10, &[1, 0, 2]), Ok(vec![3, 0, 7]));
    assert_eq!(parts(0, &[1, 2]), Ok(vec![0, 0]));
    assert_eq!(parts(1, &[]), Err(MoneyError::NoWeights));
    assert_eq!(parts(1, &[0, 0]), Err(MoneyError::NoWeights));
    assert_eq!(parts(i64::MIN, &[1]), Err(MoneyError::OutOfRange));
}

proptest! {
    #[test]
    fn allocation_loses_nothing_and_is_fair(
        amount in -MAX_AMOUNT..=MAX_AMOUNT,
        weights in prop::collection::vec(prop_oneof![0_u64..10, any::<u64>()], 1..40),
    ) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let parts = mxn(amount).allocate(&weights).unwrap();
        prop_assert_eq!(parts.len(), weights.len());
        prop_assert_eq!(parts.iter().map(|part| i128::from(part.amount)).sum::<i128>(), i128::from(amount));
        let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        for (part, weight) in parts.iter().zip(&weights) {
            prop_assert!(part.amount == 0 || (part.amount < 0) == (amount < 0), "a part has the sign of the whole");
            let floor = u128::from(amount.unsigned_abs()) * u128::from(*weight) / total;
            let part = u128::from(part.amount.unsigned_abs());
            prop_assert!(part == floor || part == floor + 1, "within one unit of the exact share");
            prop_assert!(*weight > 0 || part == 0, "no weight, no money");
        }
    }

    #[test]
    fn subtraction_undoes_addition(a in -MAX_AMOUNT..=MAX_AMOUNT, b in -MAX_AMOUNT..=MAX_AMOUNT) {
        match mxn(a).checked_add(mxn(b)) {
            Ok(sum) => prop_assert_eq!(sum.checked_sub(mxn(b)), Ok(mxn(a))),
            Err(error) => {
                prop_assert_eq!(error, MoneyError::OutOfRange);
                prop_assert!((i128::from(a) + i128::from(b)).abs() > i128::from(MAX_AMOUNT));
            }
        }
    }
}
