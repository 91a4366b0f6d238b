//! Which values a deployment's log must not show. The one place that says so.

use crate::domain::deployment::Deployment;
use crate::domain::settings::Variables;
use crate::domain::variable::ProjectVariable;
use url::Url;

/// Of the request: its token, and the value of every variable that came with it.
pub(super) fn of_request(deployment: &Deployment) -> Vec<String> {
    let token = deployment.source.git_token.as_ref().map(|token| token.expose().to_owned());
    let values = deployment.env.iter().map(|(_, value)| value.to_owned());
    values.chain(token).collect()
}

/// Of the project: its secret variables.
pub fn of_project(variables: &[ProjectVariable]) -> Vec<String> {
    let secret = variables.iter().filter(|variable| variable.secret);
    secret.map(|variable| variable.value.expose().to_owned()).collect()
}

/// Of the operator: what is named like a secret, and what names somebody in a URL. The rest, such as a
/// mirror's address, is for people to read.
pub fn of_operator(variables: &Variables) -> Vec<String> {
    const WORDS: [&str; 9] =
        ["TOKEN", "SECRET", "PASS", "KEY", "AUTH", "CREDENTIAL", "PRIVATE", "DSN", "COOKIE"];
    let mut found = Vec::new();
    for (name, value) in variables.iter() {
        let name = name.to_ascii_uppercase();
        if WORDS.iter().any(|word| name.contains(word)) {
            found.push(value.to_owned());
        }
        found.extend(credentials(value));
    }
    found
}

/// User and password of a URL, apart and together, as they stand and as they mean.
fn credentials(value: &str) -> Vec<String> {
    let Ok(url) = Url::parse(value) else { return Vec::new() };
    if url.username().is_empty() && url.password().is_none() {
        return Vec::new();
    }
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let user = url.username();
    match url.password() {
        Some(password) => vec![
            password.to_owned(),
            decoded(password),
            format!("{user}:{password}"),
            format!("{}:{}", decoded(user), decoded(password)),
        ],
        None => vec![user.to_owned(), decoded(user)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn of_the_operators_variables_credentials_are_secret_and_addresses_are_not() {
        let variables = BTreeMap::from([
            ("npm_config_registry".to_owned(), "https://ci:hun%2Fter22@mirror.example.com/".to_owned()),
            ("NPM_TOKEN".to_owned(), "npm_abcdef".to_owned()),
            ("HTTP_PROXY".to_owned(), "http://proxy.example.com:3128".to_owned()),
        ]);
        let found = of_operator(&Variables::parse(variables).unwrap());
        for secret in ["npm_abcdef", "hun%2Fter22", "hun/ter22", "ci:hun/ter22"] {
            assert!(found.iter().any(|value| value == secret), "{secret}");
        }
        assert!(!found.iter().any(|value| value.contains("example.com")));
    }
}
