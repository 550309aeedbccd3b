//! What a front decides about HTTP messages: whose a request is, which of its fields pass, and
//! what is said of the client to the server.
//!
//! The bytes are hyper's affair. In here fields come in and fields go out, and nothing ambiguous
//! passes (RFC 9110 section 7.6, RFC 9112 section 3.2).

mod authority;
mod fields;
mod forwarded;
mod path;
mod request;

pub use authority::Authority;
pub use fields::{
    PERSISTENT, connection_based, for_client, is_upgrade, list_has, server_upgrades, with_trailers,
};
pub use forwarded::{Manner, Sender, Told, for_server, trailers_for_server};
pub use path::{is_beneath, masked, normal_path, origin_form};
pub use request::{Asked, Fault, MAX_FIELDS, MAX_HEADER, examine};
