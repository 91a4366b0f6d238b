//! From settings to a [`Config`]: each value parsed into its type, all problems gathered.

use super::layers::{Outside, Problem, Settings, gather};
use super::reader::{A_DAY_S, A_TEBIBYTE_MB, Reader};
use super::{
    Auth, Blobs, Cache, Config, Database, Limits, Log, LogFormat, Ops, Queue, Registration, Secrets, Source,
    acme, api, edge, telemetry, worker,
};
use crate::domain::host::Hostname;
use crate::domain::secret::Secret;
use std::path::PathBuf;

/// The configuration in force, and what it was made of.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub settings: Settings,
}

/// Reads and checks everything. All problems are reported, not only the first.
pub fn load(outside: &Outside) -> Result<Loaded, Vec<Problem>> {
    let (settings, problems) = gather(outside);
    let mut reader = Reader::new(&settings, problems);
    let config = read(&mut reader);
    let problems = reader.problems();
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded { config, settings }),
        _ => Err(problems),
    }
}

fn read(from: &mut Reader) -> Option<Config> {
    let domain = from.parsed::<Hostname>("domain", "a hostname such as example.com or localhost");
    let data_dir = data_dir(from)?;
    let listen = from.text("ops.listen").to_owned();
    let api = api::read(from, domain.as_ref());
    let edge = edge::read(from);
    let acme = acme::read(from);
    let ops_listen = (!listen.is_empty()).then(|| from.parsed("ops.listen", "an address or empty"));
    let registration =
        from.word("auth.registration", &[("open", Registration::Open), ("closed", Registration::Closed)]);
    let formats = [("auto", LogFormat::Auto), ("json", LogFormat::Json), ("text", LogFormat::Text)];
    let format = from.word("log.format", &formats);
    let config = Config {
        database: Database {
            url: Secret::new(from.url(
                "database.url",
                format!("sqlite:{}", data_dir.join("gv.db").display()),
                &["sqlite:", "postgres://", "postgresql://"],
            )),
        },
        queue: Queue {
            url: Secret::new(from.url("queue.url", String::new(), &["memory:", "amqp://", "amqps://"])),
        },
        cache: Cache {
            url: Secret::new(from.url("cache.url", String::new(), &["memory:", "redis://", "rediss://"])),
            memory_mb: from.number("cache.memory_mb", 1..=A_TEBIBYTE_MB),
        },
        blobs: Blobs {
            url: from.url(
                "blobs.url",
                format!("file:{}", data_dir.join("blobs").display()),
                &["file:", "s3://"],
            ),
            access_key: from.optional_secret("blobs.access_key"),
            secret_key: from.optional_secret("blobs.secret_key"),
        },
        ops: Ops { listen: ops_listen.flatten(), withdraw_s: from.number("ops.withdraw_s", 0..=600) },
        worker: worker::read(from, &data_dir),
        limits: Limits {
            output_files: from.number("limits.output_files", 1..=10_000_000),
            output_mb: from.number("limits.output_mb", 1..=A_TEBIBYTE_MB),
            file_mb: from.number("limits.file_mb", 1..=A_TEBIBYTE_MB),
            log_mb: from.number("limits.log_mb", 1..=1_024),
            build_memory_mb: from.number("limits.build_memory_mb", 64..=A_TEBIBYTE_MB),
            build_processes: from.number("limits.build_processes", 16..=1_000_000),
            build_cpu_s: from.number("limits.build_cpu_s", 1..=100 * A_DAY_S),
            workspace_mb: from.number("limits.workspace_mb", 16..=A_TEBIBYTE_MB),
            workspace_files: from.number("limits.workspace_files", 100..=100_000_000),
            account_builds: from.number("limits.account_builds", 1..=100_000),
            account_queued: from.number("limits.account_queued", 1..=1_000_000),
        },
        source: Source {
            allow: from.allowed_hosts("source.allow"),
            max_mb: from.number("source.max_mb", 1..=A_TEBIBYTE_MB),
            max_files: from.number("source.max_files", 1..=10_000_000),
            timeout_s: from.number("source.timeout_s", 1..=A_DAY_S),
        },
        auth: Auth {
            registration: registration.unwrap_or(Registration::Closed),
            signing_keys: from.list("auth.signing_keys").into_iter().map(Secret::new).collect(),
            access_token_s: from.number("auth.access_token_s", 10..=A_DAY_S),
            refresh_token_days: from.number("auth.refresh_token_days", 1..=3_650),
            attempts_per_min: from.number("auth.attempts_per_min", 1..=1_000_000),
        },
        secrets: Secrets { keys: from.list("secrets.keys").into_iter().map(Secret::new).collect() },
        log: Log { level: log_level(from), format: format.unwrap_or(LogFormat::Auto) },
        telemetry: telemetry::read(from),
        domain: domain?,
        api: api?,
        edge: edge?,
        acme,
        data_dir,
    };
    Some(config)
}

