//! The profiles themselves, and what their reader refuses.

use super::*;
use chrono::TimeZone;

fn by_id(id: &str) -> &'static Profile {
    profile(&id.parse().unwrap()).unwrap()
}

fn date(year: i32, month: u32, day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, month, day).unwrap()
}

#[test]
fn every_profile_reads_and_is_found_by_its_id() {
    for text in TEXTS {
        let id = Profile::parse(text).unwrap().jurisdiction.id;
        assert_eq!(profile(&id).unwrap().jurisdiction.id, id);
    }
    assert_eq!(all().len(), TEXTS.len());
    assert!(profile(&"ar-bcra".parse().unwrap()).is_none());
}

#[test]
fn what_a_country_fixes() {
    for (id, country, currency, locale, zone) in [
        ("mx-cnbv", "MX", "MXN", "es-MX", chrono_tz::America::Mexico_City),
        ("co-sfc", "CO", "COP", "es-CO", chrono_tz::America::Bogota),
        ("br-bcb", "BR", "BRL", "pt-BR", chrono_tz::America::Sao_Paulo),
    ] {
        let jurisdiction = &by_id(id).jurisdiction;
        assert_eq!(jurisdiction.country.code(), country);
        assert_eq!(jurisdiction.currency.code(), currency);
        assert_eq!(jurisdiction.locale, locale);
        assert_eq!(jurisdiction.time_zone, zone);
        assert!(!by_id(id).licences.is_empty() && !by_id(id).kyc_tiers.is_empty());
    }
}

#[test]
fn the_business_date_is_local() {
    let midnight = chrono::Utc.with_ymd_and_hms(2026, 11, 20, 4, 30, 0).unwrap();
    assert_eq!(by_id("mx-cnbv").jurisdiction.date_at(midnight), date(2026, 11, 19));
    assert_eq!(by_id("co-sfc").jurisdiction.date_at(midnight), date(2026, 11, 19));
    assert_eq!(by_id("br-bcb").jurisdiction.date_at(midnight), date(2026, 11, 20));
}

/// Numbers of business days counted apart from this code.
#[test]
fn business_days_of_a_year() {
    for (id, year, count) in [
        ("mx-cnbv", 2026, 251),
        ("mx-cnbv", 2027, 253),
        ("co-sfc", 2026, 242),
        ("co-sfc", 2027, 245),
        ("br-bcb", 2026, 249),
        ("br-bcb", 2027, 251),
    ] {
        let calendar = &by_id(id).jurisdiction.calendar;
        assert_eq!(calendar.business_days(date(year, 1, 1), date(year + 1, 1, 1)), Ok(count), "{id} {year}");
    }
}

/// Brazil against ANBIMA's own list, day by day.
#[test]
fn brazil_agrees_with_anbima() {
    let oracle: std::collections::BTreeSet<NaiveDate> =
        include_str!("../../tests/vectors/python-bizdays/ANBIMA.cal")
            .lines()
            .filter_map(|line| line.parse().ok())
            .collect();
    let calendar = &by_id("br-bcb").jurisdiction.calendar;
    assert_eq!(calendar.years().collect::<Vec<_>>(), [2025, 2026, 2027]);
    let mut open = 0;
    for day in date(2025, 1, 1).iter_days().take_while(|day| day.year() < 2028) {
        let expected = day.weekday().number_from_monday() < 6 && !oracle.contains(&day);
        assert_eq!(calendar.is_business_day(day), Ok(expected), "{day}");
        open += u32::from(expected);
    }
    assert_eq!(open, 252 + 249 + 251);
}

/// Colombia's Monday holidays fall on Mondays (Ley 51 de 1983), and no list names a day twice.
#[test]
fn holidays_are_plausible() {
    for profile in all() {
        let days: Vec<_> = profile.jurisdiction.calendar.holidays().collect();
        assert!(days.windows(2).all(|pair| pair[0] < pair[1]), "{}", profile.jurisdiction.id);
        for year in profile.jurisdiction.calendar.years() {
            assert!(days.contains(&date(year, 1, 1)) && days.contains(&date(year, 12, 25)));
        }
    }
    let days = by_id("co-sfc").jurisdiction.calendar.holidays();
    let mondays = days.filter(|day| day.year() == 2026 && day.weekday() == Weekday::Mon).count();
    assert_eq!(mondays, 12);
}

#[test]
fn uncertain_values_are_listed_for_review() {
    assert_eq!(
        by_id("mx-cnbv").needs_legal_review(),
        ["residency.US.notice", "residency.US.local_only_contract", "calendar.2027"]
    );
    assert!(by_id("br-bcb").needs_legal_review().is_empty());
}

/// One planted fault each; the message names the place.
#[test]
fn faulty_profiles_are_refused_by_name() {
    let good = TEXTS[0];
    for (from, to, names) in [
        ("id = \"mx-cnbv\"", "id = \"mx-cnbv\"\nregion = \"north\"", "region"),
        ("code = \"IFPE\"", "code = \"IFPE\"\ncapital = 1", "capital"),
        ("authority = ", "authorities = ", "authorit"),
        ("country = \"MX\"", "country = \"CO\"", "country"),
        ("country = \"MX\"", "country = \"Mexico\"", "country"),
        ("currency = \"MXN\"", "currency = \"MXP\"", "ISO 4217"),
        ("locale = \"es-MX\"", "locale = \"fr-MX\"", "locale"),
        ("America/Mexico_City", "America/Tenochtitlan", "time_zone"),
        ("value = \"750\"", "value = \"7,50\"", "kyc_tiers.N1"),
        ("value = \"750\"", "value = 750.0", "string"),
        ("unit = \"UDI\"", "unit = \"UVT\"", "kyc_tiers.N1"),
        ("value = \"8.695877\"", "value = \"8.\"", "indices.UDI"),
        ("\"02-03\"", "\"02-30\"", "calendar.2025"),
        ("\"02-03\"", "\"2-3\"", "calendar.2025"),
        ("year = 2026", "year = 2025", "calendar.2025"),
        ("year = 2025", "year = 25", "calendar.25"),
        ("mark = \"seen\"", "mark = \"sure\"", "sure"),
        ("valid_from = \"2018-03-10\"", "valid_from = \"2018-13-10\"", "valid_from"),
        ("source = ", "origin = ", "origin"),
        ("version = \"2026.11\"", "version = \"November\"", "version"),
        ("[[residency]]\ncountry = \"MX\"", "[[residency]]\ncountry = \"CL\"", "residency"),
        ("[[residency]]\ncountry = \"US\"", "[[residency]]\ncountry = \"MX\"", "residency.MX"),
        ("condition = \"notice\"", "condition = \"blessing\"", "blessing"),
        ("condition = \"notice\"", "condition = \"certificate\"", "residency.US"),
        ("condition = \"notice\"", "condition = \"regulator_access\"", "residency.US"),
        ("[retention]\nyears = 10", "[retention]\nyears = -1", "years"),
        ("code = \"CURP\"", "code = \"curp\"", "identifiers.curp"),
        ("code = \"CURP\"", "code = \"RFC\"", "identifiers.RFC"),
        ("pattern = \"", "pattern = \"(", "identifiers.CURP"),
        ("person = \"natural\"", "person = \"divine\"", "divine"),
        ("weekend = [\"Sat\", \"Sun\"]", "weekend = [\"Caturday\"]", "weekday"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from} is not in the profile");
        let error = Profile::parse(&bad).unwrap_err().to_string();
        assert!(error.contains(names), "{to}: {error}");
    }
}
