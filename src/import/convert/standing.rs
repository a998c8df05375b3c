//! Reports on directives that no location, server or upstream has used: by name, as in the table of docs/replacing-nginx.md.

use super::super::report::Report;
use super::super::tree::Directive;
use super::table::{BY_ITSELF, OUT_OF_SCOPE, UNUSED};

/// Names that hint at an access guard, in directives that are unknown here.
const GUARDING_NAMES: [&str; 7] = ["auth", "access", "allow", "deny", "block", "waf", "limit"];

/// Says what becomes of a directive by its name alone.
pub(super) fn judge(directive: &Directive, report: &mut Report) {
    let name = &*directive.name;
    let find = |table: &[(&'static str, &[&str])]| {
        table
            .iter()
            .find(|(_, names)| names.contains(&name))
            .map(|(group, _)| *group)
    };
    let is_off = directive.arg(0) == "off";
    match name {
        "include" => return include(directive, report),
        "location" | "proxy_pass" | "grpc_pass" | "if" | "return" | "rewrite" => {
            return report.left_out(directive, "no route leads here");
        }
        "map" if directive.arg(0) == "$http_upgrade" => {
            return report.implied(
                directive,
                "HTTP/1.1, keep-alive and WebSocket work by themselves",
            );
        }
        "map"
            if matches!(
                directive.arg(0),
                "$http_x_forwarded_proto"
                    | "$http_x_forwarded_for"
                    | "$http_x_forwarded_host"
                    | "$http_x_forwarded_port"
            ) =>
        {
            return report.left_out(directive, "what a proxy in front says is kept where `server.trusted_proxies` names that proxy");
        }
        "proxy_cache"
        | "gzip"
        | "error_page"
        | "proxy_intercept_errors"
        | "proxy_redirect"
        | "gunzip"
        | "ssi"
        | "mirror"
        | "brotli"
        | "proxy_next_upstream"
            if is_off && name != "proxy_next_upstream" =>
        {
            return report.implied(directive, "what is off needs no word");
        }
        "proxy_pass_request_body" | "proxy_pass_request_headers" if directive.arg(0) == "on" => {
            return report.implied(directive, "requests go up as they came");
        }
        "proxy_redirect" if directive.arg(0) == "default" => {
            return report.implied(directive, "what is off needs no word");
        }
        "error_page" if directive.arg(0) == "497" => {
            return report.implied(
                directive,
                "plain HTTP on a TLS listener is answered 400, in words",
            );
        }
        "proxy_next_upstream"
            if is_off || directive.args.iter().any(|arg| arg == "non_idempotent") =>
        {
            return report.left_out(directive, "requests that were not sent yet always go to another backend, and others only if repeating them is safe");
        }
        "proxy_next_upstream" => {
            return report.implied(
                directive,
                "requests that were not sent yet go to another backend",
            );
        }
        "ssl_protocols" => {
            let old = ["TLSv1", "TLSv1.1", "SSLv3", "SSLv2"];
            return match directive.args.iter().any(|arg| old.contains(&arg.as_str())) {
                true => report.left_out(
                    directive,
                    "the sidecar has TLS 1.2 and 1.3: clients that have only older ones are lost",
                ),
                false => report.implied(
                    directive,
                    "TLS 1.2 and 1.3 have safe ciphers and sessions without a setting",
                ),
            };
        }
        "real_ip_header"
            if !matches!(
                &*directive.arg(0).to_ascii_lowercase(),
                "x-forwarded-for" | "proxy_protocol" | "forwarded" | "x-real-ip"
            ) =>
        {
            return report.left_out(
                directive,
                "the client's address comes from X-Forwarded-For, Forwarded or the PROXY protocol",
            );
        }
        _ => {}
    }
    if let Some(group) = find(&BY_ITSELF) {
        report.implied(directive, group);
    } else if UNUSED.contains(&name) {
        report.implied(directive, "nothing uses it");
    } else if let Some(reason) = find(&OUT_OF_SCOPE) {
        report.left_out(directive, reason);
    } else {
        report.left_out(directive, "the sidecar has nothing of this name");
    }
}

/// An include whose files were read, or whose name is known.
fn include(directive: &Directive, report: &mut Report) {
    match is_known(directive.arg(0)) {
        true => report.implied(directive, "what it includes is known, or was read"),
        false => report.kept(directive),
    }
}

/// An include that led to nothing.
pub(super) fn missing(directive: &Directive, why: &str, report: &mut Report) {
    let path = directive.arg(0);
    if is_known(path) {
        report.implied(directive, "what it includes is known, or was read");
    } else if may_guard(path) {
        report.guard(
            directive,
            format!("{why}; by its name it may decide who may call"),
        );
    } else {
        report.left_out(
            directive,
            format!("{why}; import on the machine that has it, or what `nginx -T` prints there"),
        );
    }
}

/// Files of nginx, Debian and certbot of which nothing is needed.
fn is_known(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or_default();
    matches!(
        file,
        "mime.types" | "fastcgi_params" | "fastcgi.conf" | "uwsgi_params" | "scgi_params"
    ) || file.starts_with("options-ssl")
        || path.contains("modules")
}

/// Whether a file that is missing may decide who may call, by its name.
pub(super) fn may_guard(path: &str) -> bool {
    let file = path
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    GUARDING_NAMES.iter().any(|name| file.contains(name))
}
