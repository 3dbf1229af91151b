//! Just enough of a Rust reader: what is code, and which paths it names.

/// The text with comments and the insides of strings and characters blanked; lines keep their numbers.
pub fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let blank = |out: &mut String, from: usize, to: usize| {
        out.extend(chars[from..to].iter().map(|&char| if char == '\n' { '\n' } else { ' ' }));
    };
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => end_of(&chars, at, |at| chars[at] == '\n'),
            '/' if chars.get(at + 1) == Some(&'*') => block_comment(&chars, at),
            '"' => string(&chars, at),
            'r' if is_raw_string(&chars, at) => raw_string(&chars, at),
            '\'' => character(&chars, at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            blank(&mut out, at, end);
            at = end;
        }
    }
    out
}

fn end_of(chars: &[char], mut at: usize, stop: impl Fn(usize) -> bool) -> usize {
    while at < chars.len() && !stop(at) {
        at += 1;
    }
    at
}

fn block_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(chars.len())
}

fn string(chars: &[char], mut at: usize) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn is_raw_string(chars: &[char], at: usize) -> bool {
    let starts_word = at == 0 || !is_word(chars[at - 1]) || chars[at - 1] == 'b';
    let quote = end_of(chars, at + 1, |at| chars[at] != '#');
    starts_word && chars.get(quote) == Some(&'"')
}

fn raw_string(chars: &[char], at: usize) -> usize {
    let quote = end_of(chars, at + 1, |at| chars[at] != '#');
    let hashes = quote - at - 1;
    let closes = |at: usize| chars[at] == '"' && (1..=hashes).all(|n| chars.get(at + n) == Some(&'#'));
    (end_of(chars, quote + 1, closes) + 1 + hashes).min(chars.len())
}

/// A character literal, but not a lifetime.
fn character(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => (end_of(chars, at + 3, |at| chars[at] == '\'') + 1).min(chars.len()),
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// The paths in `code` that begin with the segment `head`, without it: in `use crate::{a::b, c};` the paths from
/// `crate` are `[a, b]` and `[c]`. With the number of the line where each begins.
pub fn paths(code: &str, head: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find(head).map(|at| at + from) {
        from = at + head.len();
        let starts = !code[..at].chars().next_back().is_some_and(|char| is_word(char) || char == '$');
        let inner = code[..at].trim_end().ends_with("::");
        let Some(rest) = code[from..].trim_start().strip_prefix("::") else { continue };
        if starts && !inner {
            let line = code[..at].lines().count().max(1);
            let mut paths = Vec::new();
            tree(rest, &mut Vec::new(), &mut paths);
            found.extend(paths.into_iter().map(|path| (line, path)));
        }
    }
    found
}

/// Reads what follows a `::`, a name or a group, and returns what is left of the text.
fn tree<'a>(text: &'a str, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            let mut inner = path.clone();
            let after = tree(rest, &mut inner, found);
            // Past `as name` and the comma, or out of a group that is not closed.
            let stop = after.find([',', '}']).unwrap_or(after.len());
            rest = after[stop..].strip_prefix(',').unwrap_or(&after[stop..]);
            if rest.is_empty() || rest.len() == text.len() {
                return rest;
            }
        }
    }
    let end = text.find(|char| !is_word(char)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        found.push(path.clone());
        return rest;
    }
    path.push(name.to_owned());
    match rest.trim_start().strip_prefix("::") {
        Some(rest) => tree(rest, path, found),
        None => {
            found.push(path.clone());
            rest
        }
    }
}

#[test]
fn comments_and_strings_are_no_code() {
    let text = "a // x\n/* x /* x */ x */ b \"x \\\" x\" c r#\"x \" x\"# 'x' '\\'' d<'e> br\"x\" f";
    let words: Vec<String> = code(text).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["a", "b", "c", "d<'e>", "b", "f"]);
    assert_eq!(code(text).lines().count(), text.lines().count());
}

#[test]
fn paths_are_read_through_groups() {
    let text = "use crate::{\n  a::{self, b::C as D},\n  e,\n};\nfn f() { crate::g::h::<T>(mycrate::i, x::crate::j) }";
    let read: Vec<String> =
        paths(text, "crate").iter().map(|(line, path)| format!("{line}:{}", path.join("."))).collect();
    assert_eq!(read, ["1:a.self", "1:a.b.C", "1:e", "5:g.h"]);
}
