//! The keys that requests are signed with: the configuration's, else those of the usual `AWS_*`
//! variables. Start with [`Credentials::choose`].

use crate::adapters::blobs::s3::INVALID;
use crate::domain::secret::Secret;
use crate::ports::error::StoreError;

#[derive(Clone, Debug)]
pub(super) struct Credentials {
    pub access_key: Secret,
    pub secret_key: Secret,
    /// Of keys that are lent for a while.
    pub session_token: Option<Secret>,
}

impl Credentials {
    /// A pair comes from one place: never one key from here and the other from there.
    pub(super) fn choose(
        access_key: Option<&Secret>,
        secret_key: Option<&Secret>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, StoreError> {
        let there = |key: Option<&Secret>| key.filter(|key| !key.is_empty()).cloned();
        let variable = |name: &str| environment(name).filter(|text| !text.is_empty()).map(Secret::new);
        match (there(access_key), there(secret_key)) {
            (Some(access_key), Some(secret_key)) => {
                return Ok(Self { access_key, secret_key, session_token: None });
            }
            (Some(_), None) => return Err(missing("blobs.secret_key is missing beside blobs.access_key")),
            (None, Some(_)) => return Err(missing("blobs.access_key is missing beside blobs.secret_key")),
            (None, None) => {}
        }
        match (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
            (Some(access_key), Some(secret_key)) => {
                Ok(Self { access_key, secret_key, session_token: variable("AWS_SESSION_TOKEN") })
            }
            (Some(_), None) => Err(missing("AWS_SECRET_ACCESS_KEY is missing beside AWS_ACCESS_KEY_ID")),
            (None, Some(_)) => Err(missing("AWS_ACCESS_KEY_ID is missing beside AWS_SECRET_ACCESS_KEY")),
            (None, None) => Err(missing(
                "there are no keys for it: set blobs.access_key and blobs.secret_key, or AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY",
            )),
        }
    }
}

fn missing(what: &str) -> StoreError {
    StoreError::new(INVALID, "choosing the keys of the S3 storage", what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(given: [&str; 2], environment: &[(&str, &str)]) -> Result<Credentials, String> {
        let [access, secret] = given.map(|key| (!key.is_empty()).then(|| Secret::new(key)));
        let variable = |name: &str| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Credentials::choose(access.as_ref(), secret.as_ref(), variable).map_err(|error| error.to_string())
    }

    #[test]
    fn the_configuration_goes_before_the_environment_and_pairs_are_not_mixed() {
        let environment =
            [("AWS_ACCESS_KEY_ID", "b"), ("AWS_SECRET_ACCESS_KEY", "bb"), ("AWS_SESSION_TOKEN", "bbb")];
        let own = choose(["a", "aa"], &environment).unwrap();
        assert_eq!((own.access_key.expose(), own.secret_key.expose()), ("a", "aa"));
        assert!(own.session_token.is_none());
        let lent = choose(["", ""], &environment).unwrap();
        assert_eq!(lent.session_token.unwrap().expose(), "bbb");
        assert!(choose(["a", ""], &environment).unwrap_err().contains("blobs.secret_key"));
        assert!(choose(["", ""], &environment[1..]).unwrap_err().contains("AWS_ACCESS_KEY_ID"));
        assert!(choose(["", ""], &[]).unwrap_err().contains("blobs.access_key"));
    }

    #[test]
    fn keys_are_never_printed() {
        let shown = format!("{:?}", choose(["hush-a", "hush-b"], &[]).unwrap());
        assert!(!shown.contains("hush"), "{shown}");
    }
}
