//! Who a party is, and what makes what a caller says of one acceptable; pure.
//!
//! Nothing here derives `Debug`: personal data must not reach a log by accident.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use tenants::{
    id::PartyId,
    jurisdiction::Country,
    profile::{Person, Profile},
};

/// The longest name, and part of an address, in characters.
pub const LONGEST_TEXT: usize = 140;
/// The longest `external_id`, in characters.
pub const LONGEST_EXTERNAL_ID: usize = 100;
/// The most identifiers of one party.
pub const MOST_IDENTIFIERS: usize = 8;
/// The most lines of an address above the city.
pub const MOST_ADDRESS_LINES: usize = 4;
/// The longest address of electronic mail, in characters (RFC 5321 §4.5.3.1.3, without the brackets).
const LONGEST_EMAIL: usize = 254;

/// What a caller says of a party, unchecked.
#[derive(Clone)]
pub struct Draft {
    /// Natural or legal.
    pub person: Option<Person>,
    /// The caller's own id.
    pub external_id: Option<String>,
    /// Of a natural person.
    pub given_names: Option<String>,
    /// Of a natural person.
    pub family_names: Option<String>,
    /// Of a legal person.
    pub legal_name: Option<String>,
    /// Of a legal person.
    pub trade_name: Option<String>,
    /// Of a natural person.
    pub born_on: Option<NaiveDate>,
    /// Code and value.
    pub identifiers: Vec<(String, String)>,
    /// Electronic mail.
    pub email: Option<String>,
    /// E.164.
    pub phone: Option<String>,
    /// Where it lives or sits.
    pub address: Option<Address>,
}

/// A person's name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// Of a natural person.
    Natural {
        /// First names.
        given_names: String,
        /// Surnames, in the order the person uses.
        family_names: String,
    },
    /// Of a legal person.
    Legal {
        /// As registered.
        legal_name: String,
        /// As customers know it.
        trade_name: Option<String>,
    },
}

impl Name {
    /// Whose name it is.
    pub const fn person(&self) -> Person {
        match self {
            Self::Natural { .. } => Person::Natural,
            Self::Legal { .. } => Person::Legal,
        }
    }

    /// The name as one text.
    pub fn display(&self) -> String {
        match self {
            Self::Natural { given_names, family_names } => format!("{given_names} {family_names}"),
            Self::Legal { legal_name, .. } => legal_name.clone(),
        }
    }

    /// The name as a payer may see it who does not know the payee: of a natural person the first letters of each word,
    /// enough to notice a wrong account and too little to learn a stranger's name.
    pub fn masked(&self) -> String {
        const SHOWN: usize = 3;
        match self {
            Self::Natural { .. } => {
                let word = |word: &str| {
                    // Of a short word less, so that something is always hidden.
                    let shown = SHOWN.min(word.chars().count().saturating_sub(1));
                    word.chars().take(shown).chain("***".chars()).collect::<String>()
                };
                self.display().split_whitespace().map(word).collect::<Vec<_>>().join(" ")
            }
            Self::Legal { .. } => self.display(),
        }
    }
}

/// What an authority calls a party.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identifier {
    /// A code of the profile, such as `CURP`.
    pub code: String,
    /// In its normal spelling.
    pub value: String,
}

/// Where a party lives or sits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Street, number, neighbourhood; one to four.
    pub lines: Vec<String>,
    /// City or municipality.
    pub city: String,
    /// State or department.
    pub region: Option<String>,
    /// Postal code.
    pub postal_code: Option<String>,
    /// ISO 3166-1.
    pub country: Country,
}

/// What is known of a party, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Particulars {
    /// The caller's own id, unique in the environment.
    pub external_id: Option<String>,
    /// Its name.
    pub name: Name,
    /// Birthday of a natural person.
    pub born_on: Option<NaiveDate>,
    /// At most one of each code, by code.
    pub identifiers: Vec<Identifier>,
    /// Electronic mail.
    pub email: Option<String>,
    /// E.164.
    pub phone: Option<String>,
    /// Where it lives or sits.
    pub address: Option<Address>,
}

