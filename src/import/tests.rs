//! Rules of the whole import; pairs of whole files are in `tests/import`.

use proptest::prelude::*;

use super::testing::{imported, site};
use super::{Outcome, import};

/// The lines of the output that are no comments.
fn live(toml: &str) -> Vec<&str> {
    let lines = toml
        .lines()
        .map(|line| line.split("  #").next().unwrap_or_default().trim_end());
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

#[test]
fn a_denial_that_no_route_can_say_closes_what_it_guarded() {
    let imported = imported(
        "server { listen 80; location ~ \\.(bak|sql)$ { deny all; } location / { proxy_pass http://a; } }",
    );
    assert_eq!(imported.report.outcome(), Outcome::Unguarded);
    assert!(
        imported.toml.contains("# upstream.url = \"http://a\""),
        "{}",
        imported.toml
    );
    assert!(
        live(&imported.toml)
            .iter()
            .any(|line| line.starts_with("respond = { status = 403"))
    );
}

#[test]
fn a_guarded_location_does_not_fall_to_a_wider_one() {
    let imported = imported(
        "server { listen 80; location / { proxy_pass http://a; } \
         location /admin/ { satisfy any; allow 10.0.0.0/8; deny all; auth_basic x; auth_basic_user_file f; proxy_pass http://a; } }",
    );
    let lines = live(&imported.toml);
    let admin = lines
        .iter()
        .position(|line| *line == "path = \"/admin/\"")
        .unwrap();
    assert!(
        lines[admin + 1].starts_with("respond = { status = 403"),
        "{lines:#?}"
    );
    assert_eq!(imported.report.outcome(), Outcome::Unguarded);
}

#[test]
fn what_cannot_be_said_of_an_identity_is_not_left_to_the_client() {
    let imported = imported(
        "server { location / { proxy_set_header X-User $remote_user; proxy_pass http://a; } }",
    );
    assert!(
        imported
            .toml
            .contains("request_headers.remove = [\"X-User\"]"),
        "{}",
        imported.toml
    );
}

#[test]
fn every_directive_is_accounted_for() {
    let imported = imported(
        "frobnicate on; server { listen 80; location / { proxy_pass http://a; proxy_set_header Host $host; frob { nicate; } } }",
    );
    let json = imported.report.json();
    let results = json["directives"].as_array().unwrap();
    assert_eq!(results.len(), 8, "{results:#?}");
    let unknown = results
        .iter()
        .filter(|entry| entry["reason"] == "the sidecar has nothing of this name");
    assert_eq!(unknown.count(), 3);
}

#[test]
fn a_file_of_something_else_is_an_error() {
    for text in ["", "a b c;", "worker_processes 1;", "[route]\nx = 1\n"] {
        assert!(
            import(&site(text), "site.conf", None, &|_| None, &|_| true).is_err(),
            "{text}"
        );
    }
    assert!(
        import(
            &site("server { }"),
            "site.conf",
            Some("a.test"),
            &|_| None,
            &|_| true
        )
        .is_err()
    );
}

#[test]
fn a_key_that_this_version_does_not_have_is_not_written() {
    let text = "server { listen 80; location /a/ { allow 10.0.0.0/8; deny all; proxy_pass http://a; } \
                location / { proxy_pass http://a/b/; } }";
    let knows = |key: &str| !matches!(key, "access.rules" | "replace_prefix");
    let imported = import(&site(text), "site.conf", None, &|_| None, &knows).unwrap();
    assert_eq!(imported.report.outcome(), Outcome::Unguarded);
    assert!(
        !imported.toml.contains("access.rules ="),
        "{}",
        imported.toml
    );
    assert!(
        !imported.toml.contains("replace_prefix ="),
        "{}",
        imported.toml
    );
    let lines = live(&imported.toml);
    let guarded = lines
        .iter()
        .position(|line| *line == "path = \"/a/\"")
        .unwrap();
    assert!(
        lines[guarded + 1].starts_with("respond = { status = 403"),
        "{lines:#?}"
    );
}

const SEEDS: [&str; 5] = [
    include_str!("../../tests/import/whole-site/nginx.conf"),
    include_str!("../../tests/import/guards/nginx.conf"),
    include_str!("../../tests/import/paths/nginx.conf"),
    include_str!("../../tests/import/cors/nginx.conf"),
    include_str!("../../tests/import/servers/nginx.conf"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Files that were cut, mixed and damaged are read or refused, and nothing else.
    #[test]
    fn no_file_makes_it_panic(
        seed in 0..SEEDS.len(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..4_u8, "[ -~\\n\u{e9}]{0,6}"), 0..12),
    ) {
        let mut text: Vec<char> = SEEDS[seed].chars().collect();
        for (at, kind, new) in edits {
            let at = at.index(text.len().max(1)).min(text.len());
            match kind {
                0 => text.truncate(at),
                1 => drop(text.splice(at..at, new.chars())),
                2 => drop(text.splice(at..(at + 5).min(text.len()), new.chars())),
                _ => {
                    let copy: Vec<char> = text[at..(at + 40).min(text.len())].to_vec();
                    text.splice(at..at, copy);
                }
            }
        }
        let text: String = text.into_iter().collect();
        if let Ok(imported) = import(&site(&text), "site.conf", None, &|_| None, &|_| true) {
            prop_assert!(toml::de::DeTable::parse(&imported.toml).is_ok(), "{}", imported.toml);
            prop_assert!(imported.report.json().is_object());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(text in "[ -~\\n{};$\"'\\\\]{0,80}") {
        let _ = import(&site(&text), "site.conf", None, &|_| None, &|_| true);
    }
}
