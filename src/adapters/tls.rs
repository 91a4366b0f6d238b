//! TLS to the services that gv stands on: their certificates are checked against the system's roots,
//! or those that `SSL_CERT_FILE` names.

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// The error completes a sentence that begins with "it".
pub(super) fn client_config() -> Result<ClientConfig, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(
            "asks for TLS, but this system has no root certificates: install ca-certificates or set \
                    SSL_CERT_FILE"
                .to_owned(),
        );
    }
    if !found.errors.is_empty() {
        tracing::warn!(count = found.errors.len(), "some of the system's root certificates cannot be read");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("asks for TLS, which cannot be prepared: {error}"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
