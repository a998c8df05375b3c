//! The conditions and the action of a route.

use http::HeaderName;

use super::{Keys, text};
use crate::config::{
    Action, Cors, Files, HeaderEdits, Matcher, Origin, Redirect, Respond, Route, Template,
};

/// The value that a header or a parameter has to have may be a secret that only clients of this route know.
pub(super) fn matcher(matcher: &Matcher) -> Keys {
    let Matcher {
        hosts,
        path,
        methods,
        headers,
        query,
        listeners,
    } = matcher;
    let mut keys = Keys::new();
    if let Some(path) = path {
        let key = if path.is_exact() {
            "path_exact"
        } else {
            "path"
        };
        keys.push((key, text(path)));
    }
    let headers = headers.iter().map(|header| match header.value {
        Some(_) => text(format_args!("{}: ***", header.name)),
        None => text(&header.name),
    });
    let query = query.iter().map(|query| match query.value {
        Some(_) => text(format_args!("{}=***", query.name)),
        None => text(&query.name),
    });
    let lists = [
        ("host", hosts.iter().map(text).collect::<Vec<_>>()),
        ("method", methods.iter().map(text).collect()),
        ("header", headers.collect()),
        ("query", query.collect()),
        ("listener", listeners.iter().map(text).collect()),
    ];
    let given = lists.into_iter().filter(|(_, items)| !items.is_empty());
    keys.extend(given.map(|(key, items)| (key, one_or_more(&items))));
    keys
}

/// The action of a route, and its edits of the path.
pub(super) fn action(action: &Action) -> Keys {
    match action {
        Action::Proxy(proxied) => prefix(proxied.replace_prefix.as_ref()),
        Action::Redirect(redirect) => {
            let Redirect {
                scheme,
                host,
                port,
                path,
                replace_prefix,
                status,
            } = redirect;
            let mut keys = prefix(replace_prefix.as_ref());
            keys.extend(scheme.map(|scheme| ("redirect.scheme", text(scheme.name()))));
            keys.extend(host.as_ref().map(|host| ("redirect.host", text(host))));
            keys.extend(port.map(|port| ("redirect.port", port.to_string())));
            keys.extend(path.as_ref().map(|path| ("redirect.path", text(path))));
            keys.push(("redirect.status", status.as_str().to_owned()));
            keys
        }
        Action::Respond(respond) => {
            let Respond {
                status,
                text: body,
                content_type,
            } = respond;
            let content_type = content_type.to_str().unwrap_or_default();
            vec![
                ("respond.status", status.as_str().to_owned()),
                ("respond.text", text(body)),
                ("respond.content_type", text(content_type)),
            ]
        }
        Action::Files(Files { root, fallback }) => {
            let mut keys = vec![("files.root", text(root.display()))];
            keys.extend(fallback.as_ref().map(|page| ("files.fallback", text(page))));
            keys
        }
    }
}

fn prefix(replace_prefix: Option<&String>) -> Keys {
    let written = |prefix: &String| {
        if prefix.is_empty() {
            text("/")
        } else {
            text(prefix)
        }
    };
    replace_prefix
        .map(|prefix| ("replace_prefix", written(prefix)))
        .into_iter()
        .collect()
}

/// Edits of headers.
pub(super) fn fields(route: &Route) -> Keys {
    let mut keys = Keys::new();
    if let Action::Proxy(proxied) = &route.action {
        let names = [
            "request_headers.remove",
            "request_headers.set",
            "request_headers.add",
        ];
        keys.extend(edits(&proxied.request_headers, names));
    }
    let names = [
        "response_headers.remove",
        "response_headers.set",
        "response_headers.add",
    ];
    keys.extend(edits(&route.response_headers, names));
    keys.extend(route.cors.as_ref().map(|rules| ("cors", cors(rules))));
    keys
}

/// The keys of `own` that differ from those of the `top` level. A table of edits replaces the whole inherited one.
pub(super) fn changed(own: &Keys, top: &Keys) -> Keys {
    let table = |key: &str| key.split('.').next().unwrap_or_default().to_owned();
    let of = |keys: &Keys, name: &str| -> Keys {
        let keys = keys.iter().filter(|(key, _)| table(key) == name);
        keys.cloned().collect()
    };
    let is_changed = |key: &str| of(own, &table(key)) != of(top, &table(key));
    let keys = own.iter().filter(|(key, _)| is_changed(key));
    keys.cloned().collect()
}

fn edits(edits: &HeaderEdits, [remove, set, add]: [&'static str; 3]) -> Keys {
    let HeaderEdits {
        remove: removed,
        set: changed,
        add: added,
    } = edits;
    let mut keys = Keys::new();
    if !removed.is_empty() {
        keys.push((remove, list(&removed.iter().map(text).collect::<Vec<_>>())));
    }
    for (key, fields) in [(set, changed), (add, added)] {
        if !fields.is_empty() {
            keys.push((key, table(fields)));
        }
    }
    keys
}

fn table(fields: &[(HeaderName, Template)]) -> String {
    let fields = fields.iter().map(|(name, value)| {
        let value = if is_secret(name) {
            text("***")
        } else {
            text(value)
        };
        format!("{} = {value}", text(name))
    });
    format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
}

/// Whether a field of this name carries credentials.
fn is_secret(name: &HeaderName) -> bool {
    let words = ["auth", "key", "token", "secret", "cookie", "password"];
    words.iter().any(|word| name.as_str().contains(word))
}

fn cors(cors: &Cors) -> String {
    let Cors {
        origins,
        headers,
        methods,
        expose,
        credentials,
        max_age,
    } = cors;
    let origins = origins.iter().map(|origin| match origin {
        Origin::Any => text("*"),
        Origin::Exact(origin) => text(origin),
        Origin::Below(scheme, suffix) => text(format_args!("{scheme}*{suffix}")),
    });
    format!(
        "{{ origins = {}, headers = {}, methods = {}, expose = {}, credentials = {credentials}, max_age = {} }}",
        list(&origins.collect::<Vec<_>>()),
        list(&headers.iter().map(text).collect::<Vec<_>>()),
        list(&methods.iter().map(text).collect::<Vec<_>>()),
        list(&expose.iter().map(text).collect::<Vec<_>>()),
        super::clock(*max_age),
    )
}

fn one_or_more(items: &[String]) -> String {
    match items {
        [one] => one.clone(),
        several => list(several),
    }
}

fn list(items: &[String]) -> String {
    format!("[{}]", items.join(", "))
}
