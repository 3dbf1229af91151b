//! Texts that callers choose: names, their own ids, reasons.

/// The longest name, in characters.
pub const LONGEST_NAME: usize = 140;
/// The longest `external_id`, in characters.
pub const LONGEST_EXTERNAL_ID: usize = 100;

platform::problem_codes! {
    /// Of one field: empty, longer than its limit, or with control characters.
    TEXT_UNUSABLE = 422 "text_unusable";
}

/// Whether a text is fit to be shown to people as a name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    is_text(text, LONGEST_NAME)
}

/// Whether a text is fit to be the caller's own id of something.
#[must_use]
pub fn is_external_id(text: &str) -> bool {
    is_text(text, LONGEST_EXTERNAL_ID)
}

/// Whether a text has 1 to `longest` characters, none of them a control character, and begins and ends with none that
/// is invisible.
#[must_use]
pub fn is_text(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.chars().count())
        && text.trim().len() == text.len()
        && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_visible_and_bounded() {
        for text in ["a", "Tianguis Pagos, S.A. de C.V.", &"ñ".repeat(LONGEST_NAME)] {
            assert!(is_name(text), "{text:?}");
        }
        for text in ["", " ", " a", "a ", "a\nb", "a\u{0}", &"ñ".repeat(LONGEST_NAME + 1)] {
            assert!(!is_name(text), "{text:?}");
        }
    }
}
