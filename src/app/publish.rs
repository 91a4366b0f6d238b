//! Making a deployment what a host shows. The database's record moves first, then its published
//! copy: object, cache, notice. Deploy, promote and roll back are all the same move.

use crate::app::App;
use crate::domain::deployment::Deployment;
use crate::domain::host::HostRecord;
use crate::domain::id::{DeploymentId, UserId};
use crate::domain::project::ProjectName;
use crate::ports::error::StoreError;

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

impl App {
    /// Points production at a ready deployment.
    pub async fn promote(&self, account: UserId, id: DeploymentId) -> Result<Move, StoreError> {
        unimplemented!("{account} {id}")
    }

    /// Points production at `to`, else at the last ready production deployment before the present.
    pub async fn rollback(
        &self,
        account: UserId,
        project: &ProjectName,
        to: Option<DeploymentId>,
    ) -> Result<Move, StoreError> {
        unimplemented!("{account} {project} {to:?}")
    }

    /// Points the hosts that are due to a deployment at it: its own, its branch's, and production
    /// if that is its target; publishes them. Its manifest must be stored. `false`: its row was
    /// taken by someone else. A host whose publishing fails is left to the sweeper.
    pub async fn go_live(&self, deployment: &Deployment) -> Result<bool, StoreError> {
        unimplemented!("{deployment:?}")
    }

    /// Brings a host's published copy up to its record, or to a newer one that it finds.
    pub async fn publish_host(&self, record: HostRecord) -> Result<(), StoreError> {
        unimplemented!("{record:?}")
    }
}
