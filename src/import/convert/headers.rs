//! `proxy_set_header`, `add_header` and their relatives.

use super::super::inherit::{effective, effective_all};
use super::super::route::{Key, Route};
use super::super::tree::Directive;
use super::super::units;
use super::super::value::Value;
use super::upstream::Target;
use super::{Context, Converter};

const FORWARDED: &str =
    "X-Forwarded-*, X-Real-IP and Forwarded are set on every request, and agree with each other";
const FRAMING: &str = "HTTP/1.1, keep-alive and WebSocket work by themselves";
const STREAMING: &str =
    "nothing is buffered, cached or compressed, and event streams ask other hops for the same";
const TRUSTED: &str = "it is kept from a proxy in front that is named in `server.trusted_proxies`, and set by the sidecar otherwise";

impl<'a> Converter<'a> {
    /// What a backend gets to see.
    pub(super) fn request_headers(
        &mut self,
        route: &mut Route,
        context: &Context<'a, '_>,
        target: &Target,
    ) {
        let name = if target.scheme == "h2c" {
            "grpc_set_header"
        } else {
            "proxy_set_header"
        };
        let mut has_host = false;
        for directive in effective_all(context.levels(), name) {
            let field = directive.arg(0);
            let value = context.scope().value(directive.arg(1));
            let lower = field.to_ascii_lowercase();
            if lower == "host" {
                has_host = true;
                self.host(route, directive, &value, target);
            } else if let Some(group) = self.by_itself(&lower, &value, context) {
                self.report.implied(directive, group);
            } else if self.by_authorizer(route, context, directive, &value) {
                self.report.kept(directive);
            } else if is_forwarded(&lower) {
                self.report.left_out(directive, TRUSTED);
            } else if value.literal() == Some("") {
                self.report.kept(directive);
                route.put(Key::RequestRemove, field, None, self.at(directive));
            } else {
                match value.template() {
                    Ok(template) => {
                        self.report.kept(directive);
                        route.put(Key::RequestSet, field, Some(&template), self.at(directive));
                    }
                    Err(why) => {
                        // The client's own would pass otherwise, which nginx does not let through.
                        route.put(Key::RequestRemove, field, None, self.at(directive));
                        self.report.left_out(directive, format!("{why}; the field is removed from requests, so that no client can send its own"));
                    }
                }
            }
        }
        if !has_host && target.scheme != "h2c" {
            // nginx's default is `Host $proxy_host`.
            route.set(
                Key::UpstreamHost,
                target.host.as_str(),
                "no `proxy_set_header Host`: nginx sends this",
            );
        }
    }

    fn host(
        &mut self,
        route: &mut Route,
        directive: &'a Directive,
        value: &Value,
        target: &Target,
    ) {
        let is_clients = |text: &str| {
            matches!(
                text,
                "$host"
                    | "$http_host"
                    | "$host:$server_port"
                    | "$http_host:$server_port"
                    | "$host:$proxy_port"
            )
        };
        let raw = directive.arg(1).replace(['{', '}'], "");
        if is_clients(&raw) {
            return self.report.implied(directive, "Host is the client's");
        }
        let host = match (value.variable(), value.literal()) {
            (Some("proxy_host"), _) => Some(target.host.as_str()),
            (_, Some(host)) if !host.is_empty() => Some(host),
            _ => None,
        };
        match host {
            Some(host) => {
                self.report.kept(directive);
                route.set(Key::UpstreamHost, host, self.at(directive));
            }
            None => self.report.left_out(
                directive,
                "`upstream.host` is a fixed name; without it the backend gets the client's Host",
            ),
        }
    }

    /// A field that has the name and the value of one in the answer of the service that decides.
    fn by_authorizer(
        &mut self,
        route: &mut Route,
        context: &Context<'a, '_>,
        directive: &'a Directive,
        value: &Value,
    ) -> bool {
        let variable = value.variable().unwrap_or_default();
        let sets = effective_all(context.levels(), "auth_request_set");
        let set = sets
            .into_iter()
            .find(|set| set.arg(0).strip_prefix('$') == Some(variable));
        let own = format!(
            "$upstream_http_{}",
            directive.arg(0).to_ascii_lowercase().replace('-', "_")
        );
        match set.filter(|set| set.arg(1) == own && route.has(Key::AccessAuthorize)) {
            Some(set) => {
                self.report.kept(set);
                route.put(
                    Key::AuthorizeHeaders,
                    directive.arg(0),
                    None,
                    self.at(directive),
                );
                true
            }
            None => false,
        }
    }

