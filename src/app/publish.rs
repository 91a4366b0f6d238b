//! Making a deployment what a host shows. The database's record moves first, then its published
//! copy: object, cache, notice. Deploy, promote and roll back are all the same move.

use crate::app::App;
use crate::app::deadline::{AFTERMATH, COURTESY, DATABASE, OBJECT, within};
use crate::domain::deployment::{Deployment, State, Target};
use crate::domain::host::{HostRecord, Pointer};
use crate::domain::id::{DeploymentId, UserId};
use crate::domain::project::{Project, ProjectName};
use crate::domain::trace::TraceContext;
use crate::ports::blobs::{Body, Key, Object, Tag};
use crate::ports::error::{StoreError, StoreErrorKind};
use crate::ports::notices::Notice;
use bytes::Bytes;
use futures_util::StreamExt;
use rand::Rng;
use std::time::Duration;
use tracing::Instrument;

/// How often one call tries to be the last writer of a host that others move at the same time.
const ROUNDS: u32 = 20;
/// Hosts that are published at the same time.
const PUBLISHING_WIDTH: usize = 16;

#[derive(Clone, Debug, PartialEq)]
pub enum Move {
    /// Production shows this deployment now.
    Moved(Box<Deployment>),
    /// No such deployment or project of this account, or the two do not belong together.
    NotFound,
    /// The deployment named has not become ready.
    NotReady,
    /// Production shows nothing yet, or nothing ready came before what it shows.
    NothingEarlier,
}

/// What object storage has for a host.
#[derive(Debug, PartialEq)]
enum Stored {
    Nothing,
    /// Something that is no pointer of this host: it is written over.
    Unreadable(Tag),
    Pointer(Pointer, Tag),
}

impl Stored {
    fn read(record: &HostRecord, object: Option<Object>) -> Self {
        let Some(Object { bytes, tag }) = object else { return Self::Nothing };
        match serde_json::from_slice::<Pointer>(&bytes) {
            Ok(pointer) if pointer.host == record.host => Self::Pointer(pointer, tag),
            _ => Self::Unreadable(tag),
        }
    }

    /// The stored pointer, if `record` has nothing newer to say.
    fn not_older_than(&self, record: &HostRecord) -> Option<&Pointer> {
        match self {
            Self::Pointer(pointer, _) if pointer.version >= record.revision => Some(pointer),
            _ => None,
        }
    }

    fn tag(&self) -> Option<&Tag> {
        match self {
            Self::Nothing => None,
            Self::Unreadable(tag) | Self::Pointer(_, tag) => Some(tag),
        }
    }
}

impl App {
    /// Points production at a ready deployment.
    pub async fn promote(&self, account: UserId, id: DeploymentId) -> Result<Move, StoreError> {
        let Some(deployment) = self.database.find_deployment(account, id).await? else {
            return Ok(Move::NotFound);
        };
        match self.database.find_project(account, &deployment.project_name).await? {
            Some(project) if project.id == deployment.project => self.move_to(&project, deployment).await,
            _ => Ok(Move::NotFound),
        }
    }

    /// Points production at `to`, else at the last ready production deployment before the present.
    pub async fn rollback(
        &self,
        account: UserId,
        project: &ProjectName,
        to: Option<DeploymentId>,
    ) -> Result<Move, StoreError> {
        let Some(project) = self.database.find_project(account, project).await? else {
            return Ok(Move::NotFound);
        };
        if let Some(to) = to {
            return match self.database.find_deployment(account, to).await? {
                Some(deployment) if deployment.project == project.id => {
                    self.move_to(&project, deployment).await
                }
                _ => Ok(Move::NotFound),
            };
        }
        let shown = self.database.find_host(&project.host).await?.and_then(|record| record.deployment);
        let Some(shown) = shown else { return Ok(Move::NothingEarlier) };
        let Some(present) = self.database.find_deployment(account, shown).await? else {
            return Ok(Move::NothingEarlier);
        };
        match self.database.previous_ready(account, project.id, present.seq).await? {
            Some(earlier) => self.move_to(&project, earlier).await,
            None => Ok(Move::NothingEarlier),
        }
    }

