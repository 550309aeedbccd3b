//! Certificates and keys, in both layouts that proxies want: `pem/NAME.pem` with everything in
//! one file, and `split/NAME.crt` beside `split/NAME.key`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize,
};
use time::{Duration, OffsetDateTime};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Folder that is to hold them; made if missing
    folder: PathBuf,
    /// For host0.example.test and so on, this many and in `extra` one more, instead of one with
    /// an ECDSA and one with an RSA key; `names` lists them
    #[arg(long)]
    count: Option<usize>,
}

/// An authority: what it signs with, and its certificates that go into a chain.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    chain: String,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let root = Authority::root()?;
    let authority = root.intermediate()?;
    let folder = &options.folder;
    let Some(count) = options.count else {
        layouts(folder)?;
        let ecdsa = KeyPair::generate()?;
        authority.issue(folder, "ecdsa", "mail.example.test", &ecdsa)?;
        let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        return authority.issue(folder, "rsa", "rsa.example.test", &rsa);
    };
    let extra = folder.join("extra");
    layouts(folder)?;
    layouts(&extra)?;
    let name = |number: usize| format!("host{number}.example.test");
    for number in 0..count {
        authority.issue(folder, &name(number), &name(number), &KeyPair::generate()?)?;
    }
    authority.issue(&extra, &name(count), &name(count), &KeyPair::generate()?)?;
    // Last: its presence says that the folder is whole.
    let names: String = (0..count).map(|number| name(number) + "\n").collect();
    write(&folder.join("names"), &names)
}

fn layouts(folder: &Path) -> Result<()> {
    for layout in ["pem", "split"] {
        fs::create_dir_all(folder.join(layout))
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

impl Authority {
    fn root() -> Result<Self> {
        let key = KeyPair::generate()?;
        Ok(Self {
            issuer: Issuer::new(authority("Comparison Root"), key),
            chain: String::new(),
        })
    }

    fn intermediate(&self) -> Result<Self> {
        let key = KeyPair::generate()?;
        let params = authority("Comparison Intermediate");
        let chain = params.signed_by(&key, &self.issuer)?.pem();
        let issuer = Issuer::new(params, key);
        Ok(Self { issuer, chain })
    }

    /// Writes a certificate for `name`, with its chain and key, to files called `file`.
    fn issue(&self, folder: &Path, file: &str, name: &str, key: &KeyPair) -> Result<()> {
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        in_force(&mut params, 90);
        let chain = params.signed_by(key, &self.issuer)?.pem() + &self.chain;
        let key = key.serialize_pem();
        let both = key.clone() + &chain;
        write(&folder.join(format!("split/{file}.key")), &key)?;
        write(&folder.join(format!("split/{file}.crt")), &chain)?;
        write(&folder.join(format!("pem/{file}.pem")), &both)
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    in_force(&mut params, 3650);
    params
}

/// From yesterday on, for so many days.
fn in_force(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::days(1);
    params.not_after = now + Duration::days(days);
}