    /// Fields that the sidecar sets by default, by the group of the report.
    fn by_itself(
        &self,
        field: &str,
        value: &Value,
        context: &Context<'a, '_>,
    ) -> Option<&'static str> {
        let variable = value.variable().unwrap_or_default();
        let literal = value.literal();
        let is_tls = context.is_tls();
        let forwarded = match field {
            "x-real-ip" => matches!(variable, "remote_addr" | "realip_remote_addr"),
            "x-forwarded-for" => matches!(variable, "proxy_add_x_forwarded_for" | "remote_addr"),
            "x-forwarded-proto" => {
                variable == "scheme"
                    || literal == is_tls.map(|is_tls| if is_tls { "https" } else { "http" })
            }
            "x-forwarded-host" => {
                matches!(variable, "host" | "http_host" | "server_name")
                    || value.template().is_ok_and(|text| text == "{host}:{port}")
            }
            "x-forwarded-port" => {
                variable == "server_port"
                    || is_tls == Some(true) && literal == Some("443")
                    || is_tls == Some(false) && literal == Some("80")
            }
            _ => false,
        };
        if forwarded {
            return Some(FORWARDED);
        }
        match field {
            "connection" | "upgrade" | "keep-alive" | "te" | "transfer-encoding"
            | "proxy-connection" | "expect" => Some(FRAMING),
            "x-accel-buffering" => Some(STREAMING),
            "x-request-id" if variable == "request_id" => {
                Some("X-Request-Id is kept from the client, or made")
            }
            _ => {
                let itself = format!("http_{}", field.replace('-', "_"));
                (variable == itself && !is_forwarded(field))
                    .then_some("a field that is set to itself passes anyway")
            }
        }
    }

    /// What a client gets to see. With `has_cors` the fields of cross-origin sharing have their own key.
    pub(super) fn response_headers(
        &mut self,
        route: &mut Route,
        context: &Context<'a, '_>,
        has_cors: bool,
    ) {
        let levels = context.levels();
        let hidden = effective_all(levels, "proxy_hide_header");
        let adds = effective_all(levels, "add_header");
        for directive in &adds {
            let field = directive.arg(0);
            let lower = field.to_ascii_lowercase();
            let is_hidden = hidden
                .iter()
                .any(|hidden| hidden.arg(0).eq_ignore_ascii_case(field));
            match &*lower {
                "x-accel-buffering" => self.report.implied(directive, STREAMING),
                "connection" | "keep-alive" | "transfer-encoding" | "upgrade" => self.report.implied(directive, FRAMING),
                "content-type" if route.has(Key::Respond) => self.report.kept(directive),
                "content-type" => self.report.left_out(directive, "nginx sends it beside the backend's own Content-Type; where a backend mislabels its stream, write `events.detect = \"always\"`"),
                "alt-svc" => self.report.left_out(directive, "it speaks of a QUIC port, which the sidecar has not"),
                "content-length" | "trailer" => self.report.left_out(directive, "the sidecar writes the length of messages itself"),
                lower if has_cors && lower.starts_with("access-control-") => {}
                "vary" if has_cors => self.report.implied(directive, "`cors` sets Vary too"),
                _ => {
                    let value = context.scope().value(directive.arg(1));
                    match value.template() {
                        Ok(text) if text.is_empty() => self.report.implied(directive, "an empty field is not sent"),
                        Ok(text) => {
                            let key = if is_hidden { Key::ResponseSet } else { Key::ResponseAdd };
                            self.report.kept(directive);
                            route.put(key, field, Some(&text), self.at(directive));
                            if directive.arg(2) != "always" {
                                self.report.note("without `always`, nginx leaves the fields of `add_header` off error answers; here every answer of the route has them");
                            }
                        }
                        Err(why) => self.report.left_out(directive, why),
                    }
                }
            }
        }
        for directive in hidden {
            let field = directive.arg(0);
            self.report.kept(directive);
            if !adds
                .iter()
                .any(|add| add.arg(0).eq_ignore_ascii_case(field))
            {
                route.put(Key::ResponseRemove, field, None, self.at(directive));
            }
        }
        self.expires(route, context);
    }

    fn expires(&mut self, route: &mut Route, context: &Context<'a, '_>) {
        let Some(directive) = effective(context.levels(), "expires") else {
            return;
        };
        let text = directive.arg(directive.args.len().saturating_sub(1));
        let value = match text {
            "off" => {
                return self
                    .report
                    .implied(directive, "`expires off` is the default");
            }
            "epoch" => "no-cache".to_owned(),
            "max" => "max-age=315360000".to_owned(),
            text if text.starts_with('-') => "no-cache".to_owned(),
            text => match units::duration(text) {
                Some(milliseconds) if !text.starts_with('@') => {
                    format!("max-age={}", milliseconds / 1000)
                }
                _ => {
                    return self.report.left_out(
                        directive,
                        "write `response_headers.set = { Cache-Control = \"max-age=…\" }`",
                    );
                }
            },
        };
        self.report.kept(directive);
        // One field for both, where nginx sends two.
        route.put(
            Key::ResponseAdd,
            "Cache-Control",
            Some(&value),
            self.at(directive),
        );
    }
}

/// Fields that the sidecar sets, and that it keeps from trusted proxies only.
fn is_forwarded(field: &str) -> bool {
    matches!(
        field,
        "x-real-ip"
            | "forwarded"
            | "x-forwarded-for"
            | "x-forwarded-proto"
            | "x-forwarded-host"
            | "x-forwarded-port"
    )
}