    /// Points the hosts that are due to a deployment at it: its own, its branch's, and production
    /// if that is its target; publishes them. Its manifest must be stored. `false`: its row was
    /// taken by someone else. A host whose publishing fails is left to the sweeper. Their first visitor is told
    /// of as a part of `trace`.
    pub async fn go_live(
        &self,
        deployment: &Deployment,
        trace: Option<TraceContext>,
    ) -> Result<bool, StoreError> {
        let names = &self.policy.names;
        let (name, project) = (&deployment.project_name, deployment.project);
        let mut claims = vec![names.deployment(name, project, deployment.id)];
        if let Some(branch) = deployment.commit.as_ref().and_then(|commit| commit.branch.as_deref()) {
            claims.push(names.branch(name, project, branch));
        }
        if deployment.target == Target::Production {
            claims.push(names.production(name, project));
        }
        let assigned = within(DATABASE, "moving hosts", self.database.assign(deployment, &claims)).await?;
        let Some(records) = assigned else { return Ok(false) };
        self.publish_all(records, trace).await;
        Ok(true)
    }

    /// Brings a host's published copy up to its record, or to a newer one that it finds. Of any
    /// number of callers, in any order, the newest record is what stays. A copy that knows better than the
    /// record is of a database that was since put back to an earlier state: it is written over. Fails when
    /// storage or database cannot be reached or are too slow; cache and edges then hear of it later.
    pub async fn publish_host(&self, record: HostRecord) -> Result<(), StoreError> {
        self.publish(record, None).await
    }

