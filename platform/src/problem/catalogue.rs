//! The texts of problems: Fluent files per crate, in English, Spanish and Portuguese.

use super::{Arg, Code, PLATFORM};
use axum::http::{HeaderMap, header};
use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A language that problems are told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Spanish.
    Es,
    /// Portuguese.
    Pt,
}

impl Language {
    /// Every language, in the order of the bundles.
    pub const ALL: [Self; 3] = [Self::En, Self::Es, Self::Pt];

    /// The language subtag (BCP 47).
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Es => "es",
            Self::Pt => "pt",
        }
    }

    /// The language a caller likes best of those we have (RFC 9110 §12.5.4, by primary subtag), else `default`.
    ///
    /// Own and small rather than a negotiation library: it runs on every request and allocates nothing.
    #[must_use]
    pub fn negotiate(headers: &HeaderMap, default: Self) -> Self {
        let Some(ranges) = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()) else {
            return default;
        };
        let mut best = (0, default);
        for range in ranges.split(',').take(16) {
            let (tag, weight) = range.split_once(';').unwrap_or((range, ""));
            let primary = tag.trim().split('-').next().unwrap_or_default();
            let language = match primary {
                "*" => Some(default),
                _ => Self::ALL.into_iter().find(|language| language.tag().eq_ignore_ascii_case(primary)),
            };
            let weight = thousandths(weight);
            if let Some(language) = language
                && weight > best.0
            {
                best = (weight, language);
            }
        }
        best.1
    }
}

/// The weight `q=0.8` in thousandths; 1000 where none is given, 0 where it cannot be read.
fn thousandths(weight: &str) -> u32 {
    match weight.trim().strip_prefix("q=") {
        None if weight.trim().is_empty() => 1000,
        Some(weight) => match weight.trim().parse::<f32>() {
            Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0) as u32,
            _ => 0,
        },
        None => 0,
    }
}

/// The codes of one crate and their texts: for a code `x` a message `problem-x` (its title) with the attributes
/// `.detail` (what happened, may use the problem's arguments) and `.remedy` (what to do).
#[derive(Debug)]
pub struct Domain {
    /// The crate, for error messages.
    pub name: &'static str,
    /// The `CODES` of each of its slices.
    pub codes: &'static [&'static [&'static Code]],
    /// `locales/en.ftl`.
    pub en: &'static str,
    /// `locales/es.ftl`.
    pub es: &'static str,
    /// `locales/pt.ftl`.
    pub pt: &'static str,
}

impl Domain {
    const fn source(&self, language: Language) -> &'static str {
        match language {
            Language::En => self.en,
            Language::Es => self.es,
            Language::Pt => self.pt,
        }
    }
}

/// The texts of one problem in one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts<'a> {
    /// What the code means.
    pub title: Cow<'a, str>,
    /// What happened.
    pub detail: Cow<'a, str>,
    /// What to do.
    pub remedy: Cow<'a, str>,
}

/// Everything that keeps a catalogue from being complete, a line each.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the catalogue of problems is incomplete:\n{}", .0.join("\n"))]
pub struct CatalogueError(pub Vec<String>);

/// All codes of a process with all their texts.
pub struct Catalogue {
    codes: BTreeMap<&'static str, &'static Code>,
    bundles: [FluentBundle<FluentResource>; 3],
    default: Language,
}

impl std::fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalogue").field("codes", &self.codes.len()).field("default", &self.default).finish()
    }
}

impl Catalogue {
    /// The catalogue of `platform` and these domains; `default` is for callers who name no language of ours.
    ///
    /// # Errors
    /// When a code is declared twice, lacks a text in a language, or a text has no code: all faults at once.
    pub fn new(default: Language, domains: &[&'static Domain]) -> Result<Self, CatalogueError> {
        let mut faults = Vec::new();
        let mut codes = BTreeMap::new();
        let domains: Vec<&'static Domain> =
            std::iter::once(&PLATFORM).chain(domains.iter().copied()).collect();
        for domain in &domains {
            for code in domain.codes.iter().copied().flatten().copied() {
                if codes.insert(code.name, code).is_some() {
                    faults.push(format!("{}: the code `{}` is declared twice", domain.name, code.name));
                }
            }
        }
        let bundles = Language::ALL.map(|language| bundle(language, &domains, &codes, &mut faults));
        if faults.is_empty() { Ok(Self { codes, bundles, default }) } else { Err(CatalogueError(faults)) }
    }

    /// The language for callers who name none of ours.
    #[must_use]
    pub const fn default_language(&self) -> Language {
        self.default
    }

    /// The code of this name.
    #[must_use]
    pub fn code(&self, name: &str) -> Option<&'static Code> {
        self.codes.get(name).copied()
    }

    /// Every code, by name.
    pub fn codes(&self) -> impl Iterator<Item = &'static Code> + '_ {
        self.codes.values().copied()
    }

