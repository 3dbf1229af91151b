//! The generated customers of a country, good lines and bad ones: always the same, so that a second run finds them all.
//!
//! What a line says depends on the country and its number alone; more customers are the same ones and further ones.

use std::{collections::BTreeMap, sync::LazyLock};

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use serde::Deserialize;
use tenants::jurisdiction::Jurisdiction;

/// One in so many is a company.
const COMPANY_EVERY: usize = 25;
/// One in so many lines is bad.
const BAD_EVERY: usize = 100;
/// The columns of the file.
const HEADER: &str = "external_id,type,given_names,family_names,legal_name,born_on,identifiers,email,phone";

static DATA: LazyLock<Data> =
    LazyLock::new(|| toml::from_str(include_str!("people.toml")).expect("compiled in, and read by a test"));

#[derive(Deserialize)]
struct Data {
    languages: BTreeMap<String, Language>,
    countries: BTreeMap<String, Country>,
}

/// Words of a language.
#[derive(Deserialize)]
pub struct Language {
    given: Vec<String>,
    family: Vec<String>,
    trades: Vec<String>,
    signs: Vec<String>,
    /// References of the payday's transfers.
    pub salary: String,
    pub rent: String,
    pub bonus: String,
    pub groceries: String,
    pub friend: String,
    pub deposit: String,
}

#[derive(Deserialize)]
struct Country {
    phone: String,
    company: String,
    natural: String,
    legal: String,
    pay: [i64; 2],
}

/// Who pays and who is paid in a country.
#[derive(Clone, Copy)]
pub struct People {
    seed: u64,
    domain: &'static str,
    language: &'static Language,
    country: &'static Country,
    minor: i64,
}

/// One line of the file.
pub struct Line {
    /// Its customer's own id.
    pub external_id: String,
    /// Whether it is a company.
    pub company: bool,
    /// Whether it can be imported.
    pub good: bool,
    text: String,
}

impl People {
    /// Of a jurisdiction, if there are words for it.
    pub fn of(jurisdiction: &'static Jurisdiction) -> Option<Self> {
        let language = jurisdiction.locale.split('-').next()?;
        let code = jurisdiction.country.code();
        Some(Self {
            seed: code.bytes().fold(0, |seed, byte| seed << 8 | u64::from(byte)),
            domain: code,
            language: DATA.languages.get(language)?,
            country: DATA.countries.get(code)?,
            minor: 10_i64.checked_pow(u32::from(jurisdiction.currency.exponent()))?,
        })
    }

    /// The words of its language.
    pub fn language(&self) -> &'static Language {
        self.language
    }

    /// A month's pay of customer `number`, in minor units.
    pub fn pay(&self, number: usize) -> i64 {
        let [from, to] = self.country.pay;
        self.chance(number, 1).random_range(from..=to).saturating_mul(self.minor)
    }

    /// A generator that belongs to one use of one customer.
    pub fn chance(&self, number: usize, purpose: u64) -> SmallRng {
        let number = u64::try_from(number).unwrap_or_default();
        SmallRng::seed_from_u64(self.seed << 40 ^ purpose << 32 ^ number)
    }

    /// The file of the first `count` customers, and what each line is.
    pub fn file(&self, count: usize) -> (String, Vec<Line>) {
        let lines: Vec<Line> = (0..count).map(|number| self.line(number)).collect();
        let texts = lines.iter().map(|line| line.text.as_str());
        let text = std::iter::once(HEADER).chain(texts).flat_map(|line| [line, "\n"]).collect();
        (text, lines)
    }

    fn line(&self, number: usize) -> Line {
        let external_id = format!("customer-{:05}", number + 1);
        let company = number.is_multiple_of(COMPANY_EVERY);
        let bad = self.is_bad(number);
        let mut chance = self.chance(number, 0);
        let mut fields = if company {
            self.company(&mut chance, &external_id)
        } else {
            self.person(&mut chance, &external_id)
        };
        if bad {
            spoil(&mut fields, number / BAD_EVERY);
        }
        Line { external_id, company, good: !bad, text: fields.join(",") }
    }

    /// One line in each hundred, never a company's.
    fn is_bad(&self, number: usize) -> bool {
        let at = self.chance(number / BAD_EVERY, 2).random_range(1..COMPANY_EVERY) + COMPANY_EVERY;
        number % BAD_EVERY == at
    }

    fn person(&self, chance: &mut SmallRng, external_id: &str) -> Vec<String> {
        let Language { given, family, .. } = self.language;
        let given = pick(chance, given);
        let families = [pick(chance, family), pick(chance, family)];
        let born = format!(
            "{}-{:02}-{:02}",
            chance.random_range(1955..=2005),
            chance.random_range(1..=12),
            chance.random_range(1..=28)
        );
        let email = self.email(&format!("{} {}", given, families[0]), external_id);
        let identifier = formed(chance, &self.country.natural);
        let phone = formed(chance, &self.country.phone);
        let texts =
            [external_id, "natural", given, &families.join(" "), "", &born, &identifier, &email, &phone];
        texts.map(str::to_owned).to_vec()
    }

    fn company(&self, chance: &mut SmallRng, external_id: &str) -> Vec<String> {
        let Language { trades, signs, .. } = self.language;
        let name = format!("{} {} {}", pick(chance, trades), pick(chance, signs), self.country.company);
        let email = self.email(&name, external_id);
        let identifier = formed(chance, &self.country.legal);
        let phone = formed(chance, &self.country.phone);
        let texts = [external_id, "legal", "", "", &name, "", &identifier, &email, &phone];
        texts.map(str::to_owned).to_vec()
    }

    /// Below `example`, which nobody owns (RFC 2606).
    fn email(&self, name: &str, external_id: &str) -> String {
        let plain = name.to_lowercase().chars().filter_map(unaccented).collect::<String>();
        let number = external_id.trim_start_matches(|char: char| !char.is_ascii_digit());
        format!("{}.{number}@{}.example", plain.trim_matches('.'), self.domain.to_lowercase())
    }
}

