//! Variables and tokens as they lie in a row: sealed. What an older gv stored in plain text is read as it
//! is, and sealed with the next write.

use crate::adapters::database::fault::Fault;
use crate::adapters::database::rows::{from_json, json};
use crate::domain::deployment::Deployment;
use crate::domain::id::{DeploymentId, UserId};
use crate::domain::sealing::{Place, SealError, SecretKeys, is_sealed};
use crate::domain::secret::Secret;
use crate::domain::settings::Variables;

/// The parts of a deployment's row, as they are bound to it.
pub(super) const ENV: &str = "env";
pub(super) const TOKEN: &str = "git_token";

/// Whose row it is.
type Owner = (UserId, DeploymentId);

impl From<SealError> for Fault {
    fn from(error: SealError) -> Self {
        match error {
            // Of this process, not of the row.
            SealError::NoKey | SealError::UnknownKey(_) => Self::locked(error),
            SealError::Invalid => Self::corrupt(error),
        }
    }
}

pub(super) fn seal(text: &str, place: &Place, keys: &SecretKeys) -> Result<String, Fault> {
    Ok(keys.seal(text, place, &mut rand::rng())?)
}

/// No variable is no secret.
pub(super) fn env(deployment: &Deployment, keys: &SecretKeys) -> Result<String, Fault> {
    let plain = json(&deployment.env)?;
    if deployment.env.is_empty() {
        return Ok(plain);
    }
    seal(&plain, &Place::deployment(deployment.account, deployment.id, ENV), keys)
}

pub(super) fn opened_env(owner: Owner, text: &str, keys: &SecretKeys) -> Result<Variables, Fault> {
    // JSON of an object begins with a brace, a sealed text never.
    if !is_sealed(text) {
        return from_json("deployments.env", text);
    }
    let opened = keys.open(text, &Place::deployment(owner.0, owner.1, ENV))?;
    from_json("deployments.env", opened.expose())
}

pub(super) fn token(deployment: &Deployment, token: &Secret, keys: &SecretKeys) -> Result<String, Fault> {
    seal(token.expose(), &Place::deployment(deployment.account, deployment.id, TOKEN), keys)
}

pub(super) fn opened_token(owner: Owner, text: &str, keys: &SecretKeys) -> Result<Secret, Fault> {
    if !is_sealed(text) {
        return Ok(Secret::new(text));
    }
    Ok(keys.open(text, &Place::deployment(owner.0, owner.1, TOKEN))?)
}
