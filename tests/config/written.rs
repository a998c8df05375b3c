//! A configuration written out again.

use super::*;

/// Shows `text` as it is in force, which read back has to mean the same.
fn written(text: &str) -> String {
    let (config, _) = parse(text).unwrap_or_else(|problems| panic!("{problems}"));
    let written = config.to_string();
    let (back, _) = parse(&written).unwrap_or_else(|problems| panic!("{problems}\n{written}"));
    assert_eq!(back, config, "{written}");
    written
}

#[test]
fn several_backends_can_be_read_back_and_are_inherited_whole() {
    let text = "[upstream]\nurls = ['http://a', { url = 'https://b', weight = 3 }, { url = 'unix:/c', backup = true }]\n\
                    balance = 'hash:cookie:sid'\nunhealthy_status = [503, 502]\nmax_requests = 7\n\
                    queue_timeout = '3s'\nhealth = { path = '/up?x', interval = '1s', healthy_after = 1 }\n\
                    [[route]]\npath = '/a'\nupstream.balance = 'round_robin'\nupstream.unhealthy_status = []\n\
                    upstream.max_requests = 'off'\nupstream.health.path = '/a'\n\
                    [[route]]\npath = '/b'\nupstream.url = 'http://b'\n\
                    [[route]]\npath = '/c'\ntimeouts.read = '1s'\n\
                    [[route]]\npath = '/d'\nupstream.urls = ['http://d', 'http://e']\n";
    written(text);
    let (config, _) = parse(text).unwrap();
    let balance = |at: usize| config.routes[at].action.proxied()?.balance.as_ref();
    let (a, c, d, top) = (
        balance(0).unwrap(),
        balance(2).unwrap(),
        balance(3).unwrap(),
        balance(4).unwrap(),
    );
    assert!(balance(1).is_none());
    assert_eq!((a.backends.len(), &a.policy), (3, &Policy::RoundRobin));
    assert!(a.unhealthy_status.is_empty() && a.backends == top.backends);
    assert_eq!(c, top);
    let (limit, health) = (top.limit.as_ref().unwrap(), top.health.as_ref().unwrap());
    assert_eq!((limit.most, limit.queue_timeout.as_secs()), (7, 3));
    assert_eq!((health.path.as_str(), health.unhealthy_after), ("/up?x", 3));
    assert!(a.limit.is_none() && d.limit.is_none() && d.health.is_none());
    assert_eq!(a.health.as_ref().unwrap().interval.as_secs(), 5);
    assert_eq!(top.unhealthy_status, [502, 503]);
    assert_eq!(
        (&d.policy, d.unhealthy_status.len()),
        (&Policy::LeastRequests, 0)
    );
}

#[test]
fn the_active_configuration_can_be_read_back() {
    written(EXAMPLE);
    written(
        &example_with_route()
            .replace(": one", "")
            .replace("version=2", "version"),
    );
    // Every key with another value than its default.
    written(
        r#"
            listener = [
                { address = "127.0.0.1:1", proxy_protocol = true },
                { address = "unix:/run/a b\"c.sock", mode = "0666", tls = { certificate = "a", private_key = "b", client_ca = "c" } },
            ]
            server = { workers = 3, max_connections = 7, max_request_head = 2000, max_request_headers = 20, max_streams = 4, trusted_proxies = ["10.0.0.0/8", "::1/128"] }
            admin = { listen = "off", allow_ending = true, allow_log_level = true, hosts = ["status.example.com", "sidecar"] }
            upstream.url = "https://example.com"
            upstream.host = "api.example.com:8443"
            upstream.tls = { ca = "a", certificate = "b", private_key = "c", server_name = "d.example" }
            timeouts = { connect = "1s", connect_retry = "10s", response_head = "2s", first_event = "3s", read = "4s", write = "off", total = "1h1m1s1ms", request_head = "7s", request_body = "8s", keep_alive = "9s", connection_age = "off" }
            heartbeat = { interval = "1s", frame = "block", text = "\u00e4 \\ \" x" }
            events = { detect = "always", streaming = true, on_upstream_failure = "openai-responses" }
            drain = { delay = "off", timeout = "20s", streams = "rotate" }
            log = { level = "debug", format = "text", access = "{status} \\\"{header.x-a}\\\"" }
            [[route]]
            name = "a"
            path = "/a"
            host = "a.example"
            method = "POST"
            header = "X-One"
            upstream.url = "unix:/run/b.sock"
            upstream.host = "b.example"
            timeouts.read = "off"
            heartbeat = { interval = "off", frame = "line", text = "x" }
            events = { detect = "never", streaming = false, on_upstream_failure = "mcp" }
            drain.streams = "finish"
            [[route]]
            path = "/b"
            "#,
    );
    // Nothing but routes with upstreams of their own.
    written(
        r#"
            timeouts.read = "1s"
            events.streaming = true
            [[route]]
            path = "/a"
            upstream.url = "h2c://[::1]:1"
            [[route]]
            upstream.url = "http://b.example"
            timeouts.write = "1s"
            "#,
    );
}

#[test]
fn a_route_says_only_what_is_its_own() {
    let example = example_with_route().replace(": one", "");
    let written = written(&example.replace("version=2", "version"));
    let (_, routes) = written.split_once("[[route]]\n").unwrap();
    let (route, _) = routes.split_once("[[route]]\n").unwrap();
    assert_eq!(route.matches(" = ").count(), 17, "{route}");
}

#[test]
fn no_secret_is_shown() {
    let text = "upstream.url = 'http://a'\n[[route]]\nheader = 'Authorization: Bearer abc'\n";
    let written = config(text).to_string();
    assert!(!written.contains("abc"), "{written}");
    let probe = config("upstream.url = 'http://a'\nprobe.token = '0123456789abcdef'\n");
    let shown = format!("{probe}{probe:?}");
    assert!(!shown.contains("0123456789abcdef"), "{shown}");
    assert!(shown.contains("[probe]\npath = "), "{shown}");
    assert!(
        written.contains("header = \"authorization: ***\""),
        "{written}"
    );
}
