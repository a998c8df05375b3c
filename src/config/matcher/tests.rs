use super::*;

fn with_path(text: &str) -> Matcher {
    Matcher {
        path: path_prefix(text).unwrap(),
        ..Matcher::default()
    }
}

fn exactly(text: &str) -> Matcher {
    Matcher {
        path: exact_path(text).unwrap(),
        ..Matcher::default()
    }
}

#[test]
fn prefixes_end_on_segment_borders() {
    let prefix = path_prefix("/v1/chat").unwrap().unwrap();
    for (path, expected) in [
        ("/v1/chat", true),
        ("/v1/chat/", true),
        ("/v1/chat/x", true),
        ("/v1/chats", false),
        ("/v1", false),
        ("/V1/chat", false),
    ] {
        assert_eq!(prefix.matches(path), expected, "{path}");
    }
}

#[test]
fn a_wildcard_is_one_segment() {
    let prefix = path_prefix("/jobs/*/events/").unwrap().unwrap();
    let exact = exact_path("/*/x").unwrap().unwrap();
    for (path, by_prefix, exactly) in [
        ("/jobs/1/events", true, false),
        ("/jobs/1/events/x", true, false),
        ("/jobs/1/2/events", false, false),
        ("/jobs//events", false, false),
        ("/jobs/events", false, false),
        ("/jobs/1/eventsx", false, false),
        ("/jobs/*/events", true, false),
        ("/a/x", false, true),
        ("/a/x/", false, false),
        ("/a/x/b", false, false),
        ("//x", false, false),
        ("/x", false, false),
    ] {
        assert_eq!(prefix.matches(path), by_prefix, "{path}");
        assert_eq!(exact.matches(path), exactly, "{path}");
    }
}

#[test]
fn a_path_covers_what_is_below_it() {
    for (first, second, covered) in [
        ("/", "/v1", true),
        ("/v1", "/v1/", true),
        ("/v1/", "/v1", true),
        ("/v1", "/v1/chat", true),
        ("/v1", "/v10", false),
        ("/v1/chat", "/v1", false),
        ("/v1", "/", false),
        ("/jobs/*/x", "/jobs/1/x", true),
        ("/jobs/*/x", "/jobs/*/x/y", true),
        ("/jobs", "/jobs/*/x", true),
        ("/jobs/1/x", "/jobs/*/x", false),
    ] {
        let (first, second) = (with_path(first), with_path(second));
        assert_eq!(covers(&first, &second), covered, "{first} {second}");
    }
    assert!(covers(&with_path("/v1"), &exactly("/v1")));
    assert!(!covers(&exactly("/v1"), &with_path("/v1")));
    assert!(covers(&exactly("/v1"), &exactly("/v1")));
    assert!(!covers(&exactly("/v1"), &exactly("/v1/")));
}

#[test]
fn a_path_is_written_in_any_form() {
    for text in ["/v1/chat", "/v1/%63hat/", "//v1/./chat", "/x/../v1/chat"] {
        let pattern = path_prefix(text).unwrap().unwrap();
        assert_eq!(pattern.to_string(), "/v1/chat", "{text}");
    }
    assert_eq!(path_prefix("/.//").unwrap(), None);
    for text in ["v1", "/a b", "/a?b", "/v1/*", "/v*/x", "/**/x"] {
        assert!(path_prefix(text).is_err(), "{text}");
    }
}

#[test]
fn every_condition_must_be_covered() {
    let post = Matcher {
        methods: vec![Method::POST],
        ..with_path("/v1")
    };
    let both = Matcher {
        methods: vec![Method::POST, Method::GET],
        ..with_path("/v1")
    };
    assert!(covers(&with_path("/v1"), &post));
    assert!(!covers(&post, &with_path("/v1")));
    assert!(covers(&both, &post) && !covers(&post, &both));

    let with = |headers: &[&str], hosts: &[&str], queries: &[&str]| Matcher {
        headers: headers.iter().map(|text| header(text).unwrap()).collect(),
        hosts: hosts
            .iter()
            .map(|text| host_pattern(text).unwrap())
            .collect(),
        query: queries.iter().map(|text| query(text).unwrap()).collect(),
        ..Matcher::default()
    };
    for (wide, narrow) in [
        (with(&["X-A"], &[], &[]), with(&["x-a: 1"], &[], &[])),
        (with(&["X-A"], &[], &[]), with(&["X-A", "X-B"], &[], &[])),
        (with(&[], &["*.b.test"], &[]), with(&[], &["a.b.test"], &[])),
        (with(&[], &["*.test"], &[]), with(&[], &["*.b.test"], &[])),
        (with(&[], &["a.b", "c.d"], &[]), with(&[], &["c.d"], &[])),
        (with(&[], &[], &["a"]), with(&[], &[], &["a=1"])),
    ] {
        assert!(covers(&wide, &narrow), "{wide:?} {narrow:?}");
        assert!(!covers(&narrow, &wide), "{narrow:?} {wide:?}");
    }
}

#[test]
fn hosts() {
    assert_eq!(host("API.Example.com").as_deref(), Ok("api.example.com"));
    assert_eq!(host("[::1]").as_deref(), Ok("[::1]"));
    assert_eq!(host("example.com.").as_deref(), Ok("example.com"));
    for text in [
        "",
        "*.example.com",
        "a:80",
        "http://a",
        "a/b",
        "me@a",
        "a b",
        "é.com",
    ] {
        assert!(host(text).is_err(), "{text}");
    }
    let below = host_pattern("*.Example.com").unwrap();
    for (host, matches) in [
        ("a.example.com", true),
        ("a.b.EXAMPLE.com", true),
        ("example.com", false),
        (".example.com", false),
        ("aexample.com", false),
        ("com", false),
    ] {
        assert_eq!(below.matches(host), matches, "{host}");
    }
}

#[test]
fn queries_are_compared_decoded() {
    let wanted = query("a b=1+1").unwrap();
    for (text, matches) in [
        ("a+b=1%2B1", true),
        ("x&a%20b=1%2b1&y", true),
        ("a+b=1+1", false),
        ("a+b", false),
        ("a+b=1%2B11", false),
        ("a+b=1%2", false),
        ("", false),
    ] {
        assert_eq!(wanted.matches(text), matches, "{text}");
    }
    let any = query("stream").unwrap();
    assert!(any.matches("stream") && any.matches("x=1&stream=true") && !any.matches("streams"));
}
