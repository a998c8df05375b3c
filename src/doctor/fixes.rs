//! What to change, and where: data. Another product is another entry.

use super::chain::Product;
use super::finding::Finding;
use super::rule::Rule;

/// One change that helps against some findings.
#[derive(Debug, PartialEq, Eq)]
pub struct Fix {
    /// Whose setting it is.
    pub product: Product,
    /// The rules it fixes.
    pub rules: &'static [Rule],
    /// The setting as it is written there.
    pub setting: &'static str,
    /// Where that is documented.
    pub link: &'static str,
}

/// Those whose responses carry no sign of them: they may always be there.
const INVISIBLE: [Product; 3] = [Product::Haproxy, Product::Traefik, Product::Alb];

const BUFFERED: &[Rule] = &[
    Rule::BufferedToEnd,
    Rule::BufferedBySize,
    Rule::BufferedByTime,
    Rule::OneLate,
    Rule::HeadHeld,
];
const SILENCE: &[Rule] = &[Rule::CutInSilence, Rule::DisguisedCut, Rule::NoHeartbeat];
const AGE: &[Rule] = &[Rule::CutByAge, Rule::DisguisedCut];
/// Compression, and its effects on streams that are not flushed.
const COMPRESSED: &[Rule] = &[Rule::Compressed, Rule::Undecodable];

const NGINX_PROXY: &str = "https://nginx.org/en/docs/http/ngx_http_proxy_module.html";
const ENVOY_TIMEOUTS: &str =
    "https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts";
const SIDECAR: &str = "docs/troubleshooting.md";

