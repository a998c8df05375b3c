//! Fields of a trusted proxy are kept, and missing ones are derived from them.

use std::net::IpAddr;

use http::header::{FORWARDED, HOST, HeaderMap};
use http::uri::Scheme;
use http::{HeaderName, HeaderValue};

use super::element;
use super::{
    X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT, X_FORWARDED_PROTO, X_REAL_IP, names, port,
    proto, set, value,
};
use crate::client::ClientAddress;
use crate::proxy::headers::found;
use crate::wire::{ForwardedElement as Element, forwarded_elements, node_address};

/// Adds a trusted peer at `ip`, and the `client` that it names: missing fields are derived from those it has sent.
pub(super) fn add(
    headers: &mut HeaderMap,
    ip: Option<IpAddr>,
    client: ClientAddress,
    scheme: &Scheme,
) {
    for name in found(headers, names::is_misspelled) {
        headers.remove(name);
    }
    // Many proxies set `X-Forwarded-*` and let a client's own `Forwarded` pass: what contradicts them is not kept.
    let said = joined(headers, &FORWARDED);
    let elements = said.as_deref().and_then(forwarded_elements);
    match elements.filter(|elements| agrees(headers, elements)) {
        Some(elements) => complete(headers, &elements),
        None => set(headers, &FORWARDED, chain(headers)),
    }

    let host = headers.get(HOST).cloned();
    headers
        .entry(&X_FORWARDED_PROTO)
        .or_insert_with(|| proto(scheme));
    if let Some(host) = host {
        headers.entry(&X_FORWARDED_HOST).or_insert(host);
    }
    let host = headers.get(&X_FORWARDED_HOST).cloned();
    let said = items(headers, &X_FORWARDED_PROTO).next();
    let scheme = said.unwrap_or(scheme.as_str());
    let port = port(host.as_ref(), scheme);
    let mut element = String::with_capacity(128);
    match ip {
        Some(ip) => drop(element::push_address(&mut element, ip)),
        None => element.push_str("for=unknown"),
    }
    element::push_host_and_proto(&mut element, host.as_ref(), scheme);
    let client = client.ip().and_then(|ip| value(ip.to_string()));
    headers.entry(&X_FORWARDED_PORT).or_insert(port);
    if let Some(client) = client {
        headers.entry(&X_REAL_IP).or_insert(client);
    }
    append(headers, &FORWARDED, &element);
    if let Some(ip) = ip {
        append(headers, &X_FORWARDED_FOR, &ip.to_string());
    }
}

/// Whether `Forwarded` agrees with the `X-Forwarded-*` that came with it.
fn agrees(headers: &HeaderMap, elements: &[Element<'_>]) -> bool {
    let nodes = || elements.iter().filter_map(|element| element.node);
    let is_same = |(one, other)| match (node_address(one), node_address(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one.eq_ignore_ascii_case(other),
    };
    let listed = || items(headers, &X_FORWARDED_FOR);
    let (listed_count, node_count) = (listed().count(), nodes().count());
    let is_same_chain = listed_count == node_count && listed().zip(nodes()).all(is_same);
    let is_first = |name, said: Option<&str>| {
        let first = items(headers, name).next();
        said.zip(first)
            .is_none_or(|(said, first)| said.eq_ignore_ascii_case(first))
    };
    (listed_count == 0 || node_count == 0 || is_same_chain)
        && elements.iter().all(|element| {
            is_first(&X_FORWARDED_PROTO, element.proto) && is_first(&X_FORWARDED_HOST, element.host)
        })
}

/// Adds the `X-Forwarded-*` that did not come with a `Forwarded` of these elements.
fn complete(headers: &mut HeaderMap, elements: &[Element<'_>]) {
    if !headers.contains_key(&X_FORWARDED_FOR) {
        let nodes = elements.iter().filter_map(|element| element.node);
        let addresses = nodes.filter_map(node_address);
        let list: Vec<String> = addresses.map(|ip| ip.to_string()).collect();
        let list = Some(list.join(", ")).filter(|list| !list.is_empty());
        set(headers, &X_FORWARDED_FOR, list.and_then(value));
    }
    if let Some(proto) = elements
        .iter()
        .find_map(|element| value(element.proto?.to_owned()))
    {
        headers.entry(&X_FORWARDED_PROTO).or_insert(proto);
    }
    if let Some(host) = elements
        .iter()
        .find_map(|element| value(element.host?.to_owned()))
    {
        headers.entry(&X_FORWARDED_HOST).or_insert(host);
    }
}

/// The hops of `X-Forwarded-For` as elements of `Forwarded`.
fn chain(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut elements = String::new();
    for node in items(headers, &X_FORWARDED_FOR) {
        if !elements.is_empty() {
            elements.push_str(", ");
        }
        element::push_node(&mut elements, node);
    }
    value(elements).filter(|elements| !elements.is_empty())
}

/// The items of a list field, over all of its lines.
pub(super) fn items<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> {
    let lines = headers
        .get_all(name)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let items = lines.flat_map(|line| line.split(',')).map(str::trim);
    items.filter(|item| !item.is_empty())
}

/// All lines of a field as one.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines = headers.get_all(name).iter().map(HeaderValue::to_str);
    let lines: Vec<&str> = lines.collect::<Result<_, _>>().ok()?;
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// Appends to a list, on one line.
fn append(headers: &mut HeaderMap, name: &HeaderName, item: &str) {
    let mut list = Vec::with_capacity(item.len());
    for line in headers.get_all(name) {
        list.extend_from_slice(line.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(item.as_bytes());
    set(headers, name, value(list));
}