fn data_dir(from: &mut Reader) -> Option<PathBuf> {
    let text = from.text("data_dir");
    let dir = if text.is_empty() { user_data_dir() } else { std::path::absolute(text).ok() };
    if dir.is_none() {
        from.problem("data_dir", "must be set, since this user has no home folder");
    }
    dir
}

/// By the XDG base directory specification; on macOS and Windows their own places.
fn user_data_dir() -> Option<PathBuf> {
    dirs::data_dir().map(|dir| dir.join("gv"))
}

fn log_level(from: &mut Reader) -> String {
    let text = from.text("log.level").to_owned();
    if tracing_subscriber::EnvFilter::builder().parse(&text).is_err() {
        from.problem("log.level", "must be a filter such as info or gv=debug,warn");
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::shown::shown;

    pub(crate) fn with(pairs: &[(&str, &str)]) -> Outside {
        let mut environment = vec![("GV_DATA_DIR".to_owned(), "/var/lib/gv".to_owned())];
        environment.extend(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Outside { environment, ..Outside::default() }
    }

    #[test]
    fn the_shipped_file_is_complete_and_valid() {
        let loaded = load(&with(&[])).unwrap();
        assert_eq!(loaded.config.domain.as_str(), "localhost");
        assert_eq!(loaded.config.database.url.expose(), "sqlite:/var/lib/gv/gv.db");
        assert_eq!(loaded.config.blobs.url, "file:/var/lib/gv/blobs");
        assert_eq!(loaded.config.worker.dir, PathBuf::from("/var/lib/gv/work"));
        assert_eq!((loaded.config.worker.concurrency, loaded.config.worker.lease_s), (2, 30));
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("gv.toml");
        std::fs::write(&copy, super::super::layers::DEFAULTS).unwrap();
        assert!(load(&Outside { file: Some(copy), ..with(&[]) }).is_ok(), "a copy of it is a valid file");
    }

    #[test]
    fn the_example_of_production_is_valid_but_for_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("production.toml");
        std::fs::write(&file, include_str!("../../config/production.toml")).unwrap();
        let loaded = load(&Outside { file: Some(file), ..Outside::default() }).unwrap();
        assert_eq!(loaded.config.domain.as_str(), "sites.example.com");
        let shown: String = loaded.settings.iter().map(|(key, setting)| shown(key, setting)).collect();
        for secret in ["PASSWORD", "SECRET", "REPLACE"] {
            assert!(!shown.contains(secret), "{secret} is in {shown}");
        }
    }

    #[test]
    fn every_problem_is_reported_with_its_key_and_origin() {
        let problems = load(&with(&[
            ("GV_WORKER__LEASE_S", "0"),
            ("GV_DOMAIN", "not a host"),
            ("GV_SOURCE__ALLOW", "10.0.0.1"),
            ("GV_AUTH__REGISTRATION", "maybe"),
            ("GV_API__LISTEN", "8080"),
            ("GV_OPS__LISTEN", "off"),
            ("GV_QUEUE__URL", "kafka://x"),
            ("GV_API__TRUSTED_PROXIES", "10.0.0.0/8,load-balancer"),
            ("GV_EDGE__SKEW_PROTECTION", "a day"),
            ("GV_WORKER__SANDBOX", "maybe"),
            ("GV_WORKER__SANDBOX_READ", "/opt/node,pyenv"),
            ("GV_WORKER__EGRESS_ALLOW", "mirror"),
            ("GV_EDGE__TLS_LISTEN", "0.0.0.0:443"),
            ("GV_ACME__DIRECTORY", "http://authority.example.com"),
            ("GV_ACME__CHALLENGES", "dns-01"),
            ("GV_ACME__EAB_KEY", "x"),
            ("GV_ACME__DNS_PROVIDER", "rfc2136"),
            ("GV_WORKER__REGISTRY", "mirror.example.com"),
            ("GV_EDGE__HTTPS_REDIRECT", "true"),
            ("GV_EDGE__PUBLIC_SCHEME", "http"),
            ("GV_EDGE__HSTS_MAX_AGE_S", "-1"),
            ("GV_API__HOSTS", "api.example.com,not a host"),
            ("GV_API__TLS_KEY", "key.pem"),
            ("GV_API__HTTPS_REDIRECT", "true"),
            ("GV_API__HSTS_MAX_AGE_S", "60"),
            ("GV_API__PUBLIC_PORT", "65536"),
            ("GV_TELEMETRY__OTLP_ENDPOINT", "collector:4318"),
            ("GV_TELEMETRY__OTLP_HEADERS", "authorization: hush"),
            ("GV_TELEMETRY__SAMPLE_PERCENT", "101"),
        ]))
        .unwrap_err();
        let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        for part in [
            "worker.lease_s: must be 2 to",
            "domain:",
            "source.allow:",
            "open or closed",
            "queue.url:",
            "api.trusted_proxies: \"load-balancer\"",
            "edge.skew_protection: must be a time such as 24h",
            "edge.tls_cert: must name a PEM file",
            "acme.directory: must be letsencrypt, letsencrypt-staging, or an https URL",
            "acme.challenges: must be a list of tls-alpn-01 and http-01",
            "acme.eab_key_id: must be set beside acme.eab_key",
            "acme.dns_server: must be set, since acme.dns_provider is rfc2136",
            "acme.dns_key: must be set",
            "worker.registry: must be npm, an http or https URL",
            "edge.https_redirect: needs edge.public_scheme to be https",
            "edge.hsts_max_age_s: must be 0 to",
            "api.hosts: \"not a host\" is not a hostname",
            "api.tls_key: needs api.tls_listen beside it",
            "api.https_redirect: needs api.tls_listen beside it",
            "api.hsts_max_age_s: needs api.tls_listen beside it",
            "api.public_port: must be 0 to",
            "telemetry.otlp_endpoint: must be an http or https URL",
            "telemetry.otlp_headers: must be a list of name=value",
            "telemetry.sample_percent: must be 0 to 100",
            "worker.sandbox: must be auto or bubblewrap",
            "worker.sandbox_read: pyenv must be an absolute path",
            "worker.egress_allow: \"mirror\"",
            "GV_DOMAIN",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("hush"), "{text}");
    }

    #[test]
    fn the_api_has_two_names_of_its_own_unless_it_is_given_others() {
        let hosts = |pairs: &[(&str, &str)]| {
            let config = load(&with(pairs)).unwrap().config;
            config.api.hosts.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let domain = ("GV_DOMAIN", "sites.example.com");
        assert_eq!(hosts(&[domain]), ["api.sites.example.com", "sites.example.com"]);
        assert_eq!(hosts(&[domain, ("GV_API__HOSTS", "GV.example.com")]), ["gv.example.com"]);
        // A project would be in the way.
        assert!(crate::domain::project::ProjectName::parse("api").is_err());
    }

    #[test]
    fn certificates_may_be_for_the_api_alone() {
        let acme = [("GV_ACME__ENABLED", "true"), ("GV_ACME__TERMS_AGREED", "true")];
        let with_acme = |more: &[(&'static str, &'static str)]| load(&with(&[&acme, more].concat()));
        let none = ("GV_ACME__ON_DEMAND", "none");
        let loaded = with_acme(&[("GV_API__TLS_LISTEN", "127.0.0.1:0"), none]).unwrap();
        assert!(loaded.config.acme.is_some() && loaded.config.api.tls.unwrap().files.is_none());
        let nowhere = with_acme(&[]).unwrap_err();
        assert!(nowhere[0].message.starts_with("needs edge.tls_listen or api.tls_listen"), "{nowhere:?}");
        let nothing = with_acme(&[("GV_EDGE__TLS_LISTEN", "127.0.0.1:0"), none]).unwrap_err();
        assert!(nothing[0].message.contains("nothing would be ordered"), "{nothing:?}");
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let skew = |text| {
            load(&with(&[("GV_EDGE__SKEW_PROTECTION", text)])).map(|it| it.config.edge.skew_protection)
        };
        for (text, seconds) in [("24h", 86_400), ("1h 30m", 5_400), ("0", 0), ("0s", 0), ("7d", 604_800)] {
            assert_eq!(skew(text).unwrap().as_secs(), seconds, "{text}");
        }
        for bad in ["", "24", "-1h", "31d"] {
            assert!(skew(bad).is_err(), "{bad}");
        }
    }
}