fn pick<'a>(chance: &mut SmallRng, words: &'a [String]) -> &'a str {
    words.choose(chance).map_or("", String::as_str)
}

fn formed(chance: &mut SmallRng, form: &str) -> String {
    // The code before the colon has letters of its own.
    let (code, form) = form.split_once(':').map_or(("", form), |(code, form)| (code, form));
    let mut text = if code.is_empty() { String::new() } else { format!("{code}:") };
    text.extend(form.chars().map(|char| match char {
        'A' => char::from(chance.random_range(b'A'..=b'Z')),
        'V' => *b"AEIOU".choose(chance).map_or(&b'A', |vowel| vowel) as char,
        '#' => char::from(chance.random_range(b'0'..=b'9')),
        char => char,
    }));
    text
}

fn unaccented(char: char) -> Option<char> {
    Some(match char {
        'á' | 'ã' | 'â' | 'à' => 'a',
        'é' | 'ê' => 'e',
        'í' => 'i',
        'ó' | 'õ' | 'ô' => 'o',
        'ú' | 'ü' => 'u',
        'ñ' => 'n',
        'ç' => 'c',
        ' ' => '.',
        char if char.is_ascii_alphanumeric() => char,
        _ => return None,
    })
}

/// What people get wrong when they type a list.
fn spoil(fields: &mut Vec<String>, how: usize) {
    let [_, kind, given, family, _, born, identifier, email, phone] = &mut fields[..] else { return };
    match how % 10 {
        0 => *email = email.replace('@', " at "),
        1 => *born = "31/12/1990".to_owned(),
        // A letter for the last digit, as in no identifier of any country.
        2 => {
            identifier.pop();
            identifier.push('O');
        }
        3 => family.clear(),
        4 => given.insert(0, '"'),
        5 => drop(fields.pop()),
        6 => *kind = "persona".to_owned(),
        7 => *identifier = "PASSPORT:G12345678".to_owned(),
        8 => *phone = "55 1234".to_owned(),
        _ => *born = "2190-01-31".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_has_its_people() {
        for profile in tenants::profile::all() {
            let people = People::of(&profile.jurisdiction).unwrap();
            let (file, lines) = people.file(1_000);
            assert_eq!(file.lines().count(), 1_001);
            assert_eq!(lines.iter().filter(|line| !line.good).count(), 10, "one in a hundred");
            assert!(lines.iter().all(|line| line.good || !line.company));
            assert!((0..1_000).all(|number| people.pay(number) > 0));
            let (fewer, _) = people.file(100);
            assert!(file.starts_with(&fewer), "more customers are further ones");
        }
    }

    #[test]
    fn a_form_is_filled() {
        let mut chance = SmallRng::seed_from_u64(1);
        let text = formed(&mut chance, "CURP:AV#-x");
        let [letter, vowel, digit, '-', 'x'] = text["CURP:".len()..].chars().collect::<Vec<_>>()[..] else {
            panic!("{text}")
        };
        assert!(letter.is_ascii_uppercase() && "AEIOU".contains(vowel) && digit.is_ascii_digit());
    }
}
