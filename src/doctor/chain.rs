//! Who is in the chain, as far as they sign what they pass on.

use super::observation::Observation;

/// Software or a service that event streams pass through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Product {
    Nginx,
    IngressNginx,
    Haproxy,
    Envoy,
    Istio,
    Traefik,
    Caddy,
    Apache,
    Varnish,
    Fastly,
    Cloudflare,
    CloudFront,
    Alb,
    ApiGateway,
    Google,
    Azure,
    Fly,
    Heroku,
    Vercel,
    NextJs,
    Express,
    Django,
    Starlette,
    Rails,
    Iis,
    Kong,
    Sidecar,
}

/// How a product signs: a field, and what its value has in it (anything, if that is empty).
struct Mark(&'static str, &'static str, Product);

#[rustfmt::skip]
const MARKS: &[Mark] = &[
    Mark("server", "nginx", Product::Nginx),
    Mark("server", "openresty", Product::Nginx),
    Mark("via", "nginx", Product::Nginx),
    Mark("x-ingress-nginx", "", Product::IngressNginx),
    Mark("via", "haproxy", Product::Haproxy),
    Mark("server", "istio-envoy", Product::Istio),
    Mark("server", "envoy", Product::Envoy),
    Mark("x-envoy-upstream-service-time", "", Product::Envoy),
    Mark("x-envoy-decorator-operation", "", Product::Istio),
    Mark("server", "traefik", Product::Traefik),
    Mark("server", "caddy", Product::Caddy),
    Mark("via", "caddy", Product::Caddy),
    Mark("server", "apache", Product::Apache),
    Mark("via", "varnish", Product::Varnish),
    Mark("x-varnish", "", Product::Varnish),
    Mark("x-served-by", "cache-", Product::Fastly),
    Mark("x-fastly-request-id", "", Product::Fastly),
    Mark("server", "cloudflare", Product::Cloudflare),
    Mark("cf-ray", "", Product::Cloudflare),
    Mark("via", "cloudfront", Product::CloudFront),
    Mark("x-amz-cf-id", "", Product::CloudFront),
    Mark("server", "awselb", Product::Alb),
    Mark("set-cookie", "awsalb", Product::Alb),
    Mark("x-amzn-trace-id", "", Product::Alb),
    Mark("x-amz-apigw-id", "", Product::ApiGateway),
    Mark("apigw-requestid", "", Product::ApiGateway),
    Mark("server", "google frontend", Product::Google),
    Mark("via", "1.1 google", Product::Google),
    Mark("x-cloud-trace-context", "", Product::Google),
    Mark("x-azure-ref", "", Product::Azure),
    Mark("x-ms-request-id", "", Product::Azure),
    Mark("fly-request-id", "", Product::Fly),
    Mark("server", "fly/", Product::Fly),
    Mark("via", "vegur", Product::Heroku),
    Mark("via", "heroku-router", Product::Heroku),
    Mark("server", "heroku", Product::Heroku),
    Mark("server", "vercel", Product::Vercel),
    Mark("x-vercel-id", "", Product::Vercel),
    Mark("x-powered-by", "next.js", Product::NextJs),
    Mark("x-nextjs-cache", "", Product::NextJs),
    Mark("x-powered-by", "express", Product::Express),
    Mark("server", "wsgiserver", Product::Django),
    Mark("set-cookie", "csrftoken=", Product::Django),
    Mark("server", "uvicorn", Product::Starlette),
    Mark("server", "hypercorn", Product::Starlette),
    Mark("x-runtime", "", Product::Rails),
    Mark("server", "microsoft-iis", Product::Iis),
    Mark("x-kong-proxy-latency", "", Product::Kong),
    Mark("via", "kong", Product::Kong),
    Mark("via", "sse-sidecar", Product::Sidecar),
];

/// A hop that has left its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Who.
    pub product: Product,
    /// By which field, as it was received.
    pub sign: String,
}

/// The hops that have left their names, the nearest to the client first where that is known.
pub fn hops(seen: &Observation) -> Vec<Hop> {
    let mut hops: Vec<Hop> = Vec::new();
    for Mark(name, part, product) in MARKS {
        let Some(value) = seen.field(name) else {
            continue;
        };
        let is_new = hops.iter().all(|hop| hop.product != *product);
        if value.to_ascii_lowercase().contains(part) && is_new {
            let value = if *name == "set-cookie" { "…" } else { &value };
            let sign = format!("{name}: {value}");
            hops.push(Hop {
                product: *product,
                sign,
            });
        }
    }
    // Istio's proxy is Envoy, and signs as that too.
    if hops.iter().any(|hop| hop.product == Product::Istio) {
        hops.retain(|hop| hop.product != Product::Envoy);
    }
    hops
}

impl Product {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::IngressNginx => "ingress-nginx",
            Self::Haproxy => "HAProxy",
            Self::Envoy => "Envoy",
            Self::Istio => "Istio",
            Self::Traefik => "Traefik",
            Self::Caddy => "Caddy",
            Self::Apache => "Apache httpd",
            Self::Varnish => "Varnish",
            Self::Fastly => "Fastly",
            Self::Cloudflare => "Cloudflare",
            Self::CloudFront => "CloudFront",
            Self::Alb => "AWS ALB",
            Self::ApiGateway => "AWS API Gateway",
            Self::Google => "Google Cloud",
            Self::Azure => "Azure",
            Self::Fly => "Fly.io",
            Self::Heroku => "Heroku",
            Self::Vercel => "Vercel",
            Self::NextJs => "Next.js",
            Self::Express => "Express",
            Self::Django => "Django",
            Self::Starlette => "Starlette, FastAPI",
            Self::Rails => "Rails",
            Self::Iis => "IIS",
            Self::Kong => "Kong",
            Self::Sidecar => "sse-sidecar",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::testing::seen;

    #[test]
    fn those_who_sign_are_known() {
        let products = |fields: &[(&'static str, &str)]| {
            let mut seen = seen();
            seen.set_fields(fields);
            let hops = hops(&seen);
            hops.iter().map(|hop| hop.product).collect::<Vec<_>>()
        };
        assert_eq!(products(&[("server", "nginx/1.22.1")]), [Product::Nginx]);
        assert_eq!(
            products(&[
                ("server", "cloudflare"),
                ("cf-ray", "1-FRA"),
                ("x-powered-by", "Express")
            ]),
            [Product::Cloudflare, Product::Express]
        );
        assert_eq!(
            products(&[
                ("server", "istio-envoy"),
                ("x-envoy-upstream-service-time", "1")
            ]),
            [Product::Istio]
        );
        assert_eq!(products(&[("server", "unknown")]), []);
        assert_eq!(products(&[]), []);
    }

    #[test]
    fn a_cookie_is_not_shown() {
        let mut seen = seen();
        seen.set_fields(&[("set-cookie", "AWSALB=secret")]);
        assert_eq!(hops(&seen)[0].sign, "set-cookie: …");
    }
}
