//! Rules that need no more than the text: sizes, links, places that exist on one machine only, countries, switches.

use super::source::code;

/// The most lines of a Rust file.
const LONGEST: usize = 600;

/// A file beyond its bound.
pub fn size(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    if lines > LONGEST {
        vec![format!("{path}: {lines} lines, at most {LONGEST}: split it")]
    } else {
        Vec::new()
    }
}

/// The anchors of a Markdown file's headings, as its renderers make them.
pub fn anchors(text: &str) -> Vec<String> {
    let headings = outside_fences(text).filter(|(_, line)| line.starts_with('#'));
    headings.map(|(_, line)| slug(line.trim_start_matches('#').trim())).collect()
}

fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'));
    kept.map(|char| if char == ' ' { '-' } else { char.to_ascii_lowercase() }).collect()
}

/// The numbered lines of a Markdown file that are not in fenced code.
fn outside_fences(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Links of a Markdown file to files or headings that are not there.
pub fn links(
    path: &str,
    text: &str,
    exists: &dyn Fn(&str) -> bool,
    headings: &dyn Fn(&str) -> Option<Vec<String>>,
) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, line) in outside_fences(text) {
        for target in line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) =
                target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            let to = if file.is_empty() { path.to_owned() } else { join(path, file) };
            if !exists(&to) {
                faults.push(format!("{path}:{}: dead link to {target}", at + 1));
            } else if let (Some(anchor), Some(known)) = (anchor, headings(&to))
                && !known.iter().any(|heading| heading == anchor)
            {
                faults.push(format!("{path}:{}: no heading #{anchor} in {to}", at + 1));
            }
        }
    }
    faults
}

/// The path from the root of what `link` means in the file `from`.
fn join(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.trim_end_matches('/').split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Lines with a path that exists on somebody's machine only. The file of a fixed name under the temporary folder is one
/// too: two users, or two runs, would meet in it.
pub fn local_paths(path: &str, text: &str) -> Vec<String> {
    if is_foreign(path) {
        return Vec::new();
    }
    // Put together here, so that this file holds none.
    let roots: Vec<String> =
        ["home", "root", "Users", "work", "tmp", "mnt"].map(|root| format!("/{root}/")).into();
    let mut faults = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for root in &roots {
            // `work/` within a longer path or an address is no place at the root.
            let starts = |found: usize| {
                let before = line[..found].chars().next_back();
                before.is_none_or(|char| !char.is_alphanumeric() && !"_-./})~*$>".contains(char))
            };
            if line.match_indices(root.as_str()).any(|(found, _)| starts(found)) {
                faults.push(format!("{path}:{}: a place that exists on one machine only: {root}…", at + 1));
            }
        }
    }
    faults
}

/// Lines that name the host of a package registry: where packages come from is the builder's setting.
pub fn registries(path: &str, text: &str) -> Vec<String> {
    if is_foreign(path) {
        return Vec::new();
    }
    let hosts: Vec<String> =
        [("crates", "io"), ("pypi", "org"), ("npmjs", "org"), ("npmjs", "com"), ("debian", "org")]
            .map(|(name, top)| format!("{name}.{top}"))
            .into();
    let mut faults = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(host) = hosts.iter().find(|host| line.contains(host.as_str())) {
            faults.push(format!("{path}:{}: names the registry {host}", at + 1));
        }
    }
    faults
}

/// What others wrote and we pass on unchanged, or what a tool writes.
fn is_foreign(path: &str) -> bool {
    path.contains("/vectors/") || path == "LICENSE" || path.ends_with(".lock")
}

/// Sources of the lock file other than the public registry.
pub fn lock_sources(path: &str, text: &str) -> Vec<String> {
    let sources = text.lines().enumerate().filter(|(_, line)| line.starts_with("source = "));
    let strange = sources.filter(|(_, line)| !line.contains("\"registry+https://github.com/rust-lang/"));
    strange.map(|(at, line)| format!("{path}:{}: {line}", at + 1)).collect()
}

/// Decisions by country or jurisdiction outside `tenants/` and the rail adapters: match arms and comparisons.
pub fn countries(path: &str, text: &str) -> Vec<String> {
    if path.starts_with("tenants/") || path.contains("/rails/") {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for name in ["MX", "CO", "BR", "mx-cnbv", "co-sfc", "br-bcb"] {
            let quoted = format!("\"{name}\"");
            let decides = line.match_indices(&quoted).any(|(found, _)| {
                let before = line[..found].trim_end();
                let after = line[found + quoted.len()..].trim_start();
                let arm = after.starts_with("=>") || after.starts_with("| \"") || after.starts_with("if ");
                let pattern =
                    after.starts_with(')') && after.trim_start_matches(')').trim_start().starts_with("=>");
                let compared = before.ends_with("==") || before.ends_with("!=");
                arm || pattern || compared || after.starts_with("==") || after.starts_with("!=")
            });
            if decides {
                faults.push(format!(
                    "{path}:{}: decides by {quoted}; ask the profile for the value instead",
                    at + 1
                ));
            }
        }
    }
    faults
}

/// Ignored tests that are not of the long tier, which `./test --full` runs.
pub fn ignored_tests(path: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let mut faults = Vec::new();
    for (at, (line, code)) in text.lines().zip(code.lines()).enumerate() {
        if !code.contains("#[ignore") {
            continue;
        }
        let name = text.lines().skip(at).find_map(|line| line.split_once("fn ")).map(|(_, name)| name);
        if !line.contains("#[ignore = \"long tier: ./test --full\"]")
            || !name.is_some_and(|name| name.starts_with("full_"))
        {
            let rule = "#[ignore = \"long tier: ./test --full\"] on a test named full_…, or no #[ignore]";
            faults.push(format!("{path}:{}: {rule}", at + 1));
        }
    }
    faults
}

