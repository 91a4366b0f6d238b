//! Where a bucket is: `s3://BUCKET[/PREFIX]?endpoint=URL&region=R&path_style=true`, parsed.
//!
//! What the URL leaves out: without `endpoint` it is Amazon's in that region, reached by virtual
//! hosts; an endpoint that is named is addressed in path style, which every S3 server understands.
//! `path_style` says otherwise. Start with [`Address::parse`].

use crate::adapters::blobs::s3::INVALID;
use crate::ports::error::StoreError;
use s3::region::Region;
use std::borrow::Cow;
use url::{Host, Url};

#[derive(Debug)]
pub(super) struct Address {
    pub bucket: String,
    /// The bucket itself; its path ends with `/`, and the names of objects go behind it.
    pub base: Url,
    /// What all names begin with: nothing, or something that ends with `/`.
    pub prefix: String,
    /// For signatures.
    pub region: Region,
}

impl Address {
    /// `environment` gives `AWS_REGION` and `AWS_DEFAULT_REGION`. Errors say what to change, and
    /// show nothing of the URL that may be secret.
    pub(super) fn parse(url: &str, environment: impl Fn(&str) -> Option<String>) -> Result<Self, StoreError> {
        let url = Url::parse(url).map_err(|error| invalid(format!("is no URL: {error}")))?;
        if url.scheme() != "s3" {
            return Err(invalid("must begin with s3://"));
        }
        if !url.username().is_empty() || url.password().is_some() || url.port().is_some() {
            return Err(invalid(
                "must be s3://BUCKET and so on: keys go into blobs.access_key and blobs.secret_key, a host and \
                 port into endpoint=",
            ));
        }
        let bucket = bucket(&url)?;
        let prefix = prefix(&url)?;
        let Parameters { endpoint, region, path_style } = Parameters::read(&url)?;
        let region =
            region.or_else(|| environment("AWS_REGION")).or_else(|| environment("AWS_DEFAULT_REGION"));
        let region = match (region, &endpoint) {
            (Some(region), _) if is_region(&region) => region,
            (Some(_), _) => return Err(invalid("region= must be a name such as eu-central-1")),
            // Servers of one's own mostly take any; this is what they call theirs.
            (None, Some(_)) => "us-east-1".to_owned(),
            (None, None) => {
                return Err(invalid("region is missing: add ?region=eu-central-1, or where it is"));
            }
        };
        let path_style = path_style.unwrap_or(endpoint.is_some());
        let endpoint = endpoint.map_or_else(|| amazon(&region), Ok)?;
        let base = base(&endpoint, &bucket, path_style)?;
        Ok(Self { bucket, base, prefix, region: Region::Custom { region, endpoint: endpoint.into() } })
    }

