//! TLS to the server.

use std::sync::Arc;

use nexios::backplane::BackplaneError;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

/// With the system's authorities (`SSL_CERT_FILE` names others). The client's own configuration asks which cryptography the
/// process has chosen, and panics in one that has two and has chosen none.
pub(crate) fn config() -> Result<ClientConfig, BackplaneError> {
    let mut authorities = RootCertStore::empty();
    // A system without any is no error before TLS is used; then it is the server's certificate that nobody has signed.
    authorities.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(BackplaneError::settings)?;
    Ok(builder.with_root_certificates(authorities).with_no_client_auth())
}
