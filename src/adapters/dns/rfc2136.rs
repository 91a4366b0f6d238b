//! Dynamic updates of a zone (RFC 2136), signed by a key that its server knows (TSIG, RFC 8945), over
//! TCP: what BIND, Knot, PowerDNS, Windows and many hosted zones take.
//!
//! Messages and signatures are hickory-proto's. Start with [`Rfc2136::new`].

use crate::domain::secret::Secret;
use crate::ports::clock::Clock;
use crate::ports::dns_records::DnsRecords;
use crate::ports::error::{StoreError, StoreErrorKind};
use anyhow::Context as _;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::op::{Message, ResponseCode, update_message};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, RData, Record, RecordSet, RecordType, TSigner};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// For one update and its answer.
const DEADLINE: Duration = Duration::from_secs(15);
/// Of the records, in seconds: nobody should remember them.
const TTL: u32 = 60;
/// How far the two clocks may be apart, in seconds (RFC 8945, 10).
const FUDGE: u16 = 300;

/// Where the zone is changed, and by whom.
#[derive(Clone, Debug)]
pub struct Rfc2136Settings {
    /// Host and port of the zone's primary server.
    pub server: String,
    pub zone: String,
    pub key_name: String,
    /// In base64, as `tsig-keygen` prints it.
    pub key: Secret,
    pub algorithm: Algorithm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

pub struct Rfc2136 {
    server: String,
    zone: Name,
    signer: TSigner,
    clock: Arc<dyn Clock>,
}

impl Rfc2136 {
    /// Asks nobody yet.
    pub fn new(settings: &Rfc2136Settings, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let algorithm = match settings.algorithm {
            Algorithm::HmacSha256 => TsigAlgorithm::HmacSha256,
            Algorithm::HmacSha384 => TsigAlgorithm::HmacSha384,
            Algorithm::HmacSha512 => TsigAlgorithm::HmacSha512,
        };
        let key = STANDARD.decode(settings.key.expose().trim()).context("acme.dns_key: is not base64")?;
        let key_name = absolute(&settings.key_name).context("acme.dns_key_name")?;
        let signer = TSigner::new(key, algorithm, key_name, FUDGE).context("acme.dns_key")?;
        let zone = absolute(&settings.zone).context("acme.dns_zone")?;
        Ok(Self { server: settings.server.clone(), zone, signer, clock })
    }

    async fn update(&self, verb: Verb, name: &str, value: &str) -> Result<(), StoreError> {
        let doing = || format!("{} the record {name} at {}", verb.word(), self.server);
        let error = |kind, why: String| StoreError::new(kind, doing(), why);
        let internal = |why: String| error(StoreErrorKind::Internal, why);
        let name = absolute(name).map_err(|why| internal(format!("{why:#}")))?;
        if !self.zone.zone_of(&name) {
            return Err(internal(format!("it does not lie in acme.dns_zone, {}", self.zone)));
        }
        let mut records = RecordSet::with_ttl(name.clone(), RecordType::TXT, TTL);
        let text = RData::TXT(TXT::new(vec![value.to_owned()]));
        records.insert(Record::from_rdata(name, TTL, text), 0);
        let zone = self.zone.clone();
        let mut message = match verb {
            Verb::Add => update_message::append(records, zone, false, false),
            Verb::Remove => update_message::delete_by_rdata(records, zone, false),
        };
        let now = self.clock.now().unix_timestamp().max(0).unsigned_abs();
        let verifier = message.finalize(&self.signer, now).map_err(|why| internal(why.to_string()))?;
        let request = message.to_vec().map_err(|why| internal(why.to_string()))?;
        let unavailable = |why: String| error(StoreErrorKind::Unavailable, why);
        let answer = match tokio::time::timeout(DEADLINE, exchange(&self.server, &request)).await {
            Ok(answer) => answer.map_err(|why| unavailable(why.to_string()))?,
            Err(_) => return Err(unavailable(format!("no answer within {} s", DEADLINE.as_secs()))),
        };
        // An answer that says why the signature was not taken is not signed itself.
        let said = Message::from_vec(&answer).map_err(|why| unavailable(why.to_string()))?;
        if said.id != message.id {
            return Err(unavailable("the answer is another question's".to_owned()));
        }
        match said.response_code {
            ResponseCode::NoError => {}
            code => return Err(unavailable(refusal(code))),
        }
        let mut verifier = verifier.ok_or_else(|| internal("the update was not signed".to_owned()))?;
        verifier.verify(&answer).map(|_| ()).map_err(|why| unavailable(format!("its answer: {why}")))
    }
}

#[derive(Clone, Copy)]
enum Verb {
    Add,
    Remove,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Self::Add => "adding",
            Self::Remove => "removing",
        }
    }
}

#[async_trait]
impl DnsRecords for Rfc2136 {
    async fn add(&self, name: &str, value: &str) -> Result<(), StoreError> {
        self.update(Verb::Add, name, value).await
    }

    async fn remove(&self, name: &str, value: &str) -> Result<(), StoreError> {
        self.update(Verb::Remove, name, value).await
    }
}

fn absolute(name: &str) -> anyhow::Result<Name> {
    let mut name = Name::from_ascii(name).context("is not a name")?;
    name.set_fqdn(true);
    Ok(name)
}

/// Over TCP a message follows its length (RFC 1035, 4.2.2).
async fn exchange(server: &str, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let len = u16::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&[&len.to_be_bytes(), request].concat()).await?;
    let len = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(len)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// What an operator makes of a refusal.
fn refusal(code: ResponseCode) -> String {
    let why = match code {
        ResponseCode::NotAuth => {
            "the server does not know the key, or its clock is more than five minutes away"
        }
        ResponseCode::Refused => "the key may not change this record: look at the zone's update policy",
        ResponseCode::NotZone => "the record does not lie in the zone: look at acme.dns_zone",
        ResponseCode::NotImp => "the server takes no updates for this zone",
        _ => "the server does not do it",
    };
    format!("{why} ({code})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::clock::SystemClock;

    fn settings(key: &str) -> Rfc2136Settings {
        Rfc2136Settings {
            server: "127.0.0.1:1".to_owned(),
            zone: "example.com".to_owned(),
            key_name: "gv".to_owned(),
            key: Secret::new(key),
            algorithm: Algorithm::HmacSha256,
        }
    }

    #[tokio::test]
    async fn what_is_wrong_is_told_by_its_key() {
        let wrong = Rfc2136::new(&settings("not base64!"), Arc::new(SystemClock)).err().unwrap();
        assert!(format!("{wrong:#}").contains("acme.dns_key: is not base64"));
        let dns = Rfc2136::new(&settings("AAAA"), Arc::new(SystemClock)).unwrap();
        let outside = dns.add("_acme-challenge.example.org", "x").await.unwrap_err().to_string();
        assert!(outside.contains("does not lie in acme.dns_zone"), "{outside}");
        let away = dns.add("_acme-challenge.example.com", "x").await.unwrap_err();
        assert_eq!(away.kind, StoreErrorKind::Unavailable);
    }
}
