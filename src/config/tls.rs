//! The `tls` tables: whether each is whole, and whether its files are what they should be.

use std::path::{Path, PathBuf};

use super::draft::{Draft, Target, TlsDraft};
use super::file::Report;
use super::problem::{Mistake, Severity};
use super::resolve::NamedFiles;
use super::value::server_name;
use super::{Scheme, UpstreamAddress};
use crate::tls::{
    Certificate, ClientTls, Error, FileSettings, Files, Identity, Part, PeerName, ServerTls,
    Standing, certificates, now,
};

/// Reports keys that are missing from the tables or have no use there.
pub(super) fn check(draft: &Draft, report: &mut Report) {
    for listener in &draft.listeners {
        let tls = &listener.tls;
        let needed = report.is_written(&tls.key) && tls.certificates.is_empty();
        check_identity(tls, needed, report);
        for one in &tls.certificates {
            check_identity(one, true, report);
        }
    }
    for target in targets(draft) {
        check_identity(&target.tls, false, report);
        check_upstream(target, report);
    }
}

fn check_upstream(target: &Target, report: &mut Report) {
    let is_https = |address: &UpstreamAddress| address.scheme() == Scheme::Https;
    for (key, address) in target.addresses().filter(|(_, address)| is_https(address)) {
        if let UpstreamAddress::Tcp { host, .. } = address
            && target.tls.server_name.is_none()
            && let Err(mistake) = server_name(host)
        {
            report.error(
                key,
                &mistake.help("name its certificate's in `tls.server_name`"),
            );
        }
    }
    let mistake = match target.addresses().find(|(_, address)| !is_https(address)) {
        Some((_, address)) => Mistake::new(format!("`{address}` is not encrypted"))
            .help("write `https://host:port` in `url`, or leave out `tls`"),
        None if target.is_given => return, // reported, or encrypted
        None => Mistake::new("there is no `url` beside it")
            .help("write `upstream.url = \"https://host:port\"` here too"),
    };
    if report.is_written(&target.tls.key) {
        report.error(&target.tls.key, &mistake);
    }
}

/// Reports files that are not what they should be. Relative paths start at `folder`.
pub(super) fn check_files(draft: &Draft, folder: &Path, report: &mut Report) {
    for listener in &draft.listeners {
        if let Some(settings) = server(&listener.tls, folder) {
            let one_of = |path: &Path| {
                let names = |file: &Option<PathBuf>| {
                    file.as_ref().is_some_and(|file| folder.join(file) == path)
                };
                let mut all = listener.tls.certificates.iter();
                let one = all.find(|one| names(&one.certificate) || names(&one.private_key));
                one.map(|one| one.key.clone())
            };
            let table = &listener.tls.key;
            read(&settings, table, one_of, "client_ca", &listener.key, report);
        }
    }
    for target in targets(draft) {
        // The files are the same for all of them.
        let settings = target
            .addresses()
            .find_map(|(key, address)| Some((key, client_at(target, address, folder)?)));
        if let Some((key, settings)) = settings {
            let table = &target.tls.key;
            read(&settings, table, |_| None, "ca", key, report);
        }
    }
}

/// Reports certificates that are not good today, or not for long, if that is as bad as `severity`.
pub(super) fn check_validity(
    draft: &Draft,
    files: NamedFiles<'_>,
    severity: Severity,
    report: &mut Report,
) {
    let folder = files.folder;
    let mut check = |complaints: Vec<(String, Standing)>, table: &str| {
        for (complaint, standing) in complaints {
            let key = format!("{table}.certificate");
            let mistake =
                Mistake::new(complaint).help("renew it; a new file is used as soon as it arrives");
            let is_error = standing == Standing::Expired && files.expired == Severity::Error;
            match severity {
                Severity::Error if is_error => report.error(&key, &mistake),
                Severity::Warning if !is_error => report.warning(&key, &mistake),
                Severity::Error | Severity::Warning => {}
            }
        }
    };
    for listener in &draft.listeners {
        if let Some(settings) = server(&listener.tls, folder) {
            check(complaints(&settings), &listener.tls.key);
        }
    }
    for target in targets(draft) {
        if let Some(settings) = client(target, folder) {
            check(complaints(&settings), &target.tls.key);
        }
    }
}

