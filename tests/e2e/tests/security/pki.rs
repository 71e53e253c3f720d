//! A private authority, and certificates of it.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// An authority that signs certificates, and keeps them in a folder.
pub(crate) struct Authority {
    folder: PathBuf,
    name: &'static str,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Where a certificate and its key are; both are also in `bundle`, as brokers want them.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) bundle: PathBuf,
}

impl Authority {
    pub(crate) fn new(folder: &Path, name: &'static str) -> Self {
        fs::create_dir_all(folder).expect("a folder for certificates");
        let mut params = named(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("a certificate");
        fs::write(folder.join(format!("{name}.ca.pem")), issuer.pem()).expect("written");
        Self {
            folder: folder.to_owned(),
            name,
            issuer,
        }
    }

    /// Return the file with the authority's own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.ca.pem", self.name))
    }

    /// Sign a certificate for a user or for hosts.
    pub(crate) fn issue(&self, name: &str, hosts: &[&str]) -> Identity {
        self.sign(name, named(name, hosts))
    }

    /// Sign a certificate whose time is over.
    pub(crate) fn issue_expired(&self, name: &str, hosts: &[&str]) -> Identity {
        let mut params = named(name, hosts);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(name, params)
    }

    fn sign(&self, name: &str, mut params: CertificateParams) -> Identity {
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        let key = key.serialize_pem();
        let write = |ending: &str, text: String| {
            let file = self.folder.join(format!("{name}.{ending}"));
            fs::write(&file, text).expect("written");
            file
        };
        Identity {
            bundle: write("bundle.pem", format!("{key}{certificate}")),
            certificate: write("pem", certificate),
            key: write("key", key),
        }
    }
}

fn named(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("names of hosts");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}