/// A party.
#[derive(Clone, PartialEq, Eq)]
pub struct Party {
    /// Its id.
    pub id: PartyId,
    /// What is known of it.
    pub particulars: Particulars,
    /// Counts its changes, from 1; its `ETag`.
    pub version: i64,
    /// Environment time.
    pub created_at: DateTime<Utc>,
    /// Environment time.
    pub updated_at: DateTime<Utc>,
}

/// A change of contacts: `None` keeps, `Some(None)` removes.
#[derive(Clone)]
pub struct ContactChange {
    /// Electronic mail.
    pub email: Option<Option<String>>,
    /// E.164.
    pub phone: Option<Option<String>>,
    /// Where it lives or sits.
    pub address: Option<Option<Address>>,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer.
    pub field: Cow<'static, str>,
    /// What is wrong; never the value itself.
    pub flaw: Flaw,
}

/// What can be wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// It is required.
    Missing,
    /// Empty, with control characters, or not of its form.
    Malformed,
    /// Longer than this many characters, or more than this many items.
    TooLong(usize),
    /// It belongs to the other kind of person.
    OtherPerson,
    /// The profile has no such identifier for this kind of person; it has these.
    UnknownIdentifier(String),
    /// Not of the form of this identifier.
    IdentifierForm(String),
    /// An identifier of this code stands there before.
    Twice,
    /// No address of electronic mail.
    Email,
    /// No number of E.164.
    Phone,
    /// Before 1900 or after today.
    BirthDate,
}

/// Collects all faults of a draft.
#[derive(Default)]
struct Check(Vec<Fault>);

impl Check {
    fn fault(&mut self, field: impl Into<Cow<'static, str>>, flaw: Flaw) {
        self.0.push(Fault { field: field.into(), flaw });
    }

    /// The trimmed text, if it is acceptable.
    fn text(&mut self, field: impl Into<Cow<'static, str>>, text: &str, longest: usize) -> String {
        let text = text.trim();
        if text.is_empty() || text.chars().any(char::is_control) {
            self.fault(field, Flaw::Malformed);
        } else if text.chars().count() > longest {
            self.fault(field, Flaw::TooLong(longest));
        }
        text.to_owned()
    }

    fn required(&mut self, field: &'static str, text: Option<&str>) -> String {
        match text {
            Some(text) => self.text(field, text, LONGEST_TEXT),
            None => {
                self.fault(field, Flaw::Missing);
                String::new()
            }
        }
    }

    fn optional(&mut self, field: &'static str, text: Option<&str>) -> Option<String> {
        text.map(|text| self.text(field, text, LONGEST_TEXT))
    }

