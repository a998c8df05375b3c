//! The configuration file: what it means, and what is said about a wrong one.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use toml::de::DeTable;

use sse_sidecar::config::{
    self, Config, Drain, DrainStreams, Events, Heartbeat, Level, ListenAddress, Log,
    OnUpstreamFailure, Override, Overrides, Policy, Problem, Problems, Scheme, Server, Timeouts,
    UpstreamAddress,
};

use sse_sidecar::tls::PeerName;

const EXAMPLE: &str = include_str!("../config.example.toml");

fn parse(text: &str) -> Result<(Config, Vec<Problem>), Problems> {
    config::parse(text, "config.toml", &Overrides::default())
}

/// A configuration that has nothing wrong with it.
fn config(text: &str) -> Config {
    match parse(text) {
        Ok((config, warnings)) if warnings.is_empty() => config,
        Ok((_, warnings)) => panic!("{warnings:#?}"),
        Err(problems) => panic!("{problems}"),
    }
}

fn overridden(source: &str, value: &str) -> Override {
    Override {
        source: source.to_owned(),
        value: value.to_owned(),
    }
}

/// The example with its route, which is a comment, made a part of it.
fn example_with_route() -> String {
    let (top, route) = EXAMPLE
        .split_once("# [[route]]")
        .expect("a route in the example");
    let top = top.replacen("\n# name = ", "\nname = ", 1); // of the listener, which the route names
    format!("{top}[[route]]{}", route.replace("\n# ", "\n"))
}

mod example {
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

    /// What the table under `header` knows, as an unknown key in it is told.
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
}

mod meaning {
    use super::*;

    #[test]
    fn a_route_overrides_key_by_key() {
        let config = config(
            r#"
            upstream.url = "http://app:3000"
            timeouts.read = "200s"
            heartbeat = { interval = "10s", text = "top" }

            [[route]]
            path = "/v1/chat/"
            timeouts = { write = "off", total = "1h" }
            heartbeat.interval = "5s"
            events.on_upstream_failure = "openai-responses"
            "#,
        );
        let [route, rest] = config.routes.as_slice() else {
            panic!("{config:#?}")
        };
        assert_eq!(
            route.timeouts,
            Timeouts {
                read: Some(Duration::from_secs(200)),
                write: None,
                total: Some(Duration::from_hours(1)),
                ..Timeouts::default()
            }
        );
        assert_eq!(route.heartbeat.interval, Some(Duration::from_secs(5)));
        assert_eq!(route.heartbeat.text, "top");
        assert_eq!(
            route.events.on_upstream_failure,
            OnUpstreamFailure::OpenaiResponses
        );
        assert_eq!(rest.timeouts, config.timeouts);
        assert_eq!(rest.heartbeat.interval, Some(Duration::from_secs(10)));
        assert_eq!(rest.events, Events::default());
    }

    #[test]
    fn the_conditions_of_a_route() {
        let config = config(
            r#"
            upstream.url = "http://app"
            [[route]]
            host = "API.example.com"
            path = "/v1/chat/"
            method = "POST"
            header = "X-Tenant: one"
            [[route]]
            path = "/"
            "#,
        );
        let matcher = &config.routes[0].matcher;
        assert_eq!(matcher.hosts[0].to_string(), "api.example.com");
        assert_eq!(matcher.path.as_ref().unwrap().to_string(), "/v1/chat");
        assert_eq!(matcher.methods, [http::Method::POST]);
        let header = &matcher.headers[0];
        assert_eq!(header.name, "x-tenant");
        assert_eq!(header.value.as_ref().unwrap(), "one");
        assert_eq!(config.routes[1].matcher, config.routes[2].matcher);
    }

    #[test]
    fn the_same_url_is_the_same_upstream() {
        let config = config(
            r#"
            upstream.url = "http://app"
            [[route]]
            path = "/a"
            upstream.url = "http://APP:80"
            [[route]]
            path = "/b"
            upstream.url = "unix:/run/b.sock"
            [[route]]
            path = "/c"
            upstream = { url = "https://app", tls.ca = "ca.crt" }
            [[route]]
            path = "/d"
            upstream = { url = "https://app", tls.ca = "other.crt" }
            "#,
        );
        let [a, b, c, d, rest] = config.routes.as_slice() else {
            panic!("{config:#?}")
        };
        let [a, b, c, d, rest] = [a, b, c, d, rest].map(|route| route.action.upstream().unwrap());
        assert!(Arc::ptr_eq(a, rest));
        assert_eq!(c.address, d.address);
        assert_ne!(c, d);
        assert_eq!(
            b.address,
            UpstreamAddress::Unix {
                scheme: Scheme::Http,
                path: PathBuf::from("/run/b.sock")
            }
        );
    }

