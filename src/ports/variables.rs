//! Keeps the variables of projects, sealed. Every query takes the owner: there is none without.

use crate::domain::deployment::Target;
use crate::domain::id::{ProjectId, UserId};
use crate::domain::sealing::SealError;
use crate::domain::variable::{ProjectVariable, VariableName};
use crate::ports::error::StoreError;
use async_trait::async_trait;

#[async_trait]
pub trait ProjectVariables: Send + Sync {
    /// Sets a variable for its targets, over what these had; its value for another target stays. Refuses
    /// what would be too many or too much (`Variables::MAX_COUNT` names, `Variables::MAX_BYTES` for one
    /// target).
    async fn put_variable(
        &self,
        account: UserId,
        project: ProjectId,
        variable: &ProjectVariable,
    ) -> Result<PutVariable, StoreError>;

    /// Removes a variable from one target, or from all. `false`: there was none.
    async fn delete_variable(
        &self,
        account: UserId,
        project: ProjectId,
        name: &VariableName,
        target: Option<Target>,
    ) -> Result<bool, StoreError>;

    /// By name, then by target; targets that were set together are one variable. With `target`, that
    /// target's alone.
    async fn list_variables(
        &self,
        account: UserId,
        project: ProjectId,
        target: Option<Target>,
    ) -> Result<Vec<ProjectVariable>, StoreError>;

    /// Seals anew, by the first key, up to `limit` of what others of the keys sealed, of every account, and
    /// what was stored before there was sealing. To be called until nothing is left; in between and beside
    /// it everything goes on.
    async fn reseal(&self, limit: u32) -> Result<Resealed, StoreError>;

    /// Tries the keys out on what is sealed: on something that none of them has sealed, where there is such a
    /// thing among all variables and the newest deployments, else on any of these.
    async fn try_keys(&self) -> Result<KeyTrial, StoreError>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutVariable {
    Stored,
    /// The project is gone.
    NotFound,
    TooMany,
    TooLarge,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyTrial {
    /// Nothing is sealed yet.
    Nothing,
    Opens,
    /// Something does not open: why.
    Refused(SealError),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    pub variables: u64,
    pub deployments: u64,
}

impl Resealed {
    pub fn total(self) -> u64 {
        self.variables + self.deployments
    }
}
