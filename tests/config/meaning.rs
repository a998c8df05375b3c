//! What each key means.

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