    async fn publish(&self, mut record: HostRecord, trace: Option<TraceContext>) -> Result<(), StoreError> {
        let key = Key::host(&record.host);
        for round in 0..ROUNDS {
            if round > 0 {
                let pause = rand::rng().random_range(1..=10 * u64::from(round));
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            let reading = "reading a pointer";
            let stored = match within(OBJECT, reading, self.blobs.get(&key, Pointer::MAX_BYTES)).await {
                Ok(object) => Stored::read(&record, object),
                Err(error) if error.kind == StoreErrorKind::Corrupt => {
                    self.overwrite(&key, &record).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let newer = stored.not_older_than(&record);
            if newer.is_none() {
                let mut pointer = Pointer { trace, ..Pointer::from(&record) };
                if let Stored::Pointer(before, _) = &stored {
                    pointer = pointer.succeeding(before, self.clock.now(), self.policy.skew_protection);
                }
                pointer.published_at = Some(self.clock.now());
                if self.replace_pointer(&key, &pointer, stored.tag()).await? {
                    return self.spread(&record, pointer).await;
                }
            }
            // Somebody else was here. The record that he knew may be newer than the one that was
            // handed in, and the present one newer still.
            let finding = self.database.find_host(&record.host);
            let Some(present) = within(DATABASE, "finding a host", finding).await? else { return Ok(()) };
            record = present;
            let Some(pointer) = newer.filter(|pointer| pointer.version >= record.revision) else { continue };
            if pointer.is_of(&record) {
                return self.spread(&record, pointer.clone()).await;
            }
            // A record moves before its copy, and this one was read after the copy was: that can be as new at
            // most, and then say the same. So the database was restored. What it says counts, under a version
            // that caches and edges take for newer; a move that comes meanwhile keeps what it says.
            tracing::warn!(
                host = %record.host, revision = record.revision, stored = pointer.version,
                "the database is behind its storage, as after a restore: its record is lifted over the copy"
            );
            let lifting = self.database.lift_host(&record.host, pointer.version);
            let Some(lifted) = within(DATABASE, "lifting a host", lifting).await? else { return Ok(()) };
            record = lifted;
        }
        Err(StoreError::new(
            StoreErrorKind::Unavailable,
            format!("publishing {}", record.host),
            "it is moved faster than it can be published",
        ))
    }

    /// Publishes many; what fails is logged and left to the sweeper.
    pub(super) async fn publish_all(&self, records: Vec<HostRecord>, trace: Option<TraceContext>) {
        let each = |record: HostRecord| async move {
            let host = record.host.clone();
            if let Err(error) = self.publish(record, trace).await {
                tracing::warn!(%host, %error, "a host is not published yet: the sweeper will try again");
            }
        };
        futures_util::stream::iter(records).for_each_concurrent(PUBLISHING_WIDTH, each).await;
    }

    async fn move_to(&self, project: &Project, deployment: Deployment) -> Result<Move, StoreError> {
        if !matches!(deployment.state, State::Ready { .. }) {
            return Ok(Move::NotReady);
        }
        let Some(record) = self.database.point(&project.host, &deployment).await? else {
            return Ok(Move::NotFound);
        };
        tracing::info!(deployment = %deployment.id, host = %record.host, "production moved by hand");
        // The move is made, for good, by its record: a copy that lags is mended without the caller.
        let app = self.clone();
        let publishing = async move { app.publish_all(vec![record], None).await };
        if let Ok(Err(panicked)) =
            tokio::time::timeout(AFTERMATH, tokio::spawn(publishing.in_current_span())).await
        {
            tracing::error!(error = %panicked, "publishing a moved host broke off");
        }
        Ok(Move::Moved(Box::new(deployment)))
    }

    async fn replace_pointer(
        &self,
        key: &Key,
        pointer: &Pointer,
        expected: Option<&Tag>,
    ) -> Result<bool, StoreError> {
        let bytes = encode(pointer)?;
        within(OBJECT, "writing a pointer", self.blobs.replace(key, bytes, expected)).await
    }

    /// Writes over an object that cannot even be read, so that it can be replaced the ordinary way.
    async fn overwrite(&self, key: &Key, record: &HostRecord) -> Result<(), StoreError> {
        tracing::warn!(host = %record.host, "its published pointer is unreadable: it is written anew");
        let bytes = encode(&Pointer::from(record))?;
        within(OBJECT, "writing a pointer", self.blobs.put(key, Body::Bytes(bytes))).await
    }

    /// Tells caches, edges and the database what storage has. The first two have a net below
    /// them; without the third the sweeper does all this again.
    async fn spread(&self, record: &HostRecord, pointer: Pointer) -> Result<(), StoreError> {
        let version = pointer.version;
        let lifetime = self.policy.pointer_lifetime;
        let notice = Notice::HostMoved { pointer: pointer.clone() };
        let (cached, told) = tokio::join!(
            within(COURTESY, "caching a pointer", self.cache.put_pointer(&pointer, lifetime)),
            within(COURTESY, "telling of a moved host", self.notices.publish(&notice)),
        );
        for error in [cached.err(), told.err()].into_iter().flatten() {
            tracing::warn!(host = %record.host, %error, "edges learn of a moved host only with time");
        }
        metrics::counter!("gv_hosts_published_total").increment(1);
        let marking = self.database.mark_published(&record.host, version);
        within(DATABASE, "marking a host as published", marking).await
    }
}

fn encode(pointer: &Pointer) -> Result<Bytes, StoreError> {
    let json = serde_json::to_vec(pointer);
    json.map(Bytes::from)
        .map_err(|error| StoreError::new(StoreErrorKind::Internal, "encoding a pointer", error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::host::{HostKind, Hostname};

    fn record(revision: i64) -> HostRecord {
        HostRecord {
            host: Hostname::parse("blog.example.com").unwrap(),
            kind: HostKind::Production,
            project: None,
            account: None,
            deployment: None,
            revision,
            as_of: 0,
            published: 0,
        }
    }

    fn stored(bytes: impl Into<Bytes>) -> Stored {
        Stored::read(&record(2), Some(Object { bytes: bytes.into(), tag: Tag("t".into()) }))
    }

    #[test]
    fn a_stored_pointer_gives_way_to_a_newer_record_only() {
        let pointer = stored(encode(&Pointer::from(&record(2))).unwrap());
        assert!(pointer.not_older_than(&record(1)).is_some());
        assert!(pointer.not_older_than(&record(2)).is_some());
        assert!(pointer.not_older_than(&record(3)).is_none());
        assert_eq!(pointer.tag(), Some(&Tag("t".into())));
    }

    #[test]
    fn what_is_no_pointer_of_this_host_is_written_over() {
        let mut other = record(9);
        other.host = Hostname::parse("other.example.com").unwrap();
        for bytes in [Bytes::from_static(b"{"), encode(&Pointer::from(&other)).unwrap()] {
            let stored = stored(bytes);
            assert!(stored.not_older_than(&record(1)).is_none());
            assert_eq!(stored.tag(), Some(&Tag("t".into())), "and nothing that came between is");
        }
        assert_eq!(Stored::read(&record(1), None).tag(), None);
    }
}
