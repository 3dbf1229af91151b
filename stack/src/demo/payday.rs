//! Who pays whom on payday: always the same for the same number of customers.
//!
//! In rounds: everybody gets a salary, pays the rent, gets a bonus, buys groceries, and pays a friend back; then anew.
//! A round begins when the one before is done, and nobody spends more than came in, so the order within a round does
//! not matter and nothing is refused.

use rand::Rng;

use super::people::People;

/// A customer's place in the list of those who have an account.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Who {
    /// One who earns.
    Person(usize),
    /// One who pays.
    Company(usize),
}

/// One transfer.
pub struct Payment {
    /// Its place in the payday.
    pub number: usize,
    /// Who pays.
    pub from: Who,
    /// Who is paid.
    pub to: Who,
    /// Minor units.
    pub amount: i64,
    /// What for.
    pub reference: &'static str,
}

/// The transfers, by round.
pub fn payments(people: &People, persons: usize, companies: usize, count: usize) -> Vec<Vec<Payment>> {
    let words = people.language();
    let payment = |number: usize| {
        let (round, person) = (number / persons, number % persons);
        let percent = |from: i64, to: i64| {
            let part = people.chance(number, 3).random_range(from..=to);
            // Pay times a hundred is far from the limit.
            people.pay(person).saturating_mul(part) / 100
        };
        let earner = Who::Person(person);
        let employer = Who::Company(person % companies);
        let shop = |further: usize| Who::Company((person + further) % companies);
        let (from, to, amount, reference) = match round % 5 {
            0 => (employer, earner, percent(100, 100), &words.salary),
            1 => (earner, shop(1), percent(25, 35), &words.rent),
            2 => (employer, earner, percent(10, 20), &words.bonus),
            3 => (earner, shop(7), percent(5, 15), &words.groceries),
            _ => (earner, Who::Person((person + 1) % persons), percent(1, 10), &words.friend),
        };
        Payment { number, from, to, amount, reference }
    };
    let mut rounds: Vec<Vec<Payment>> = Vec::new();
    for payment in (0..count).map(payment) {
        match rounds.last_mut() {
            Some(round) if round[0].number / persons == payment.number / persons => round.push(payment),
            _ => rounds.push(vec![payment]),
        }
    }
    rounds
}

/// What each company needs before the first round: all that it pays, since what comes back may come too late.
pub fn funding(rounds: &[Vec<Payment>], companies: usize) -> Vec<i64> {
    let mut needed = vec![0_i64; companies];
    for payment in rounds.iter().flatten() {
        if let Who::Company(company) = payment.from {
            needed[company] = needed[company].saturating_add(payment.amount);
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn nobody_spends_what_is_not_there() {
        for profile in tenants::profile::all() {
            let people = People::of(&profile.jurisdiction).unwrap();
            let rounds = payments(&people, 95, 4, 1_000);
            assert_eq!(rounds.iter().map(Vec::len).sum::<usize>(), 1_000);
            let mut balances: BTreeMap<Who, i64> = BTreeMap::new();
            for (company, amount) in funding(&rounds, 4).into_iter().enumerate() {
                balances.insert(Who::Company(company), amount);
            }
            for round in &rounds {
                // The worst order: all that is paid, before anything comes in.
                for payment in round {
                    assert!(payment.amount > 0 && payment.from != payment.to);
                    *balances.entry(payment.from).or_default() -= payment.amount;
                }
                assert!(balances.values().all(|balance| *balance >= 0));
                for payment in round {
                    *balances.entry(payment.to).or_default() += payment.amount;
                }
            }
        }
    }
}
