//! Certificates by ACME (RFC 8555): Let's Encrypt and every other authority that speaks it.
//!
//! The protocol is instant-acme's; requests go over gv's own HTTP client ([`transport`]), each within its
//! bounds. Start with [`AcmeAuthority::connect`].

mod transport;

use crate::domain::secret::Secret;
use crate::ports::authority::{CertificateAuthority, Issued, OrderError, OrderErrorKind, Proof, Proofs, Way};
use anyhow::Context as _;
use async_trait::async_trait;
use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, ExternalAccountKey, Identifier, NewAccount, NewOrder,
    Order, OrderStatus, Problem, RetryPolicy,
};
use std::path::PathBuf;
use std::time::Duration;
use transport::Transport;

/// How long an authority may take to look at the proofs, and to make the certificate.
const VALIDATION: Duration = Duration::from_secs(60);
const ISSUANCE: Duration = Duration::from_secs(60);
const LOOK_FIRST: Duration = Duration::from_millis(250);
/// RFC 8555, 6.7.
const ERRORS: &str = "urn:ietf:params:acme:error:";

/// Who is asked, and by whom.
#[derive(Clone, Debug)]
pub struct AcmeSettings {
    /// The URL of the authority's directory.
    pub directory: String,
    /// Whom the authority may write to.
    pub email: Option<String>,
    /// PEM: whom to trust for the directory's own TLS, where that is not public.
    pub root_ca: Option<PathBuf>,
    /// Where the authority gives accounts to customers of its own alone (RFC 8555, 7.3.4): the key's
    /// name and the key.
    pub external_account: Option<(String, Secret)>,
}

pub struct AcmeAuthority {
    settings: AcmeSettings,
    transport: Transport,
    external_account: Option<ExternalAccountKey>,
}

impl AcmeAuthority {
    /// Reads what the settings name, and asks nobody.
    pub fn connect(settings: AcmeSettings) -> anyhow::Result<Self> {
        let transport = Transport::new(settings.root_ca.as_deref())?;
        let external_account = settings.external_account.as_ref().map(|(name, key)| {
            let key = transport::unpadded(key.expose()).context("acme.eab_key: is not base64url")?;
            anyhow::Ok(ExternalAccountKey::new(name.clone(), &key))
        });
        Ok(Self { external_account: external_account.transpose()?, settings, transport })
    }

    async fn account(&self, account: &Secret) -> Result<Account, OrderError> {
        let credentials = serde_json::from_str(account.expose()).map_err(|_| OrderError {
            kind: OrderErrorKind::NoAccount,
            message: "what is kept of the account cannot be read".to_owned(),
            retry_after: None,
        })?;
        let builder = Account::builder_with_http(Box::new(self.transport.clone()));
        builder
            .from_credentials(credentials)
            .await
            .map_err(|error| self.failed("asking for the directory", &error))
    }

    fn failed(&self, doing: &str, error: &Error) -> OrderError {
        let kind = match error {
            Error::Api(problem) => kind_of(problem),
            _ => OrderErrorKind::Unavailable,
        };
        let message = format!("{doing}: {}", chain(error));
        OrderError { kind, message, retry_after: self.transport.retry_after() }
    }