/// Lints switched off without a reason.
pub fn allowed_lints(path: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let mut faults = Vec::new();
    for start in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
        for (found, _) in code.match_indices(start) {
            let end = code[found..].find(']').map_or(code.len(), |end| found + end);
            if !code[found..end].contains("reason") {
                let line = code[..found].lines().count().max(1);
                faults.push(format!("{path}:{line}: a lint is switched off without a reason"));
            }
        }
    }
    faults
}

/// Errors of the database that their wrapper hides: a transparent error's source is the source of what it wraps, so that
/// `db::retry` would not see a conflict.
pub fn hidden_database_errors(path: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let lines: Vec<&str> = code.lines().collect();
    let hides =
        |pair: &&[&str]| pair[0].contains("#[error(transparent)]") && pair[1].contains("#[from] DbErr");
    let at = |found: usize| format!("{path}:{}: `transparent` hides a DbErr from db::retry", found + 1);
    lines.windows(2).enumerate().filter(|(_, pair)| hides(pair)).map(|(found, _)| at(found)).collect()
}

/// Integration tests outside `tests/it/`: each further binary is linked anew.
pub fn test_binary(path: &str, _: &str) -> Vec<String> {
    let Some((_, inside)) = path.split_once("/tests/") else { return Vec::new() };
    let another = !inside.contains('/')
        || inside.split_once('/').is_some_and(|(name, rest)| name != "it" && rest == "main.rs");
    if another {
        vec![format!("{path}: integration tests are modules of tests/it/main.rs")]
    } else {
        Vec::new()
    }
}

#[test]
fn planted_sizes_are_found() {
    assert!(size("x.rs", &"\n".repeat(LONGEST)).is_empty());
    assert_eq!(size("x.rs", &"\n".repeat(LONGEST + 1)).len(), 1);
}

#[test]
fn planted_links_are_found() {
    let exists = |path: &str| ["docs/a.md", "docs/decisions/b.md", "LICENSE"].contains(&path);
    let headings = |path: &str| (path == "docs/a.md").then(|| anchors("# The *one*, truly\n```\n# not\n```"));
    let faults = |text: &str| links("docs/decisions/b.md", text, &exists, &headings).len();
    assert_eq!(
        faults("[a](../a.md) [b](b.md) [c](../../LICENSE) [d](https://x.org/y) [e](../a.md#the-one-truly)"),
        0
    );
    assert_eq!(faults("[a](a.md)"), 1);
    assert_eq!(faults("[a](../a.md#not)"), 1);
    assert_eq!(faults("```\n[a](a.md)\n```"), 0);
}

#[test]
fn planted_places_are_found() {
    let places = |root: &str, rest: &str| local_paths("x.md", &format!("see {root}{rest}")).len();
    assert_eq!(places("/home", "/ana/x"), 1);
    assert_eq!(places("`/root", "/.cargo`"), 1);
    assert_eq!(places("\"/tmp", "/x\""), 1);
    assert_eq!(places("platform/src/work", "/mod.rs"), 0);
    assert_eq!(places("{id}/work", "/x"), 0);
    assert_eq!(registries("x.toml", &["https://index.crates", ".io/"].concat()).len(), 1);
    let lock =
        |source: &str| lock_sources("Cargo.lock", &format!("name = \"x\"\nsource = \"{source}\"")).len();
    assert_eq!(lock("registry+https://github.com/rust-lang/index"), 0);
    assert_eq!(lock("sparse+http://mirror.example/"), 1);
}

#[test]
fn planted_countries_are_found() {
    for text in [
        "\"MX\" => 1,",
        "\"CO\" | \"BR\" => 1,",
        "Some(\"BR\") => 1,",
        "if country == \"MX\" {",
        "\"mx-cnbv\" => x",
    ] {
        assert!(!countries("data-plane/src/payments/mod.rs", text).is_empty(), "{text}");
        assert!(countries("tenants/src/profile.rs", text).is_empty(), "{text}");
        assert!(countries("data-plane/src/rails/spei/mod.rs", text).is_empty(), "{text}");
    }
    assert!(countries("stack/src/demo.rs", "const COUNTRIES: [&str; 2] = [\"MX\", \"CO\"];").is_empty());
}

#[test]
fn planted_switches_are_found() {
    let ignored = |line: &str| ignored_tests("x.rs", line).len();
    assert_eq!(ignored("#[ignore = \"long tier: ./test --full\"]\n#[test]\nfn full_run() {}"), 0);
    assert_eq!(ignored("#[ignore = \"long tier: ./test --full\"]\n#[test]\nfn run() {}"), 1);
    assert_eq!(ignored("#[ignore]\n#[test]\nfn full_run() {}"), 1);
    let hidden = |line: &str| hidden_database_errors("x.rs", line).len();
    assert_eq!(hidden("#[error(\"failed\")]\nDatabase(#[from] DbErr),"), 0);
    assert_eq!(hidden("#[error(transparent)]\nProblem(#[from] Problem),"), 0);
    assert_eq!(hidden("#[error(transparent)]\n    Database(#[from] DbErr),"), 1);
    let lints = |line: &str| allowed_lints("x.rs", line).len();
    assert_eq!(lints("#[expect(dead_code, reason = \"because\")]"), 0);
    assert_eq!(lints("#[allow(dead_code)]"), 1);
    assert_eq!(lints("#[expect(\n    dead_code\n)]"), 1);
    assert_eq!(test_binary("platform/tests/it/db.rs", "").len(), 0);
    assert_eq!(test_binary("platform/tests/db.rs", "").len(), 1);
    assert_eq!(test_binary("platform/tests/more/main.rs", "").len(), 1);
}