    /// Fields of the other kind of person are faults, not ignored.
    fn absent(&mut self, fields: [(&'static str, bool); 3]) {
        for (field, there) in fields {
            if there {
                self.fault(field, Flaw::OtherPerson);
            }
        }
    }

    fn email(&mut self, email: Option<&str>) -> Option<String> {
        let email = email?.trim();
        if !is_email(email) {
            self.fault("/email", Flaw::Email);
        }
        Some(email.to_owned())
    }

    fn phone(&mut self, phone: Option<&str>) -> Option<String> {
        let phone = phone?.trim();
        if !is_phone(phone) {
            self.fault("/phone", Flaw::Phone);
        }
        Some(phone.to_owned())
    }

    fn address(&mut self, address: Option<&Address>) -> Option<Address> {
        let address = address?;
        if address.lines.is_empty() {
            self.fault("/address/lines", Flaw::Missing);
        }
        if address.lines.len() > MOST_ADDRESS_LINES {
            self.fault("/address/lines", Flaw::TooLong(MOST_ADDRESS_LINES));
            return None;
        }
        let line =
            |(at, line): (usize, &String)| self.text(format!("/address/lines/{at}"), line, LONGEST_TEXT);
        let lines = address.lines.iter().enumerate().map(line).collect();
        Some(Address {
            lines,
            city: self.text("/address/city", &address.city, LONGEST_TEXT),
            region: self.optional("/address/region", address.region.as_deref()),
            postal_code: self.optional("/address/postal_code", address.postal_code.as_deref()),
            country: address.country,
        })
    }

    fn identifiers(
        &mut self,
        profile: &Profile,
        person: Person,
        given: &[(String, String)],
    ) -> Vec<Identifier> {
        if given.len() > MOST_IDENTIFIERS {
            self.fault("/identifiers", Flaw::TooLong(MOST_IDENTIFIERS));
            return Vec::new();
        }
        let mut found: Vec<Identifier> = Vec::with_capacity(given.len());
        for (at, (code, value)) in given.iter().enumerate() {
            let Some(known) = profile.identifier(code, person) else {
                let codes = profile.identifiers.iter().filter(|known| known.person == person);
                let codes = codes.map(|known| known.code.as_str()).collect::<Vec<_>>().join(", ");
                self.fault(format!("/identifiers/{at}/type"), Flaw::UnknownIdentifier(codes));
                continue;
            };
            if found.iter().any(|before| before.code == *code) {
                self.fault(format!("/identifiers/{at}/type"), Flaw::Twice);
                continue;
            }
            match known.normal(value) {
                Some(value) => found.push(Identifier { code: code.clone(), value }),
                None => {
                    self.fault(format!("/identifiers/{at}/value"), Flaw::IdentifierForm(code.clone()));
                }
            }
        }
        found.sort();
        found
    }

    fn end<T>(self, value: T) -> Result<T, Vec<Fault>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

impl Draft {
    /// What the draft says, if it is acceptable under the profile; `today` is the business date.
    ///
    /// # Errors
    /// Every fault there is.
    pub fn check(&self, profile: &Profile, today: NaiveDate) -> Result<Particulars, Vec<Fault>> {
        let mut check = Check::default();
        let Some(person) = self.person else {
            check.fault("/type", Flaw::Missing);
            return Err(check.0);
        };
        let external_id =
            self.external_id.as_deref().map(|id| check.text("/external_id", id, LONGEST_EXTERNAL_ID));
        let name = match person {
            Person::Natural => {
                check.absent([
                    ("/legal_name", self.legal_name.is_some()),
                    ("/trade_name", self.trade_name.is_some()),
                    ("", false),
                ]);
                Name::Natural {
                    given_names: check.required("/given_names", self.given_names.as_deref()),
                    family_names: check.required("/family_names", self.family_names.as_deref()),
                }
            }
            Person::Legal => {
                check.absent([
                    ("/given_names", self.given_names.is_some()),
                    ("/family_names", self.family_names.is_some()),
                    ("/born_on", self.born_on.is_some()),
                ]);
                Name::Legal {
                    legal_name: check.required("/legal_name", self.legal_name.as_deref()),
                    trade_name: check.optional("/trade_name", self.trade_name.as_deref()),
                }
            }
        };
        let first = NaiveDate::from_yo_opt(1900, 1).unwrap_or_default();
        if self.born_on.is_some_and(|born_on| born_on < first || born_on > today) {
            check.fault("/born_on", Flaw::BirthDate);
        }
        let particulars = Particulars {
            external_id,
            name,
            born_on: self.born_on,
            identifiers: check.identifiers(profile, person, &self.identifiers),
            email: check.email(self.email.as_deref()),
            phone: check.phone(self.phone.as_deref()),
            address: check.address(self.address.as_ref()),
        };
        check.end(particulars)
    }
}

impl Particulars {
    /// With these contacts.
    ///
    /// # Errors
    /// Every fault of the change.
    pub fn with(&self, change: &ContactChange) -> Result<Self, Vec<Fault>> {
        let mut check = Check::default();
        let mut after = self.clone();
        if let Some(email) = &change.email {
            after.email = check.email(email.as_deref());
        }
        if let Some(phone) = &change.phone {
            after.phone = check.phone(phone.as_deref());
        }
        if let Some(address) = &change.address {
            after.address = check.address(address.as_ref());
        }
        check.end(after)
    }
}

/// One `@` between a local part and a domain of at least two labels. Whether mail arrives is for a probe to find out.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let plain = |char: char| !char.is_whitespace() && !char.is_control() && char != '@';
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.chars().count() <= LONGEST_EMAIL
        && (1..=64).contains(&local.len())
        && local.chars().all(plain)
        && domain.contains('.')
        && domain.split('.').all(label)
}

/// `+`, a country code and a number: 7 to 15 digits, the first of them not 0 (ITU-T E.164).
fn is_phone(text: &str) -> bool {
    let Some(digits) = text.strip_prefix('+') else { return false };
    (7..=15).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mexico() -> &'static Profile {
        tenants::profile::profile(&"mx-cnbv".parse().unwrap()).unwrap()
    }

    fn today() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 1, 15).unwrap()
    }

    fn ana() -> Draft {
        Draft {
            person: Some(Person::Natural),
            external_id: Some("c-1".to_owned()),
            given_names: Some(" Ana Lucía ".to_owned()),
            family_names: Some("García".to_owned()),
            legal_name: None,
            trade_name: None,
            born_on: NaiveDate::from_ymd_opt(1990, 1, 31),
            identifiers: vec![
                ("RFC".to_owned(), "gogl-900131-ab1".to_owned()),
                ("CURP".to_owned(), "GOGL900131MDFRRN09".to_owned()),
            ],
            email: Some("ana@example.mx".to_owned()),
            phone: Some("+525512345678".to_owned()),
            address: Some(Address {
                lines: vec!["Calle 1".to_owned()],
                city: "México".to_owned(),
                region: None,
                postal_code: Some("06000".to_owned()),
                country: "MX".parse().unwrap(),
            }),
        }
    }

    /// The faults of Ana's draft, changed.
    fn faults(change: impl FnOnce(&mut Draft)) -> Vec<(String, Flaw)> {
        let mut draft = ana();
        change(&mut draft);
        let faults = draft.check(mexico(), today()).err().unwrap_or_default();
        faults.into_iter().map(|fault| (fault.field.into_owned(), fault.flaw)).collect()
    }

    #[test]
    fn what_is_kept_is_normal() {
        let kept = ana().check(mexico(), today()).ok().unwrap();
        assert_eq!(kept.name.display(), "Ana Lucía García");
        let identifiers: Vec<_> = kept.identifiers.iter().map(|one| (&*one.code, &*one.value)).collect();
        assert_eq!(identifiers, [("CURP", "GOGL900131MDFRRN09"), ("RFC", "GOGL900131AB1")]);
    }

    #[test]
    fn a_payer_sees_enough_of_a_stranger_and_no_more() {
        let natural = |given: &str, family: &str| {
            Name::Natural { given_names: given.to_owned(), family_names: family.to_owned() }.masked()
        };
        assert_eq!(natural("Ana Lucía", "García de Ávila"), "An*** Luc*** Gar*** d*** Ávi***");
        assert_eq!(natural("Ñ", "O"), "*** ***");
        let legal = Name::Legal { legal_name: "Tienda SA".to_owned(), trade_name: None };
        assert_eq!(legal.masked(), "Tienda SA");
    }

    #[test]
    fn every_fault_is_named() {
        let one = |field: &str, flaw: Flaw| vec![(field.to_owned(), flaw)];
        assert_eq!(faults(|_| ()), []);
        assert_eq!(faults(|draft| draft.person = None), one("/type", Flaw::Missing));
        assert_eq!(faults(|draft| draft.given_names = None), one("/given_names", Flaw::Missing));
        assert_eq!(
            faults(|draft| draft.given_names = Some(" ".into())),
            one("/given_names", Flaw::Malformed)
        );
        assert_eq!(
            faults(|draft| draft.family_names = Some("a\u{0}".into())),
            one("/family_names", Flaw::Malformed)
        );
        assert_eq!(
            faults(|draft| draft.family_names = Some("a".repeat(141))),
            one("/family_names", Flaw::TooLong(140))
        );
        assert_eq!(
            faults(|draft| draft.legal_name = Some("x".into())),
            one("/legal_name", Flaw::OtherPerson)
        );
        assert_eq!(faults(|draft| draft.born_on = today().succ_opt()), one("/born_on", Flaw::BirthDate));
        assert_eq!(
            faults(|draft| draft.identifiers[0].0 = "CPF".into()),
            one("/identifiers/0/type", Flaw::UnknownIdentifier("CURP, RFC".into()))
        );
        assert_eq!(
            faults(|draft| draft.identifiers[1].0 = "RFC".into()),
            one("/identifiers/1/type", Flaw::Twice)
        );
        assert_eq!(
            faults(|draft| draft.identifiers[1].1 = "X".into()),
            one("/identifiers/1/value", Flaw::IdentifierForm("CURP".into()))
        );
        assert_eq!(
            faults(|draft| draft.identifiers = vec![Default::default(); 9]),
            one("/identifiers", Flaw::TooLong(8))
        );
        assert_eq!(
            faults(|draft| draft.address.as_mut().unwrap().lines.clear()),
            one("/address/lines", Flaw::Missing)
        );
        let both = faults(|draft| {
            draft.email = Some("ana".into());
            draft.phone = Some("5512345678".into());
        });
        assert_eq!(both, [("/email".to_owned(), Flaw::Email), ("/phone".to_owned(), Flaw::Phone)]);
        let legal = faults(|draft| draft.person = Some(Person::Legal));
        let fields: Vec<&str> = legal.iter().map(|(field, _)| &**field).collect();
        assert_eq!(
            fields,
            [
                "/given_names",
                "/family_names",
                "/born_on",
                "/legal_name",
                "/identifiers/0/value",
                "/identifiers/1/type"
            ]
        );
    }

    #[test]
    fn mail_and_phone_have_their_forms() {
        for good in ["a@b.co", "a+b.c@sub.example.com.br", "ñandú@example.org"] {
            assert!(is_email(good), "{good}");
        }
        for bad in
            ["", "a", "@b.co", "a@", "a@b", "a b@c.co", "a@b..co", "a@-b.co", "a@b@c.co", "a@b.co\u{7f}."]
        {
            assert!(!is_email(bad), "{bad}");
        }
        for good in ["+525512345678", "+5511912345678", "+1234567"] {
            assert!(is_phone(good), "{good}");
        }
        for bad in
            ["", "+", "525512345678", "+0525512345678", "+123456", "+1234567890123456", "+52 55", "+5255a"]
        {
            assert!(!is_phone(bad), "{bad}");
        }
    }

    #[test]
    fn contacts_change_one_by_one() {
        let before = ana().check(mexico(), today()).ok().unwrap();
        let keep = ContactChange { email: None, phone: None, address: None };
        assert!(before.with(&keep).ok().unwrap() == before);
        let change =
            ContactChange { email: Some(None), phone: Some(Some("+5215555".to_owned())), ..keep.clone() };
        let after = before.with(&change).ok().unwrap();
        assert!(after.email.is_none() && after.phone.as_deref() == Some("+5215555"));
        assert!(after.address == before.address && after.name == before.name);
        let bad = ContactChange { phone: Some(Some("1".to_owned())), ..keep };
        assert_eq!(bad_fields(&before, &bad), ["/phone"]);
    }

    fn bad_fields(before: &Particulars, change: &ContactChange) -> Vec<String> {
        let faults = before.with(change).err().unwrap_or_default();
        faults.into_iter().map(|fault| fault.field.into_owned()).collect()
    }
}
