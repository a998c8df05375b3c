//! Flags and environment variables.

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
    let text =
        "listener = [{ proxy_protocol = true, tls = { certificate = 'a', private_key = 'b' } }]";
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