/// Complaints about the certificates of `settings`.
fn complaints(settings: &impl FileSettings) -> Vec<(String, Standing)> {
    let now = now();
    let files = Files::read(settings.paths());
    let certificates = certificates(settings, &files);
    let complaint = |certificate: &Certificate| {
        let complaint = certificate.validity.complaint(now)?;
        let text = format!("`{}` {complaint}", certificate.path.display());
        Some((text, certificate.validity.standing(now)))
    };
    certificates.iter().filter_map(complaint).collect()
}

/// A listener's TLS, if it is complete.
pub(super) fn server(tls: &TlsDraft, folder: &Path) -> Option<ServerTls> {
    let mut others = tls.certificates.iter();
    let mut others = others.by_ref().map(|one| identity(one, folder));
    let first = identity(tls, folder).or_else(|| others.next()?)?;
    Some(ServerTls {
        identity: first,
        others: others.flatten().collect(),
        client_ca: tls.ca.as_ref().map(|path| folder.join(path)),
    })
}

/// An upstream's TLS, if it uses it.
pub(super) fn client(target: &Target, folder: &Path) -> Option<ClientTls> {
    client_at(target, target.address.as_ref()?, folder)
}

/// The same of the one at `address`.
pub(super) fn client_at(
    target: &Target,
    address: &UpstreamAddress,
    folder: &Path,
) -> Option<ClientTls> {
    let tls = &target.tls;
    let UpstreamAddress::Tcp {
        scheme: Scheme::Https,
        host,
        ..
    } = address
    else {
        return None;
    };
    let named = tls.server_name.clone();
    Some(ClientTls {
        ca: tls.ca.as_ref().map(|path| folder.join(path)),
        identity: identity(tls, folder),
        server_name: named.or_else(|| server_name(host).ok().map(PeerName::Fixed))?,
    })
}

fn identity(tls: &TlsDraft, folder: &Path) -> Option<Identity> {
    Some(Identity {
        certificate: folder.join(tls.certificate.as_ref()?),
        private_key: folder.join(tls.private_key.as_ref()?),
    })
}

fn targets(draft: &Draft) -> impl Iterator<Item = &Target> {
    let of_routes = draft.routes.iter().map(|route| &route.upstream);
    of_routes.chain([&draft.upstream])
}

/// A certificate has a key, and a key a certificate; `needed` ones have both.
fn check_identity(tls: &TlsDraft, needed: bool, report: &mut Report) {
    let certificate = format!("{}.certificate", tls.key);
    let private_key = format!("{}.private_key", tls.key);
    let has_either = needed || report.is_written(&certificate) || report.is_written(&private_key);
    for (key, example) in [
        (certificate, "certificate = \"tls.crt\""),
        (private_key, "private_key = \"tls.key\""),
    ] {
        if has_either && !report.is_written(&key) {
            let mistake = Mistake::new("missing: a certificate and its private key go together")
                .help(format!("write `tls.{example}`"));
            report.error(&key, &mistake);
        }
    }
}

/// `authorities` is the key of the CAs in `table`, `owner` the key that asks for TLS, and `one_of` returns the other table that
/// names a file, if one does.
fn read(
    settings: &impl FileSettings,
    table: &str,
    one_of: impl Fn(&Path) -> Option<String>,
    authorities: &str,
    owner: &str,
    report: &mut Report,
) {
    let files = Files::read(settings.paths());
    if let Err(error) = settings.build(&files) {
        let key = match &error {
            Error::File { part, path, .. } => {
                let own = Some(table.to_owned());
                let table = one_of(path).filter(|_| *part != Part::Authorities).or(own);
                let table = table.unwrap_or_default();
                let key = match part {
                    Part::Certificate => "certificate",
                    Part::PrivateKey => "private_key",
                    Part::Authorities => authorities,
                };
                format!("{table}.{key}")
            }
            Error::NoSystemRoots => owner.to_owned(),
        };
        let mistake = Mistake::new(error.to_string()).help(error.help());
        report.error(&key, &mistake);
    }
}