    /// The texts of a code with these arguments, for answers that report problems of parts. A placeable without an
    /// argument shows as `{$name}`.
    pub fn texts<'a>(&'a self, code: &Code, language: Language, args: &[(&'static str, Arg)]) -> Texts<'a> {
        let bundle = &self.bundles[language as usize];
        let args: Option<FluentArgs<'_>> = (!args.is_empty())
            .then(|| args.iter().map(|(name, value)| (*name, FluentValue::from(value))).collect());
        let id = message_id(code.name);
        let Some(message) = bundle.get_message(&id) else {
            // A code that no domain lists; the debug build's tests find it before a caller does.
            debug_assert!(false, "the problem code `{}` is not in the catalogue", code.name);
            let name = || Cow::Owned(code.name.to_owned());
            return Texts { title: name(), detail: name(), remedy: name() };
        };
        let text = |pattern| match pattern {
            Some(pattern) => bundle.format_pattern(pattern, args.as_ref(), &mut Vec::new()),
            None => Cow::Borrowed(""),
        };
        let attribute = |name| message.get_attribute(name).map(|attribute| attribute.value());
        Texts {
            title: text(message.value()),
            detail: text(attribute("detail")),
            remedy: text(attribute("remedy")),
        }
    }

    /// A text of the served pages, such as `page-status`.
    pub(crate) fn page_text(&self, id: &str, language: Language) -> Cow<'_, str> {
        let bundle = &self.bundles[language as usize];
        match bundle.get_message(id).and_then(|message| message.value()) {
            Some(pattern) => bundle.format_pattern(pattern, None, &mut Vec::new()),
            None => Cow::Owned(id.to_owned()),
        }
    }
}

impl<'a> From<&'a Arg> for FluentValue<'a> {
    fn from(value: &'a Arg) -> Self {
        match value {
            Arg::Text(text) => FluentValue::String(Cow::Borrowed(text.as_ref())),
            Arg::Count(count) => FluentValue::from(*count),
        }
    }
}

fn message_id(code: &str) -> String {
    format!("problem-{code}")
}

fn bundle(
    language: Language,
    domains: &[&'static Domain],
    codes: &BTreeMap<&'static str, &'static Code>,
    faults: &mut Vec<String>,
) -> FluentBundle<FluentResource> {
    let locale = language.tag().parse().unwrap_or_default();
    let mut bundle = FluentBundle::new_concurrent(vec![locale]);
    // The isolation marks around arguments are for screens that mix directions; here they would be noise in JSON.
    bundle.set_use_isolating(false);
    for domain in domains {
        let file = format!("{}/locales/{}.ftl", domain.name, language.tag());
        let resource = FluentResource::try_new(domain.source(language).to_owned()).unwrap_or_else(
            |(resource, errors)| {
                faults.extend(errors.iter().map(|error| format!("{file}: {error}")));
                resource
            },
        );
        faults.extend(orphans(&resource, codes).map(|id| format!("{file}: `{id}` has no code")));
        if let Err(errors) = bundle.add_resource(resource) {
            faults.extend(errors.iter().map(|error| format!("{file}: {error}")));
        }
        for code in domain.codes.iter().copied().flatten() {
            let message = bundle.get_message(&message_id(code.name));
            let has = |attribute| {
                message.as_ref().is_some_and(|message| message.get_attribute(attribute).is_some())
            };
            if message.as_ref().is_none_or(|message| message.value().is_none())
                || !has("detail")
                || !has("remedy")
            {
                faults.push(format!(
                    "{file}: `{}` needs a title, `.detail` and `.remedy`",
                    message_id(code.name)
                ));
            }
        }
    }
    bundle
}

/// The messages of a resource that name no code.
fn orphans<'a>(
    resource: &'a FluentResource,
    codes: &'a BTreeMap<&'static str, &'static Code>,
) -> impl Iterator<Item = &'a str> {
    resource.source().lines().filter_map(|line| {
        let id = line.split_once('=')?.0.trim_end();
        let code = id.strip_prefix("problem-")?;
        (!codes.contains_key(code)).then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn the_language_is_the_one_liked_best_of_ours() {
        for (header, expected) in [
            ("es", Language::Es),
            ("es-MX,es;q=0.9,en;q=0.8", Language::Es),
            ("fr, pt-BR;q=0.7, en;q=0.2", Language::Pt),
            ("en;q=0.1, PT;q=0.2", Language::Pt),
            ("fr", Language::En),
            ("es;q=0", Language::En),
            ("es;q=x, pt;q=0.1", Language::Pt),
            ("*", Language::En),
            ("", Language::En),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static(header));
            assert_eq!(Language::negotiate(&headers, Language::En), expected, "{header}");
        }
        assert_eq!(Language::negotiate(&HeaderMap::new(), Language::Pt), Language::Pt);
    }

    #[test]
    fn platform_has_every_text_in_every_language() {
        let catalogue = Catalogue::new(Language::En, &[]).map_err(|error| error.to_string());
        assert_eq!(catalogue.err(), None);
    }

    mod gaps {
        crate::problem_codes! {
            /// Has a text in English only.
            HALF = 422 "half";
            /// Stands in platform too.
            TWICE = 500 "internal";
        }
    }

    #[test]
    fn every_gap_is_named() {
        static GAPS: Domain = Domain {
            name: "gaps",
            codes: &[gaps::CODES],
            en: "problem-half = Half\n    .detail = d\n    .remedy = r\nproblem-none = x\n",
            es: "problem-half = Mitad\n",
            pt: "not fluent",
        };
        let faults =
            Catalogue::new(Language::En, &[&GAPS]).map_err(|error| error.0).err().unwrap_or_default();
        for expected in [
            "gaps: the code `internal` is declared twice",
            "gaps/locales/en.ftl: `problem-none` has no code",
            "gaps/locales/es.ftl: `problem-half` needs a title, `.detail` and `.remedy`",
            "gaps/locales/pt.ftl: `problem-half` needs a title, `.detail` and `.remedy`",
        ] {
            assert!(faults.iter().any(|fault| fault == expected), "{expected}: {faults:?}");
        }
    }

    #[test]
    fn texts_take_their_arguments() {
        let catalogue = Catalogue::new(Language::En, &[]).unwrap();
        let args = vec![("limit", Arg::from(1024_u32))];
        let texts = catalogue.texts(&super::super::codes::BODY_TOO_LARGE, Language::Es, &args);
        assert!(texts.detail.contains("1024"), "{texts:?}");
    }
}
