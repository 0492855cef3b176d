//! What both servers, the public one and the internal one, hand to their handlers.

use super::{DIALECTS, refused, tables};
use crate::adapters::native::{AuthMode, Native, catalog::Catalog, meter::Meter};
use crate::config::Config;
use crate::console::http::HttpCounts;
use crate::console::readiness::{self, Life};
use crate::core::broker::Broker;
use actix_web::web;
use std::sync::Arc;
use std::time::Duration;

/// How often a starting node looks whether its channels are copied.
const COPIED_INTERVAL: Duration = Duration::from_millis(25);

/// Clones share all of it.
#[derive(Clone)]
pub(super) struct Rooms {
    pub(super) broker: Broker,
    pub(super) meter: Meter,
    pub(super) life: Life,
    pub(super) http: Arc<HttpCounts>,
    catalog: Arc<Catalog>,
    cluster_secret: Arc<str>,
}

impl Rooms {
    /// Of this broker.
    pub(super) fn new(broker: Broker, config: &Config) -> Self {
        let owners = DIALECTS.iter().map(|one| one.name());
        Self {
            broker,
            meter: Meter::default(),
            life: Life::default(),
            http: HttpCounts::new(owners.chain([refused::OWN]).collect()),
            catalog: Arc::new(tables::catalog(DIALECTS)),
            cluster_secret: config.cluster_secret.clone(),
        }
    }

    /// Waits until all is copied that this node is home or backup of, or until that was waited for long enough.
    pub(super) async fn copied(&self) {
        let Broker {
            authority,
            channels,
            ..
        } = &self.broker;
        while !readiness::is_copied(authority, channels.copied()) {
            tokio::time::sleep(COPIED_INTERVAL).await;
        }
    }

    /// Our own API for whoever this mode lets in.
    pub(super) fn native(&self, auth_mode: AuthMode) -> web::Data<Native> {
        web::Data::new(Native {
            auth_mode,
            catalog: self.catalog.clone(),
            meter: self.meter.clone(),
            cluster_secret: self.cluster_secret.clone(),
        })
    }
}
