//! The `upstream` and `tls` tables, as far as each value is right by itself.

use std::path::PathBuf;

use super::UpstreamAddress;
use super::action::Forwarded;
use super::address::upstream_address;
use super::balance::BalanceDraft;
use super::file::Table;
use super::upstream_host::{UpstreamHost, upstream_host};
use super::value::{choice, path, peer_name, text};
use crate::tls::PeerName;

/// An upstream that a table does or does not name.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) key: String,
    /// Given, valid or not.
    pub(super) is_given: bool,
    /// `None` if it is not given, or wrong and reported.
    pub(super) address: Option<UpstreamAddress>,
    /// Its Host field.
    pub(super) host: UpstreamHost,
    pub(super) forwarded: Option<Forwarded>,
    pub(super) tls: TlsDraft,
    /// Several of them, of which `address` is then the first.
    pub(super) balance: BalanceDraft,
}

/// A `tls` table; its files are named as in the file.
#[derive(Debug, Clone, Default)]
pub(super) struct TlsDraft {
    /// `listener[0].tls`, `upstream.tls`
    pub(super) key: String,
    pub(super) certificate: Option<PathBuf>,
    pub(super) private_key: Option<PathBuf>,
    /// A listener's `client_ca`, an upstream's `ca`.
    pub(super) ca: Option<PathBuf>,
    /// More of them, only of a listener.
    pub(super) certificates: Vec<Self>,
    /// Only of an upstream.
    pub(super) server_name: Option<PeerName>,
}

/// Whose TLS is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsSide {
    Listener,
    Upstream,
}

impl Target {
    /// Reads `upstream.url` of the whole file or of a route.
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let mut target = Self::missing(&table.join("upstream.url"));
        // An `upstream` that is no table is wrong, but not missing.
        target.is_given = table.has("upstream");
        table.table("upstream", |table| {
            table.set("url", &mut target.address, text(upstream_address));
            target.is_given = table.has("url") || table.has("urls");
            table.set("host", &mut target.host, text(upstream_host));
            let forwarded = [("on", Forwarded::On), ("off", Forwarded::Off)];
            table.set("forwarded", &mut target.forwarded, choice(&forwarded));
            target.tls = TlsDraft::read(table, TlsSide::Upstream);
            target.balance = BalanceDraft::read(table);
            if let Some(first) = target.balance.backends.first() {
                target.address = Some(first.address.clone());
            }
        });
        target
    }

    /// An upstream that is not given.
    pub(super) fn missing(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            is_given: false,
            address: None,
            host: UpstreamHost::Default,
            forwarded: None,
            tls: TlsDraft::default(),
            balance: BalanceDraft::default(),
        }
    }

    /// The addresses that it names, each with whom to blame for it.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&str, &UpstreamAddress)> {
        let several = self.balance.backends.iter();
        let several = several.map(|backend| (&*backend.key, &backend.address));
        let only = self.address.as_ref();
        let only = only.filter(|_| self.balance.backends.is_empty());
        several.chain(only.map(|address| (&*self.key, address)))
    }

    /// The full name of its `urls`.
    pub(super) fn urls_key(&self) -> String {
        format!("{}s", self.key)
    }

    /// Another upstream, `None` if it is wrong, with the same TLS.
    pub(super) fn replace(&mut self, key: &str, address: Option<UpstreamAddress>) {
        key.clone_into(&mut self.key);
        self.is_given = true;
        self.address = address;
        self.balance.backends.clear();
    }
}

impl TlsDraft {
    pub(super) fn read(table: &mut Table<'_>, side: TlsSide) -> Self {
        let mut tls = Self {
            key: table.join("tls"),
            ..Self::default()
        };
        table.table("tls", |table| {
            if side == TlsSide::Upstream {
                table.set("ca", &mut tls.ca, text(path));
            }
            table.set("certificate", &mut tls.certificate, text(path));
            table.set("private_key", &mut tls.private_key, text(path));
            match side {
                TlsSide::Listener => {
                    table.set("client_ca", &mut tls.ca, text(path));
                    table.tables("certificates", |table| {
                        let mut one = Self {
                            key: table.path().to_owned(),
                            ..Self::default()
                        };
                        table.set("certificate", &mut one.certificate, text(path));
                        table.set("private_key", &mut one.private_key, text(path));
                        tls.certificates.push(one);
                    });
                }
                TlsSide::Upstream => {
                    table.set("server_name", &mut tls.server_name, text(peer_name));
                }
            }
        });
        tls
    }
}
