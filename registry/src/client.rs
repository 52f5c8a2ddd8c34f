//! The client: what all operations share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use oci::{Digest, Reference};

use crate::attempts::{Attempts, Next};
use crate::authorizer::Authorizer;
use crate::cause::Cause;
use crate::config::Config;
use crate::endpoint::{Endpoint, plan_pull};
use crate::error::Failures;
use crate::report::{Notice, Report};
use crate::tls::ConfigError;
use crate::transport::Transport;

/// A mirror that could not be reached is not asked again for so long.
const MIRROR_REST: Duration = Duration::from_secs(60);

/// Talks to registries. Clones share connections, tokens and what was learnt about hosts.
///
/// Dropping the future of an operation cancels it: its connection is closed. Between operations only idle connections are left, for less than a minute or
/// until the last clone is dropped. All operations of a client belong to one tokio runtime, which has I/O and time.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    report: Report,
}

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) transport: Transport,
    pub(crate) authorizer: Authorizer,
    /// Hosts that turned out not to speak TLS.
    pub(crate) without_tls: Learnt<String>,
    /// Hosts that sent something else under a digest; they are asked for it last.
    pub(crate) corrupt: Learnt<(String, Digest)>,
    /// Mirrors that could not be reached, for [`MIRROR_REST`]: else every blob would wait for the same timeout.
    pub(crate) resting: Learnt<String>,
}

/// Facts that tasks learn for each other; they hold for some time, or for good.
pub(crate) struct Learnt<T> {
    facts: Mutex<BTreeMap<T, Instant>>,
    holds_for: Duration,
}

impl<T: Ord> Learnt<T> {
    fn new(holds_for: Duration) -> Self {
        Self { facts: Mutex::default(), holds_for }
    }

    pub(crate) fn add(&self, fact: T) {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).insert(fact, Instant::now());
    }

    pub(crate) fn has(&self, fact: &T) -> bool {
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.get(fact).is_some_and(|since| since.elapsed() < self.holds_for)
    }
}

impl Client {
    /// Prepares a client. Nothing is read or asked yet.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let transport = Transport::new(&config)?;
        let authorizer = Authorizer::new(Arc::clone(&config.credentials));
        let (without_tls, corrupt) = (Learnt::new(Duration::MAX), Learnt::new(Duration::MAX));
        let resting = Learnt::new(MIRROR_REST);
        let shared = Shared { config, transport, authorizer, without_tls, corrupt, resting };
        Ok(Self { shared: Arc::new(shared), report: Arc::new(|_| {}) })
    }

    /// Returns the same client with `report` being told what goes on; it must not block.
    pub fn reporting(&self, report: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        Self { shared: Arc::clone(&self.shared), report: Arc::new(report) }
    }

    /// Returns the hosts to pull from, in order, without mirrors that could not be reached a moment ago.
    pub(crate) fn pull_hosts(&self, reference: &Reference) -> Vec<Endpoint> {
        let mut endpoints = plan_pull(&self.shared.config, reference);
        endpoints.retain(|endpoint| endpoint.mirrored.is_none() || !self.shared.resting.has(&endpoint.host));
        endpoints
    }

    pub(crate) fn tell(&self, notice: Notice) {
        (self.report)(notice);
    }

    /// Returns when the next attempt may begin, or with all failures where there is none.
    pub(crate) async fn after_failure(&self, attempts: &mut Attempts, cause: Cause) -> Result<(), Failures> {
        match attempts.failed(cause) {
            Next::Elsewhere { host, cause } => {
                if matches!(cause, Cause::Connect(_) | Cause::Timeout { .. }) {
                    self.shared.resting.add(host.clone());
                }
                if !matches!(cause, Cause::NotFound { .. }) {
                    self.tell(Notice::PassedOver { host, cause });
                }
                Ok(())
            }
            Next::GiveUp(failures) => Err(failures),
            Next::Again { delay, host, attempt, cause } => {
                self.tell(Notice::Retrying { host, attempt, delay, cause });
                tokio::time::sleep(delay).await;
                Ok(())
            }
        }
    }
}
