//! TLS of the public port: a certificate that can be changed while connections live.
//!
//! **Why our own resolver:** the server's configuration is copied to each worker when it starts; a certificate behind
//! one shared place is new for the next handshake everywhere, and no connection is dropped for it.

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a certificate cannot be used. Never holds any of the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read as PEM.
    #[error("{path}: {why}")]
    File {
        /// The file that could not be used.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The key does not belong to the certificate, or is of a kind that is not known.
    #[error("certificate and key: {0}")]
    Pair(String),
}

/// The certificate in use, and where it comes from. Clones share it.
#[derive(Clone, Debug)]
pub struct Certificate {
    files: Arc<(PathBuf, PathBuf)>,
    current: Arc<Current>,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Certificate {
    /// Reads a chain and its key, both PEM.
    ///
    /// # Errors
    /// When a file cannot be read, or the two do not belong together.
    pub fn load(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let certified = read(chain, key)?;
        Ok(Self {
            files: Arc::new((chain.to_owned(), key.to_owned())),
            current: Arc::new(Current(ArcSwap::from_pointee(certified))),
        })
    }

    /// Reads the files again; what is in use stays when they are not good.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn reload(&self) -> Result<(), TlsError> {
        let (chain, key) = &*self.files;
        self.current.0.store(Arc::new(read(chain, key)?));
        Ok(())
    }

    /// What a server needs: TLS 1.2 and 1.3, HTTP/1.1 only.
    ///
    /// # Errors
    /// When the provider knows no usable protocol version.
    pub fn server(&self) -> Result<ServerConfig, TlsError> {
        let pair = |error: rustls::Error| TlsError::Pair(error.to_string());
        let provider: Arc<CryptoProvider> = default_provider().into();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(pair)?
            .with_no_client_auth();
        let mut config = config.with_cert_resolver(self.current.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn read(chain: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let file = |path: &Path, why: String| TlsError::File {
        path: path.display().to_string(),
        why,
    };
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect)
        .map_err(|error| file(chain, error.to_string()))?;
    if certificates.is_empty() {
        return Err(file(chain, "holds no certificate".into()));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| file(key, error.to_string()))?;
    CertifiedKey::from_der(certificates, secret, &default_provider())
        .map_err(|error| TlsError::Pair(error.to_string()))
}
