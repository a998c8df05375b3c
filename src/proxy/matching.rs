//! Which route a request takes.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::rc::Rc;

use http::{HeaderValue, Request};

use super::cors;
use super::route::Route;
use super::routing::Routing;
use crate::config::{Matcher, normal_path, requested_host};

/// The first route that takes the request.
pub(super) fn find<'a, B>(
    routing: &'a Routing,
    request: &Request<B>,
    listener: Option<&str>,
) -> Option<&'a Rc<Route>> {
    let key = RouteKey::new(request, listener);
    let takes = |route: &&Rc<Route>| {
        let config = &route.config;
        matches(&config.matcher, config.cors.is_some(), &key)
    };
    match &routing.index {
        None => routing.routes.iter().find(takes),
        Some(index) => {
            let candidates = index.candidates(key.host(), key.path());
            let mut candidates = candidates.into_iter().map(|number| &routing.routes[number]);
            candidates.find(takes)
        }
    }
}

/// The parts of a request that routes compare: computed once for all of them, and not at all if none has such a condition.
struct RouteKey<'a, B> {
    request: &'a Request<B>,
    listener: Option<&'a str>,
    host: OnceCell<Option<&'a str>>,
    path: OnceCell<Cow<'a, str>>,
}

impl<'a, B> RouteKey<'a, B> {
    fn new(request: &'a Request<B>, listener: Option<&'a str>) -> Self {
        Self {
            request,
            listener,
            host: OnceCell::new(),
            path: OnceCell::new(),
        }
    }

    fn host(&self) -> Option<&'a str> {
        *self.host.get_or_init(|| requested_host(self.request))
    }

    fn path(&self) -> &str {
        let path = || normal_path(self.request.uri().path());
        self.path.get_or_init(path)
    }
}

/// Whether all conditions hold. A preflight to a route that answers it (`answers_preflights`) is judged as the request that it announces.
fn matches<B>(matcher: &Matcher, answers_preflights: bool, key: &RouteKey<'_, B>) -> bool {
    let Matcher {
        hosts,
        path,
        methods,
        headers,
        query,
        listeners,
    } = matcher;
    let request = key.request;
    let is_host = || {
        let is_one = |host| hosts.iter().any(|pattern| pattern.matches(host));
        key.host().is_some_and(is_one)
    };
    let is_listener = || {
        let is_it = |name| listeners.iter().any(|listener| listener == name);
        key.listener.is_some_and(is_it)
    };
    (hosts.is_empty() || is_host())
        && (listeners.is_empty() || is_listener())
        && path.as_ref().is_none_or(|path| path.matches(key.path()))
        && (methods.is_empty()
            || methods.contains(request.method())
            || announced(answers_preflights, request)
                .is_some_and(|method| methods.iter().any(|one| one.as_str() == method)))
        && headers.iter().all(|wanted| {
            let mut values = request.headers().get_all(&wanted.name).iter();
            values.any(|value| wanted.value.as_ref().is_none_or(|wanted| value == wanted))
                || (announced(answers_preflights, request).is_some()
                    && cors::asks_for(request.headers(), &wanted.name))
        })
        && query.iter().all(|wanted| {
            let query = request.uri().query();
            wanted.matches(query.unwrap_or_default())
        })
}

/// The method that a preflight announces.
fn announced<B>(answers_preflights: bool, request: &Request<B>) -> Option<&HeaderValue> {
    cors::preflight(request).filter(|_| answers_preflights)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::config::{Overrides, parse};

    fn matcher(text: &str) -> Matcher {
        let text = format!("upstream.url = 'http://a:1'\n[[route]]\n{text}");
        let (config, _) = parse(&text, "f", &Overrides::default()).unwrap();
        config.routes[0].matcher.clone()
    }

    fn request(method: &str, uri: &str, fields: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn takes(matcher: &Matcher, request: &Request<()>) -> bool {
        matches(matcher, false, &RouteKey::new(request, Some("public")))
    }

    #[test]
    fn all_conditions_must_hold() {
        let matcher = matcher(
            "host = ['example.com', '*.example.net']\npath = '/events'\nmethod = ['GET', 'HEAD']\nheader = ['X-Tenant: a', 'X-B']\nquery = 'x=1'",
        );
        let get = |uri: &str, host: &str| {
            request(
                "GET",
                uri,
                &[("host", host), ("x-tenant", "a"), ("x-b", "")],
            )
        };
        for (uri, host) in [
            ("/events/1?x=1", "Example.COM:8080"),
            ("/events/1?y&x=1", "a.b.Example.net"),
            ("http://example.com/events?x=1", "other"),
            ("/%65vents?x=1", "example.com"),
            ("//events/1?x=1", "example.com"),
            ("/x/../events?x=1", "example.com."),
            ("/./events?x=%31", "EXAMPLE.com.:80"),
        ] {
            assert!(takes(&matcher, &get(uri, host)), "{uri} {host}");
        }
        for (uri, host) in [
            ("/event?x=1", "example.com"),
            ("/events?x=2", "example.com"),
            ("/events", "example.com"),
            ("/events?x=1", "example.org"),
            ("/events?x=1", "example.net"),
        ] {
            assert!(!takes(&matcher, &get(uri, host)), "{uri} {host}");
        }
        let mut other = get("/events?x=1", "example.com");
        *other.method_mut() = Method::POST;
        assert!(!takes(&matcher, &other));
        let mut other = get("/events?x=1", "example.com");
        other.headers_mut().remove("x-b");
        assert!(!takes(&matcher, &other));
        other
            .headers_mut()
            .insert("x-b", HeaderValue::from_static(""));
        other
            .headers_mut()
            .insert("x-tenant", HeaderValue::from_static("b"));
        assert!(!takes(&matcher, &other));
        assert!(takes(&Matcher::default(), &request("GET", "/", &[])));
        let listener = |names: &str| Matcher {
            listeners: names.split(' ').map(str::to_owned).collect(),
            ..Matcher::default()
        };
        assert!(takes(&listener("inner public"), &request("GET", "/", &[])));
        assert!(!takes(&listener("inner"), &request("GET", "/", &[])));
    }

    #[test]
    fn a_preflight_takes_the_route_of_the_request_that_it_announces() {
        let matcher = matcher("path = '/v1'\nmethod = 'POST'\nheader = 'X-Tenant: a'");
        let preflight = |method: &str, headers: &str| {
            request(
                "OPTIONS",
                "/v1",
                &[
                    ("origin", "https://a"),
                    ("access-control-request-method", method),
                    ("access-control-request-headers", headers),
                ],
            )
        };
        let takes = |request: &Request<()>, answers_preflights| {
            matches(
                &matcher,
                answers_preflights,
                &RouteKey::new(request, Some("public")),
            )
        };
        assert!(takes(&preflight("POST", "x-a, X-Tenant"), true));
        assert!(!takes(&preflight("POST", "x-a, X-Tenant"), false));
        assert!(!takes(&preflight("PUT", "x-tenant"), true));
        assert!(!takes(&preflight("POST", "x-a"), true));
    }
}
