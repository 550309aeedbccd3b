//! New certificates, requests and their answers, and what is given out of the folder.

use std::net::IpAddr;

use rustls_pki_types::CertificateDer;

use crate::admin::api;
use crate::admin::service::{Context, ServiceError};
use crate::cert::{NamePattern, NewCertificate, Subject};
use crate::store::{self, Part};

/// Days that a new certificate is valid for if nobody says otherwise: two years.
const DEFAULT_DAYS: u32 = 730;

impl Context {
    /// Makes a key and a self-signed certificate.
    pub fn create(&self, new: &api::New) -> Result<api::Name, ServiceError> {
        let certificate = new_certificate(new)?;
        let name = self.store.create(&certificate, new.name.as_deref())?;
        Ok(api::Name { name })
    }

    /// Makes a certificate request, and its key unless one is kept.
    pub fn request(&self, new: &api::NewRequest) -> Result<api::Imported, ServiceError> {
        let request = new_request(new)?;
        let name = self.store.request(&request, new.name.as_deref())?;
        let days = new.days.map(|_| api::Problem {
            code: "days-not-kept".to_owned(),
            message: "a request has no room for a number of days: the CA decides".to_owned(),
        });
        Ok(api::Imported {
            name,
            problems: days.into_iter().collect(),
        })
    }

    /// Takes a CA's answer to a request that waits.
    pub fn import_signed(&self, answer: &api::ImportSigned) -> Result<api::Imported, ServiceError> {
        let imported = self.store.import_signed(certificates(answer)?)?;
        Ok(api::Imported {
            name: imported.name,
            problems: imported.problems.iter().map(Into::into).collect(),
        })
    }

    /// PEM text of a part of a NAME. A key is the caller's to keep secret.
    pub fn export(&self, name: &str, part: Part) -> Result<String, ServiceError> {
        Ok(self.store.export(name, part)?)
    }

    /// Gives up the request that waits under a NAME; its certificate stays.
    pub fn remove_request(&self, name: &str) -> Result<(), ServiceError> {
        Ok(self.store.remove_request(name)?)
    }
}

fn certificates(answer: &api::ImportSigned) -> Result<Vec<CertificateDer<'static>>, ServiceError> {
    let given = api::Import {
        certificate_pem: answer.certificate_pem.clone(),
        der_base64: answer.der_base64.clone(),
        ..api::Import::default()
    };
    Ok(super::given(&given)?.certificates)
}

fn new_certificate(new: &api::New) -> Result<NewCertificate, ServiceError> {
    let (names, addresses) = hosts(&new.hostnames)?;
    Ok(NewCertificate {
        names,
        addresses,
        subject: subject(
            Some(&new.country),
            [&new.organization, &new.unit, &new.city, &new.state],
        ),
        days: new.days.unwrap_or(DEFAULT_DAYS),
        key: match &new.key_type {
            Some(text) => text.parse()?,
            None => Default::default(),
        },
    })
}

fn new_request(new: &api::NewRequest) -> Result<store::NewRequest, ServiceError> {
    if new.from.is_some() && new.key_type.is_some() {
        return Err(ServiceError::KeyIsKept);
    }
    if new.from.is_none() && new.country.is_none() {
        return Err(ServiceError::Missing { field: "country" });
    }
    let (names, addresses) = hosts(&new.hostnames)?;
    Ok(store::NewRequest {
        names,
        addresses,
        subject: subject(
            new.country.as_ref(),
            [&new.organization, &new.unit, &new.city, &new.state],
        ),
        key: new.key_type.as_deref().map(str::parse).transpose()?,
        from: new.from.clone(),
    })
}

fn subject(country: Option<&String>, fields: [&Option<String>; 4]) -> Subject {
    let [organization, unit, city, state] = fields.map(Clone::clone);
    Subject {
        country: country.cloned(),
        organization,
        unit,
        city,
        state,
    }
}

/// Host names and wildcards, and IP addresses, each once.
fn hosts(texts: &[String]) -> Result<(Vec<NamePattern>, Vec<IpAddr>), ServiceError> {
    let mut names = Vec::new();
    let mut addresses = Vec::new();
    for text in texts {
        match text.parse::<IpAddr>() {
            Ok(address) => push_once(&mut addresses, address),
            Err(_) => push_once(&mut names, NamePattern::parse(text)?),
        }
    }
    Ok((names, addresses))
}

fn push_once<T: PartialEq>(all: &mut Vec<T>, one: T) {
    if !all.contains(&one) {
        all.push(one);
    }
}
