//! `config.example.toml` and what is written about it.

use super::*;

#[test]
fn equals_the_defaults() {
    assert_eq!(
        config(EXAMPLE),
        config("upstream.url = 'http://127.0.0.1:3000'")
    );
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = config("upstream.url = 'http://127.0.0.1:3000'");
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].address.to_string(), "0.0.0.0:8080");
    assert_eq!(
        config
            .admin
            .listen
            .map(|admin| admin.to_string())
            .as_deref(),
        Some("127.0.0.1:9901")
    );
    assert!(!config.admin.allow_ending && !config.admin.allow_log_level);
    assert!(config.admin.hosts.is_empty());
    assert_eq!(config.server, Server::default());
    assert_eq!(config.timeouts, Timeouts::default());
    assert_eq!(config.drain, Drain::default());
    assert_eq!(config.log, Log::default());
    let [route] = config.routes.as_slice() else {
        panic!("{config:#?}")
    };
    assert_eq!(route.timeouts, Timeouts::default());
    assert_eq!(route.heartbeat, Heartbeat::default());
    assert_eq!(route.events, Events::default());
    assert_eq!(route.drain_streams, DrainStreams::Finish);
}

#[test]
fn the_route_in_it_is_a_good_one() {
    assert_eq!(config(&example_with_route()).routes.len(), 5);
}

#[test]
fn shows_every_key() {
    // What has no default is a comment there.
    let is_key = |line: &str| {
        let word = line.split([' ', '.']).next().unwrap_or_default();
        line.starts_with('[')
            || (line.contains(" = ")
                && !word.contains(|c: char| c != '_' && !c.is_ascii_lowercase()))
    };
    let lines = EXAMPLE.lines().map(|line| match line.strip_prefix("# ") {
        Some(key) if is_key(key) => key,
        _ => line,
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let example = DeTable::parse(&text).unwrap();
    for header in known_keys("") {
        let entry = &example.get_ref()[header.trim_matches(['[', ']'])].get_ref();
        let tables: Vec<_> = match entry.as_array() {
            Some(array) => array.iter().map(toml::Spanned::get_ref).collect(),
            None => vec![*entry],
        };
        for key in known_keys(&header) {
            let key = key.trim_end_matches(".*");
            assert!(
                tables.iter().any(|table| table.get(key).is_some())
                        // Shown once, for all routes.
                        || (header == "[[route]]" && example.get_ref().contains_key(key)),
                "`{key}` of {header} is not in the example"
            );
        }
        if let Some(tls) = tables[0].get("tls") {
            let name = header.trim_matches(['[', ']']);
            for key in known_keys(&format!("{header}\n[{name}.tls]")) {
                assert!(
                    tls.get_ref().get(key.trim_matches(['[', ']'])).is_some(),
                    "`tls.{key}` of {header} is not in the example"
                );
            }
        }
    }
}

/// The keys of the table `header`, as the error for an unknown key lists them.
fn known_keys(header: &str) -> Vec<String> {
    let problems = parse(&format!("{header}\nzzzzzzzz = 1")).unwrap_err();
    let unknown = problems
        .iter()
        .find(|problem| problem.message == "unknown key")
        .unwrap();
    let known = unknown
        .help
        .as_deref()
        .unwrap()
        .strip_prefix("known here: ")
        .unwrap();
    known
        .split(", ")
        .map(|key| key.trim_matches('`').to_owned())
        .collect()
}
