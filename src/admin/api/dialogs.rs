//! What the dialogs about new certificates and requests send.

use serde::{Deserialize, Serialize};

/// `POST /v1/certificates`
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct New {
    /// Host names, wildcards and IP addresses; at least one.
    pub hostnames: Vec<String>,
    /// Two letters.
    pub country: String,
    /// Organisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// Organisational unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Locality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// State or province.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Days from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// `ecdsa-p256`, `rsa-2048` …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_type: Option<String>,
    /// What it is to be called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `POST /v1/requests`
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NewRequest {
    /// Host names, wildcards and IP addresses; at least one, or those of `from`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// Two letters; that of `from` if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Organisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// Organisational unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Locality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// State or province.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Days that are wished for. A request has no room for it: the CA decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// `ecdsa-p256`, `rsa-2048` …; not with `from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_type: Option<String>,
    /// What it is to be called; else as `from`, or by its first host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// NAME whose key is kept, and whose fields stand in for those that are not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// `POST /v1/import-signed`: a CA's answer.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ImportSigned {
    /// The certificate and its intermediates, in any order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_pem: Option<String>,
    /// The same in DER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub der_base64: Option<String>,
}