    #[test]
    fn an_https_upstream_with_a_public_name_is_asked_by_it() {
        let config = config(
            "upstream.url = 'https://api.example.com'\n\
             route = [\n\
             { path = '/inherits' },\n\
             { path = '/own', upstream.url = 'https://b.example:8443' },\n\
             { path = '/local', upstream.url = 'https://app.internal' },\n\
             { path = '/client', upstream.host = 'from-client' },\n\
             { path = '/both', upstream = { url = 'https://c.example', host = 'from-client' } },\n\
             { path = '/fixed', upstream.host = 'd.example' },\n\
             ]",
        );
        let hosts = config.routes.iter().map(|route| {
            let host = route.action.proxied().unwrap().host.as_ref();
            host.map_or("the client's", |host| host.to_str().unwrap())
        });
        assert_eq!(
            hosts.collect::<Vec<_>>(),
            [
                "api.example.com",
                "b.example:8443",
                "the client's",
                "the client's",
                "the client's",
                "d.example",
                "api.example.com",
            ]
        );
        let written = config.to_string();
        let (back, _) = parse(&written).unwrap_or_else(|problems| panic!("{problems}\n{written}"));
        assert_eq!(back, config, "{written}");
    }

    #[test]
    fn routes_with_upstreams_of_their_own_need_no_other() {
        let config = config("[[route]]\npath = '/a'\nupstream.url = 'http://a'");
        assert_eq!(config.routes.len(), 1);
    }

    #[test]
    fn off_turns_off() {
        let config = config(
            "upstream.url = 'http://a'\nadmin.listen = 'off'\ntimeouts.read = 'off'\ndrain.delay = 'off'",
        );
        assert_eq!(config.admin.listen, None);
        assert_eq!(config.routes[0].timeouts.read, None);
        assert_eq!(config.drain.delay, Duration::ZERO);
    }

    #[test]
    fn limits() {
        let config = config(
            "upstream.url = 'http://a'\ntimeouts.connection_age = 'off'\n[server]\nmax_request_head = 1048576\nmax_request_headers = 10\nmax_streams = 1",
        );
        assert_eq!(config.timeouts.connection_age, None);
        assert_eq!(
            config.server,
            Server {
                max_request_head: 1024 * 1024,
                max_request_headers: 10,
                max_streams: 1,
                ..Server::default()
            }
        );
    }

    #[test]
    fn several_listeners() {
        let config = config(
            "upstream.url = 'http://a'\n[[listener]]\naddress = '[::1]:80'\n[[listener]]\naddress = 'unix:/run/a.sock'\nproxy_protocol = true\n[[listener]]",
        );
        let addresses: Vec<_> = config
            .listeners
            .iter()
            .map(|listener| listener.address.to_string())
            .collect();
        assert_eq!(addresses, ["[::1]:80", "unix:/run/a.sock", "0.0.0.0:8080"]);
        let proxied = config
            .listeners
            .iter()
            .map(|listener| listener.proxy_protocol);
        assert_eq!(proxied.collect::<Vec<_>>(), [false, true, false]);
    }
}

mod written {
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
    fn what_is_in_force_can_be_read_back() {
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
        assert_eq!(route.matches(" = ").count(), 15, "{route}");
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
}

mod overrides {
    use super::*;

    #[test]
    fn replace_what_the_file_says() {
        let overrides = Overrides {
            listen: vec![
                overridden("--listen", "127.0.0.1:1"),
                overridden("--listen", "unix:/run/a.sock"),
            ],
            upstream: Some(overridden("SSE_SIDECAR_UPSTREAM", "http://b")),
            upstream_host: Some(overridden("--upstream-host", "b.example")),
            admin: Some(overridden("--admin", "off")),
            log_level: Some(overridden("SSE_SIDECAR_LOG_LEVEL", "debug")),
        };
        let text = "upstream.url = 'http://a'\nlistener = [{ address = '127.0.0.1:2' }]\nadmin.listen = '127.0.0.1:3'";
        let (config, warnings) = config::parse(text, "config.toml", &overrides).unwrap();
        assert_eq!(warnings, []);
        assert_eq!(config.listeners.len(), 2);
        assert_eq!(
            config.listeners[1].address,
            ListenAddress::Unix(PathBuf::from("/run/a.sock"))
        );
        assert_eq!(
            config.upstreams().next().unwrap().address.to_string(),
            "http://b:80"
        );
        let proxied = config.routes[0].action.proxied().unwrap();
        assert_eq!(proxied.host.as_ref().unwrap(), "b.example");
        assert_eq!(config.admin.listen, None);
        assert_eq!(config.log.level, Level::Debug);
    }