    /// The bucket, or an object in it by its name without the prefix.
    pub(super) fn url(&self, name: Option<&str>, query: &[(&str, Cow<'_, str>)]) -> Url {
        let mut url = self.base.clone();
        if let Some(name) = name {
            url.set_path(&format!("{}{}{name}", self.base.path(), self.prefix));
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }
}

#[derive(Default)]
struct Parameters {
    endpoint: Option<Url>,
    region: Option<String>,
    path_style: Option<bool>,
}

impl Parameters {
    fn read(url: &Url) -> Result<Self, StoreError> {
        let mut read = Self::default();
        for (name, value) in url.query_pairs() {
            let twice = match &*name {
                "endpoint" => read.endpoint.replace(endpoint(&value)?).is_some(),
                "region" => read.region.replace(value.into_owned()).is_some(),
                "path_style" => {
                    let parsed = value.parse().map_err(|_| invalid("path_style= must be true or false"))?;
                    read.path_style.replace(parsed).is_some()
                }
                other => {
                    return Err(invalid(format!(
                        "has an unknown parameter {other:?}: there are endpoint, region and path_style"
                    )));
                }
            };
            if twice {
                return Err(invalid(format!("has {name}= twice")));
            }
        }
        Ok(read)
    }
}

/// By Amazon's rules for names, which the others follow too.
fn bucket(url: &Url) -> Result<String, StoreError> {
    let name = url.host_str().unwrap_or_default();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if (3..=63).contains(&name.len())
        && name.chars().all(fits)
        && name.starts_with(ends)
        && name.ends_with(ends)
    {
        return Ok(name.to_owned());
    }
    Err(invalid("must name a bucket: 3 to 63 of a-z, 0-9, - and ., as in s3://my-sites"))
}

/// Segments of the same form as those of keys.
fn prefix(url: &Url) -> Result<String, StoreError> {
    let path = url.path().trim_matches('/');
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if path.is_empty() {
        return Ok(String::new());
    }
    if path.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && part.chars().all(fits)) {
        return Ok(format!("{path}/"));
    }
    Err(invalid("has a prefix that is not made of A-Z, a-z, 0-9, ., _ and - between single /"))
}

fn endpoint(text: &str) -> Result<Url, StoreError> {
    let wrong = || invalid("endpoint= must be a URL such as https://s3.example.com");
    let url = Url::parse(text).map_err(|_| wrong())?;
    let is_plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !is_plain {
        return Err(wrong());
    }
    Ok(url)
}

fn amazon(region: &str) -> Result<Url, StoreError> {
    let tld = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    endpoint(&format!("https://s3.{region}.{tld}"))
}

fn is_region(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn base(endpoint: &Url, bucket: &str, path_style: bool) -> Result<Url, StoreError> {
    let mut base = endpoint.clone();
    let path = endpoint.path().trim_end_matches('/');
    if path_style {
        base.set_path(&format!("{path}/{bucket}/"));
        return Ok(base);
    }
    let Some(Host::Domain(host)) = endpoint.host() else {
        return Err(invalid("path_style=false needs an endpoint with a name instead of an address"));
    };
    if bucket.contains('.') && endpoint.scheme() == "https" {
        return Err(invalid(
            "has a dot in its bucket's name, which no certificate covers: add path_style=true",
        ));
    }
    base.set_host(Some(&format!("{bucket}.{host}"))).map_err(|error| invalid(error.to_string()))?;
    base.set_path(&format!("{path}/"));
    Ok(base)
}

fn invalid(what: impl Into<String>) -> StoreError {
    StoreError::new(INVALID, "reading the S3 URL", format!("it {}", what.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, String> {
        Address::parse(url, |_| None).map_err(|error| error.to_string())
    }

    fn object(url: &str) -> String {
        parse(url).unwrap().url(Some("hosts/a.test"), &[]).into()
    }

    #[test]
    fn objects_are_found_in_path_style_and_by_virtual_hosts() {
        let cases = [
            ("s3://site?region=eu-central-1", "https://site.s3.eu-central-1.amazonaws.com/hosts/a.test"),
            (
                "s3://site/gv/a/?region=cn-north-1&path_style=true",
                "https://s3.cn-north-1.amazonaws.com.cn/site/gv/a/hosts/a.test",
            ),
            ("s3://site?endpoint=http://127.0.0.1:8333", "http://127.0.0.1:8333/site/hosts/a.test"),
            (
                "s3://site/x?endpoint=https://s3.example.com:8443/under&path_style=false",
                "https://site.s3.example.com:8443/under/x/hosts/a.test",
            ),
            (
                "s3://a.b?endpoint=https://s3.example.com&region=auto",
                "https://s3.example.com/a.b/hosts/a.test",
            ),
        ];
        for (url, expected) in cases {
            assert_eq!(object(url), expected, "{url}");
        }
    }

    #[test]
    fn the_region_may_come_from_the_environment() {
        let address = Address::parse("s3://site", |name| (name == "AWS_REGION").then(|| "eu-west-1".into()));
        assert_eq!(address.unwrap().base.as_str(), "https://site.s3.eu-west-1.amazonaws.com/");
        assert!(parse("s3://site").unwrap_err().contains("add ?region="));
    }

    #[test]
    fn a_wrong_url_is_refused_with_words_and_without_its_secrets() {
        let cases = [
            ("http://site", "s3://"),
            ("s3://", "bucket"),
            ("s3://UP_per?region=a", "bucket"),
            ("s3://key:hush@site?region=a", "blobs.secret_key"),
            ("s3://site:80?region=a", "endpoint="),
            ("s3://site?region=a&secret_key=hush", "secret_key"),
            ("s3://site?region=a&region=b", "twice"),
            ("s3://site?region=a/b", "region="),
            ("s3://site?region=a&path_style=yes", "true or false"),
            ("s3://site?endpoint=s3.example.com", "https://s3.example.com"),
            ("s3://site?endpoint=http://u:hush@s3.example.com", "https://s3.example.com"),
            ("s3://site?endpoint=http://127.0.0.1&path_style=false", "path_style"),
            ("s3://a.b?region=eu-west-1", "path_style=true"),
            ("s3://site/a//b?region=a", "prefix"),
            ("s3://site/.a?region=a", "prefix"),
            ("s3://site/a%2fb?region=a", "prefix"),
        ];
        for (url, word) in cases {
            let said = parse(url).unwrap_err();
            assert!(said.contains(word) && !said.contains("hush"), "{url}: {said}");
        }
    }
}