#[rustfmt::skip]
const FIXES: &[Fix] = &[
    fix(Product::Nginx, BUFFERED, "proxy_buffering off;  proxy_http_version 1.1;  proxy_set_header Connection \"\";  (or have the backend send `X-Accel-Buffering: no`; with two nginx in a row the inner one also needs `proxy_pass_header X-Accel-Buffering;`)", NGINX_PROXY),
    fix(Product::Nginx, SILENCE, "proxy_read_timeout 1h;  (60s by default; or heartbeats more often than that)", NGINX_PROXY),
    fix(Product::Nginx, COMPRESSED, "gzip off;  in the stream's location, or no `text/event-stream` and no `*` in gzip_types", "https://nginx.org/en/docs/http/ngx_http_gzip_module.html#gzip_types"),
    fix(Product::Nginx, &[Rule::DisconnectLost, Rule::DisconnectLate], "proxy_ignore_client_abort off;", NGINX_PROXY),
    fix(Product::Nginx, &[Rule::Cached], "proxy_cache off;", NGINX_PROXY),
    fix(Product::Nginx, &[Rule::Http10, Rule::CloseDelimited], "proxy_http_version 1.1;  on each nginx in the chain", NGINX_PROXY),
    fix(Product::Nginx, &[Rule::SixConnections], "listen 443 ssl;  http2 on;", "https://nginx.org/en/docs/http/ngx_http_v2_module.html"),
    fix(Product::IngressNginx, SILENCE, "nginx.ingress.kubernetes.io/proxy-read-timeout: \"3600\"", "https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/"),
    fix(Product::IngressNginx, AGE, "worker-shutdown-timeout: \"3600s\" in its ConfigMap: streams older than that end 240 s after each reload", "https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/configmap/"),
    fix(Product::IngressNginx, BUFFERED, "nginx.ingress.kubernetes.io/proxy-buffering: \"off\"", "https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/"),
    fix(Product::Haproxy, SILENCE, "timeout server 1h  and  timeout client 1h  (`timeout tunnel` does not count for event streams)", "https://docs.haproxy.org/"),
    fix(Product::Haproxy, &[Rule::DisconnectLost, Rule::DisconnectLate], "option abortonclose  (or heartbeats: without it HAProxy sees that a client has left when it writes)", "https://docs.haproxy.org/"),
    fix(Product::Haproxy, COMPRESSED, "compression type  without text/event-stream, or `http-request del-header Accept-Encoding` for the stream's path", "https://docs.haproxy.org/"),
    fix(Product::Haproxy, &[Rule::BufferedBySize, Rule::BufferedByTime], "option http-no-delay", "https://docs.haproxy.org/"),
    fix(Product::Envoy, AGE, "route: { timeout: 0s }  (15 s in all by default)", ENVOY_TIMEOUTS),
    fix(Product::Envoy, SILENCE, "route: { timeout: 0s, idle_timeout: 3600s }  (stream_idle_timeout is 5 min by default)", ENVOY_TIMEOUTS),
    fix(Product::Envoy, BUFFERED, "no envoy.filters.http.buffer, and ext_proc in STREAMED mode, for the stream's route", "https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/buffer_filter"),
    fix(Product::Envoy, COMPRESSED, "compressor: no text/event-stream in content_type, or CompressorPerRoute { disabled: true }", "https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/compressor_filter"),
    fix(Product::Istio, AGE, "VirtualService: http[].timeout: 0s", "https://istio.io/latest/docs/reference/config/networking/virtual-service/"),
    fix(Product::Istio, SILENCE, "EnvoyFilter: stream_idle_timeout: 3600s; or heartbeats", "https://istio.io/latest/docs/reference/config/networking/envoy-filter/"),
    fix(Product::Traefik, COMPRESSED, "compress.excludedContentTypes=text/event-stream", "https://doc.traefik.io/traefik/middlewares/http/compress/"),
    fix(Product::Traefik, &[Rule::BufferedToEnd, Rule::BufferedBySize, Rule::BufferedByTime, Rule::HeadHeld], "no `compress` and no `buffering` middleware on the stream's router", "https://doc.traefik.io/traefik/middlewares/http/buffering/"),
    fix(Product::Traefik, AGE, "entryPoints.<name>.transport.respondingTimeouts.writeTimeout=0", "https://doc.traefik.io/traefik/routing/entrypoints/#respondingtimeouts"),
    fix(Product::Caddy, COMPRESSED, "@plain not header Accept *text/event-stream*   encode @plain   (or have the backend send `Cache-Control: no-transform`)", "https://caddyserver.com/docs/caddyfile/directives/encode"),
    fix(Product::Caddy, BUFFERED, "no `encode` for the stream (up to 2.11.4 it may hold the headers); `flush_interval` is not needed", "https://caddyserver.com/docs/caddyfile/directives/reverse_proxy"),
    fix(Product::Apache, COMPRESSED, "SetEnvIf Request_URI ^/events no-gzip=1   (or no text/event-stream in AddOutputFilterByType DEFLATE)", "https://httpd.apache.org/docs/2.4/mod/mod_deflate.html"),
    fix(Product::Apache, BUFFERED, "no DEFLATE for the stream; `ProxyPass … flushpackets=on` for fcgi:// and ajp://", "https://httpd.apache.org/docs/2.4/mod/mod_proxy.html"),
    fix(Product::Apache, SILENCE, "ProxyPass /events http://backend/events timeout=3600  (60 s by default)", "https://httpd.apache.org/docs/2.4/mod/mod_proxy.html"),
    fix(Product::Apache, &[Rule::DisconnectLost, Rule::DisconnectLate], "heartbeats: Apache sees that a client has left when it writes", "https://httpd.apache.org/docs/2.4/mod/mod_proxy.html"),
    fix(Product::Varnish, BUFFERED, "set beresp.do_stream = true;  set beresp.do_gzip = false;  or `return (pipe);` for the stream's path", "https://varnish-cache.org/docs/trunk/reference/vcl.html"),
    fix(Product::Varnish, &[Rule::Cached], "return (pass);  for the stream's path", "https://varnish-cache.org/docs/trunk/reference/vcl.html"),
    fix(Product::Fastly, BUFFERED, "set beresp.do_stream = true;", "https://www.fastly.com/documentation/guides/concepts/streaming-miss/"),
    fix(Product::Cloudflare, SILENCE, "heartbeats: Cloudflare cuts after 120 s without a byte", "https://developers.cloudflare.com/fundamentals/reference/connection-limits/"),
    fix(Product::Cloudflare, BUFFERED, "have the backend send exactly `Content-Type: text/event-stream` and `Cache-Control: no-transform`; quick tunnels of cloudflared hold GET streams to the end", "https://developers.cloudflare.com/speed/optimization/content/compression/"),
    fix(Product::Cloudflare, COMPRESSED, "Cache-Control: no-transform", "https://developers.cloudflare.com/speed/optimization/content/compression/"),
    fix(Product::CloudFront, SILENCE, "origin response timeout above 30 s (60 s at most), and heartbeats", "https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/RequestAndResponseBehaviorCustomOrigin.html"),
    fix(Product::CloudFront, COMPRESSED, "a cache behaviour without `Compress objects automatically` for the stream's path", "https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/ServingCompressedFiles.html"),
    fix(Product::Alb, SILENCE, "idle_timeout.timeout_seconds=4000, or heartbeats (60 s by default; PING frames and TCP keep-alive do not count)", "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html"),
    fix(Product::ApiGateway, &[Rule::BufferedToEnd, Rule::CutByAge], "REST APIs buffer whole responses unless response streaming is on, and end after their integration timeout (29 s by default)", "https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html"),
    fix(Product::Google, AGE, "Cloud Run: gcloud run services update --timeout=3600;  load balancer: backend service timeoutSec (30 s by default, and it counts the whole response)", "https://cloud.google.com/run/docs/configuring/request-timeout"),
    fix(Product::Azure, BUFFERED, "API Management: no response body in diagnostic logs, and `buffer-response=\"false\"` in forward-request", "https://learn.microsoft.com/azure/api-management/how-to-server-sent-events"),
    fix(Product::Azure, SILENCE, "heartbeats: the load balancer's idle timeout is 4 min", "https://learn.microsoft.com/azure/load-balancer/load-balancer-tcp-reset"),
    fix(Product::Fly, &[Rule::BufferedToEnd, Rule::BufferedBySize, Rule::Compressed], "have the app send `Cache-Control: no-transform`: the edge holds what it compresses", "https://fly.io/docs/networking/request-headers/"),
    fix(Product::Heroku, SILENCE, "heartbeats: the router cuts after 55 s without a byte", "https://devcenter.heroku.com/articles/request-timeout"),
    fix(Product::Vercel, AGE, "export const maxDuration = 300;", "https://vercel.com/docs/functions/configuring-functions/duration"),
    fix(Product::NextJs, COMPRESSED, "compress: false  in next.config.js, or `Cache-Control: no-transform` on the stream", "https://nextjs.org/docs/app/api-reference/config/next-config-js/compress"),
    fix(Product::NextJs, BUFFERED, "compress: false  in next.config.js, or `Cache-Control: no-transform` on the stream: rewrites hold what they compress", "https://nextjs.org/docs/app/api-reference/config/next-config-js/compress"),
    fix(Product::Express, COMPRESSED, "Cache-Control: no-transform on the stream, or `compression({ filter })` without it, or res.flush() after each event", "https://github.com/expressjs/compression#server-sent-events"),
    fix(Product::Express, BUFFERED, "Cache-Control: no-transform on the stream, or res.flush() after each event", "https://github.com/expressjs/compression#server-sent-events"),
    fix(Product::Django, COMPRESSED, "response.headers[\"Content-Encoding\"] = \"identity\" on the stream, or no GZipMiddleware", "https://docs.djangoproject.com/en/stable/ref/middleware/#module-django.middleware.gzip"),
    fix(Product::Django, BUFFERED, "no GZipMiddleware for the stream, and StreamingHttpResponse behind an ASGI server or a threaded WSGI one", "https://docs.djangoproject.com/en/stable/ref/request-response/#streaminghttpresponse-objects"),
    fix(Product::Starlette, COMPRESSED, "no GZipMiddleware on the stream's route (Starlette leaves text/event-stream alone since 0.46)", "https://starlette.dev/middleware/"),
    fix(Product::Rails, BUFFERED, "headers[\"Last-Modified\"] = Time.now.httpdate: Rack::ETag collects the whole body of what has no validator", "https://api.rubyonrails.org/classes/ActionController/Live.html"),
    fix(Product::Iis, BUFFERED, "responseBufferLimit=\"0\" on the handler, and no dynamic compression for text/event-stream", "https://learn.microsoft.com/iis/configuration/system.webserver/handlers/"),
    fix(Product::Iis, COMPRESSED, "<add mimeType=\"text/event-stream\" enabled=\"false\" /> in httpCompression/dynamicTypes", "https://learn.microsoft.com/iis/configuration/system.webserver/httpcompression/"),
    fix(Product::Kong, BUFFERED, "response_buffering=false on the route", "https://developer.konghq.com/gateway/entities/route/"),
    fix(Product::Sidecar, BUFFERED, "sse-sidecar in front of the backend asks it for no compression, and the hops in front not to buffer", SIDECAR),
    fix(Product::Sidecar, SILENCE, "sse-sidecar in front of the backend sends heartbeats: heartbeat.interval = \"15s\"", SIDECAR),
    fix(Product::Sidecar, AGE, "timeouts.total below the limit: clients then reconnect at an event's end, not in the middle of one", SIDECAR),
    fix(Product::Sidecar, COMPRESSED, "sse-sidecar in front of the backend decodes its streams, and sends `no-transform`", SIDECAR),
    fix(Product::Sidecar, &[Rule::ContentType], "events.detect = \"always\" on the route of a backend that mislabels its stream", SIDECAR),
    fix(Product::Sidecar, &[Rule::NoTransform, Rule::NoCache, Rule::AccelBuffering, Rule::Etag, Rule::ContentLength, Rule::CloseDelimited], "sse-sidecar in front of the backend corrects this in every event stream", SIDECAR),
];