    /// What the listeners of `text` become with these addresses instead.
    fn listening(text: &str, addresses: &[&str]) -> Result<Config, String> {
        let listen = addresses.iter().map(|it| overridden("--listen", it));
        let overrides = Overrides {
            listen: listen.collect(),
            ..Overrides::default()
        };
        let text = format!("{text}\nupstream.url = 'http://a'");
        let parsed = config::parse(&text, "config.toml", &overrides);
        parsed
            .map(|(config, _)| config)
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn the_only_listener_keeps_its_tls_and_proxy_protocol_at_other_addresses() {
        let text = "listener = [{ proxy_protocol = true, tls = { certificate = 'a', private_key = 'b' } }]";
        let config = listening(text, &["127.0.0.1:1", "unix:/run/a.sock"]).unwrap();
        assert_eq!(config.listeners.len(), 2);
        for listener in &config.listeners {
            assert!(
                listener.proxy_protocol && listener.tls.is_some(),
                "{listener:?}"
            );
        }
        let text = "listener = [{ address = 'unix:/run/b.sock', mode = '0666' }]";
        let config = listening(text, &["unix:/run/a.sock"]).unwrap();
        assert_eq!(config.listeners[0].mode, 0o666);
    }

    #[test]
    fn of_several_listeners_none_loses_its_tls() {
        let plain = "listener = [{ address = '127.0.0.1:2' }, { address = '127.0.0.1:3' }]";
        let config = listening(plain, &["127.0.0.1:1"]).unwrap();
        assert!(config.listeners.len() == 1 && config.listeners[0].tls.is_none());
        for (of_second, what) in [
            (
                "tls = { certificate = 'a', private_key = 'b' }",
                "`127.0.0.1:3` has TLS",
            ),
            ("proxy_protocol = true", "`127.0.0.1:3` has PROXY protocol"),
        ] {
            let text = plain.replace(":3'", &format!(":3', {of_second}"));
            let error = listening(&text, &["127.0.0.1:1"]).unwrap_err();
            assert!(
                error.starts_with("error: --listen: the file has 2 listeners"),
                "{error}"
            );
            assert!(
                error.contains(what) && error.contains("leave one `[[listener]]`"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_host_for_no_upstream_is_a_mistake() {
        let overrides = Overrides {
            upstream_host: Some(overridden("SSE_SIDECAR_UPSTREAM_HOST", "from_client")),
            ..Overrides::default()
        };
        let text = "route = [{ path = '/a', upstream.url = 'http://a' }]";
        let problems = config::parse(text, "config.toml", &overrides).unwrap_err();
        let keys: Vec<_> = problems
            .iter()
            .map(|problem| problem.key.as_deref())
            .collect();
        assert_eq!(keys, [Some("SSE_SIDECAR_UPSTREAM_HOST"); 2], "{problems}");
    }

    #[test]
    fn an_upstream_is_all_it_takes() {
        let overrides = Overrides {
            upstream: Some(overridden("--upstream", "unix:/run/app.sock")),
            ..Overrides::default()
        };
        let (config, warnings) = config::load(None, &overrides).unwrap();
        assert_eq!(warnings, []);
        assert_eq!(config.routes.len(), 1);
    }

    #[test]
    fn mistakes_have_the_name_of_their_flag_or_variable() {
        let overrides = Overrides {
            listen: vec![
                overridden("--listen", ":8080"),
                overridden("--listen", "127.0.0.1:9901"),
            ],
            upstream: Some(overridden("SSE_SIDECAR_UPSTREAM", "127.0.0.1:3000")),
            admin: Some(overridden("--admin", "localhost:9901")),
            ..Overrides::default()
        };
        let problems = config::load(None, &overrides).unwrap_err();
        assert_eq!(
            problems.to_string(),
            "\
error: --listen: `:8080` is not an IP address and a port
  = help: write `0.0.0.0:8080`

error: SSE_SIDECAR_UPSTREAM: `127.0.0.1:3000` is not a URL
  = help: write `http://127.0.0.1:3000`

error: --admin: `localhost:9901` is not an IP address and a port
  = help: write `127.0.0.1:9901`"
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let problems =
            config::load(Some(Path::new("no/such.toml")), &Overrides::default()).unwrap_err();
        assert_eq!(
            problems.to_string(),
            "error: `no/such.toml` cannot be read: No such file or directory (os error 2)\n  = help: name a readable file with `--config`"
        );
    }

    #[test]
    fn the_admin_port_is_found_in_a_file_that_became_wrong() {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/invalid/five-problems.toml");
        let admin = config::load_admin(Some(&file), &Overrides::default()).unwrap();
        assert_eq!(admin.unwrap().to_string(), "127.0.0.1:9901");
    }
}

/// Each file with its messages beside it. `UPDATE_EXPECTED=1 cargo test --test config` writes them, to be read before they are kept.
mod messages {
    use super::*;

    #[test]
    fn of_invalid_files() {
        compare("invalid", 20, |parsed| {
            parsed.expect_err("an error").to_string()
        });
    }

    #[test]
    fn of_warnings() {
        compare("warnings", 5, |parsed| {
            let (_, warnings) = parsed.unwrap_or_else(|problems| panic!("{problems}"));
            warnings
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n\n")
        });
    }

    fn compare(
        folder: &str,
        at_least: usize,
        message: impl Fn(Result<(Config, Vec<Problem>), Problems>) -> String,
    ) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/config")
            .join(folder);
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.retain(|file| {
            file.extension()
                .is_some_and(|extension| extension == "toml")
        });
        assert!(files.len() >= at_least, "{files:?}");
        for file in files {
            let name = file.file_name().unwrap().to_str().unwrap();
            let text = fs::read_to_string(&file).unwrap();
            let shown = message(config::parse(&text, name, &Overrides::default())) + "\n";
            let expected = file.with_extension("expected.txt");
            if std::env::var_os("UPDATE_EXPECTED").is_some() {
                fs::write(&expected, &shown).unwrap();
            }
            let expected = fs::read_to_string(&expected).unwrap_or_default();
            assert!(shown == expected, "{name}:\n{shown}\nexpected:\n{expected}");
        }
    }
}

/// What is said about the files that a configuration names.
mod files {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    /// A folder with a configuration, certificates and keys, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
                .join(format!("config-{name}-{}", std::process::id()));
            fs::create_dir(&folder).unwrap();
            for name in ["one", "two"] {
                let CertifiedKey { cert, signing_key } =
                    generate_simple_self_signed([name.to_owned()]).unwrap();
                fs::write(folder.join(format!("{name}.crt")), cert.pem()).unwrap();
                fs::write(
                    folder.join(format!("{name}.key")),
                    signing_key.serialize_pem(),
                )
                .unwrap();
            }
            fs::write(
                folder.join("half.crt"),
                "-----BEGIN CERTIFICATE-----\nAAAA\n",
            )
            .unwrap();
            fs::write(folder.join("noise.crt"), pem("CERTIFICATE")).unwrap();
            fs::write(folder.join("noise.key"), pem("PRIVATE KEY")).unwrap();
            Self(folder)
        }

        fn load(&self, toml: &str) -> Result<(Config, Vec<Problem>), Problems> {
            let file = self.0.join("sidecar.toml");
            fs::write(&file, toml).unwrap();
            config::load(Some(&file), &Overrides::default())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// PEM around something else.
    fn pem(label: &str) -> String {
        format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n")
    }

    #[test]
    fn paths_start_at_the_folder_of_the_file() {
        let folder = Folder::new("good");
        let (config, warnings) = folder
            .load(
                "listener = [{ tls = { certificate = 'one.crt', private_key = 'one.key', client_ca = 'two.crt' } }]
                 upstream = { url = 'https://app', tls = { ca = 'one.crt', certificate = 'two.crt', private_key = 'two.key' } }",
            )
            .unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(warnings, []);
        let tls = config.listeners[0].tls.as_ref().unwrap();
        assert_eq!(tls.identity.certificate, folder.0.join("one.crt"));
        let tls = config.upstreams().next().unwrap().tls.as_ref().unwrap();
        assert_eq!(tls.ca, Some(folder.0.join("one.crt")));
        assert_eq!(tls.server_name, PeerName::Fixed("app".try_into().unwrap()));
    }

    #[test]
    fn what_is_wrong_with_them_is_told_with_the_place() {
        let folder = Folder::new("bad");
        for (key, file, other, said) in [
            (
                "certificate",
                "no.crt",
                "private_key = 'one.key'",
                "cannot be read: No such file",
            ),
            (
                "certificate",
                "one.key",
                "private_key = 'one.key'",
                "holds no certificate in PEM form",
            ),
            (
                "certificate",
                "half.crt",
                "private_key = 'one.key'",
                "is broken: ",
            ),
            (
                "certificate",
                "noise.crt",
                "private_key = 'one.key'",
                "cannot be used: ",
            ),
            (
                "private_key",
                "no.key",
                "certificate = 'one.crt'",
                "cannot be read: No such file",
            ),
            (
                "private_key",
                "one.crt",
                "certificate = 'one.crt'",
                "holds no private key in PEM form",
            ),
            (
                "private_key",
                "noise.key",
                "certificate = 'one.crt'",
                "cannot be used: ",
            ),
            (
                "private_key",
                "two.key",
                "certificate = 'one.crt'",
                "does not belong to the certificate",
            ),
        ] {
            for (header, prefix) in [
                ("[[listener]]", "listener[0].tls"),
                ("[upstream]", "upstream.tls"),
            ] {
                let toml = format!(
                    "{header}\nurl = 'https://app'\ntls.{key} = '{file}'\ntls.{other}\ntls.ca = 'one.crt'"
                );
                let toml = if header == "[upstream]" {
                    toml
                } else {
                    let without = toml
                        .replace("url = 'https://app'\n", "")
                        .replace("\ntls.ca = 'one.crt'", "");
                    format!("upstream.url = 'http://app'\n{without}")
                };
                let problems = folder.load(&toml).unwrap_err();
                let [problem] = problems.iter().collect::<Vec<_>>()[..] else {
                    panic!("{problems}")
                };
                assert_eq!(problem.key, Some(format!("{prefix}.{key}")), "{problem}");
                assert!(
                    problem.message.contains(&format!("{file}` {said}")),
                    "{problem}"
                );
                assert_eq!(problem.place.as_ref().unwrap().line, 3);
                assert!(problem.help.is_some());
            }
        }
        for file in ["no.crt", "one.key", "noise.crt"] {
            for toml in [
                format!("upstream.url = 'https://app'\nupstream.tls.ca = '{file}'"),
                format!(
                    "upstream.url = 'http://app'\nlistener = [{{ tls = {{ certificate = 'one.crt', private_key = 'one.key', client_ca = '{file}' }} }}]"
                ),
            ] {
                let problems = folder.load(&toml).unwrap_err();
                assert_eq!(problems.iter().count(), 1, "{problems}");
                assert!(problems.to_string().contains("ca: `"), "{problems}");
            }
        }
    }
}

mod any_text {
    use super::*;

    proptest! {
        #[test]
        fn is_parsed_or_refused(text in "\\PC{0,200}") {
            shows(&text);
        }

        #[test]
        fn made_of_the_words_of_a_configuration_is_parsed_or_refused(words in proptest::collection::vec(word(), 0..40)) {
            shows(&words.concat());
        }

        #[test]
        fn like_the_example_with_a_mistake_is_parsed_or_refused(at in 0..EXAMPLE.len(), length in 0..20_usize, new in word()) {
            let start = EXAMPLE.floor_char_boundary(at);
            let end = EXAMPLE.ceil_char_boundary(at + length);
            shows(&format!("{}{new}{}", &EXAMPLE[..start], &EXAMPLE[end..]));
        }
    }

    /// What files are made of, and what they should not be.
    const WORDS: &str = "[[listener]] [[route]] [upstream] [timeouts] [ ] { } = . , \t \" ' # url path read interval address 'http://a' \
                         '/' \"15s\" 'off' 15 1.5 true unix: ü \\u001b \0 \u{feff} \r\n \n";

    fn word() -> impl Strategy<Value = String> {
        let words: Vec<_> = WORDS.split(' ').map(str::to_owned).collect();
        prop_oneof![4 => proptest::sample::select(words), 1 => "\\PC{1,3}"]
    }

    /// Neither parsing nor showing the problems panics.
    fn shows(text: &str) {
        if let Err(problems) = parse(text) {
            assert!(!problems.to_string().is_empty());
        }
    }
}