    async fn complete(
        &self,
        order: &mut Order,
        way: Way,
        proofs: &dyn Proofs,
        shown: &mut Vec<Proof>,
    ) -> Result<Issued, OrderError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization =
                authorization.map_err(|error| self.failed("asking what is to be proved", &error))?;
            match authorization.status {
                AuthorizationStatus::Pending => {}
                AuthorizationStatus::Valid => continue,
                other => return Err(refused(format!("an authorization is {other:?} from the beginning"))),
            }
            let name = name_of(authorization.identifier().identifier);
            let Some(mut challenge) = authorization.challenge(challenge_type(way)) else {
                return Err(refused(format!("{name} cannot be proved by {}", way.name())));
            };
            let key_authorization = challenge.key_authorization().as_str().to_owned();
            let proof = Proof { way, name, token: challenge.token.clone(), key_authorization };
            // Before anything can fail: a part of it may be to be hidden.
            shown.push(proof.clone());
            proofs.show(&proof).await.map_err(|why| OrderError {
                kind: OrderErrorKind::Unavailable,
                message: format!("proving {} by {}: {why}", proof.name, way.name()),
                retry_after: None,
            })?;
            challenge
                .set_ready()
                .await
                .map_err(|error| self.failed("saying that a proof is there", &error))?;
        }
        self.finish(order).await
    }

    async fn finish(&self, order: &mut Order) -> Result<Issued, OrderError> {
        let polling = |timeout| RetryPolicy::new().initial_delay(LOOK_FIRST).backoff(1.5).timeout(timeout);
        match order.poll_ready(&polling(VALIDATION)).await {
            Ok(OrderStatus::Ready | OrderStatus::Valid) => {}
            Ok(_) => return Err(refused(why_invalid(order).await)),
            Err(error) => return Err(self.failed("waiting for its validation", &error)),
        }
        let key =
            order.finalize().await.map_err(|error| self.failed("asking for the certificate", &error))?;
        let chain = order.poll_certificate(&polling(ISSUANCE)).await;
        let chain = chain.map_err(|error| self.failed("waiting for the certificate", &error))?;
        Ok(Issued { chain, key: Secret::new(key) })
    }
}

#[async_trait]
impl CertificateAuthority for AcmeAuthority {
    fn directory(&self) -> &str {
        &self.settings.directory
    }

    async fn register(&self) -> Result<Secret, OrderError> {
        let contact = self.settings.email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let account =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let builder = Account::builder_with_http(Box::new(self.transport.clone()));
        let made =
            builder.create(&account, self.settings.directory.clone(), self.external_account.as_ref()).await;
        let (_, credentials) = made.map_err(|error| self.failed("making an account", &error))?;
        serde_json::to_string(&credentials)
            .map(Secret::new)
            .map_err(|error| self.failed("keeping an account", &Error::Json(error)))
    }

    async fn order(
        &self,
        account: &Secret,
        names: &[String],
        way: Way,
        proofs: &dyn Proofs,
    ) -> Result<Issued, OrderError> {
        let account = self.account(account).await?;
        let identifiers: Vec<Identifier> = names.iter().map(|name| Identifier::Dns(name.clone())).collect();
        let order = account.new_order(&NewOrder::new(&identifiers)).await;
        let mut order = order.map_err(|error| self.failed("ordering", &error))?;
        let mut shown = Vec::new();
        let completed = self.complete(&mut order, way, proofs, &mut shown).await;
        for proof in &shown {
            proofs.hide(proof).await;
        }
        completed
    }
}

fn challenge_type(way: Way) -> ChallengeType {
    match way {
        Way::Http => ChallengeType::Http01,
        Way::TlsAlpn => ChallengeType::TlsAlpn01,
        Way::Dns => ChallengeType::Dns01,
    }
}

fn name_of(identifier: &Identifier) -> String {
    match identifier {
        Identifier::Dns(name) => name.clone(),
        other => other.authorized(false).to_string(),
    }
}

fn refused(message: String) -> OrderError {
    OrderError { kind: OrderErrorKind::Refused, message, retry_after: None }
}

fn kind_of(problem: &Problem) -> OrderErrorKind {
    let word = problem.r#type.as_deref().and_then(|kind| kind.strip_prefix(ERRORS));
    match (word, problem.status) {
        (Some("rateLimited"), _) | (_, Some(429)) => OrderErrorKind::RateLimited,
        (Some("accountDoesNotExist"), _) => OrderErrorKind::NoAccount,
        (Some("serverInternal" | "badNonce"), _) | (_, Some(500..)) => OrderErrorKind::Unavailable,
        _ => OrderErrorKind::Refused,
    }
}

/// What the authority saw when it looked for the proofs.
async fn why_invalid(order: &mut Order) -> String {
    let mut reasons = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        let name = name_of(state.identifier().identifier);
        let problems = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        reasons.extend(problems.map(|problem| format!("{name}: {problem}")));
    }
    match reasons.is_empty() {
        true => "the authority does not say why".to_owned(),
        false => reasons.join("; "),
    }
}

/// An error and what lies behind it.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(behind) = cause {
        let said = behind.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = behind.source();
    }
    text
}