const fn fix(
    product: Product,
    rules: &'static [Rule],
    setting: &'static str,
    link: &'static str,
) -> Fix {
    Fix {
        product,
        rules,
        setting,
        link,
    }
}

/// Adds fixes to each finding: settings of the hops that were `seen`, of the sidecar, and of products that never show. If no hop
/// with such a setting was seen, those of all others are added.
pub(super) fn attach_fixes(findings: &mut [Finding], seen: &[Product]) {
    for finding in findings {
        let (mut fixes, rest): (Vec<_>, Vec<_>) = FIXES
            .iter()
            .filter(|fix| fix.rules.contains(&finding.rule))
            .partition(|fix| seen.contains(&fix.product));
        let is_known = !fixes.is_empty();
        let (sidecar, others): (Vec<_>, Vec<_>) = rest
            .into_iter()
            .partition(|fix| fix.product == Product::Sidecar);
        fixes.extend(sidecar);
        fixes.extend(
            others
                .into_iter()
                .filter(|fix| !is_known || INVISIBLE.contains(&fix.product)),
        );
        finding.fixes = fixes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_helps_against_something_and_says_where_it_is_documented() {
        for fix in FIXES {
            assert!(!fix.rules.is_empty() && !fix.setting.is_empty());
            assert!(fix.link.starts_with("https://") || fix.link == SIDECAR);
        }
    }

    #[test]
    fn those_who_were_seen_come_first() {
        let mut findings = [Finding::certain(Rule::BufferedToEnd, "")];
        attach_fixes(&mut findings, &[Product::Nginx]);
        let products: Vec<_> = findings[0].fixes.iter().map(|fix| fix.product).collect();
        assert_eq!(
            products,
            [Product::Nginx, Product::Sidecar, Product::Traefik]
        );
        attach_fixes(&mut findings, &[]);
        let products: Vec<_> = findings[0].fixes.iter().map(|fix| fix.product).collect();
        assert!(products.contains(&Product::Nginx) && products.contains(&Product::Express));
        let sidecars = products
            .iter()
            .filter(|product| **product == Product::Sidecar);
        assert_eq!(sidecars.count(), 1);
    }
}
