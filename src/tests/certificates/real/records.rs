//! The contract of `DnsRecords`, on a zone of a real name server.

use crate::support::name_server::{KEY, KEY_NAME, NameServer, ZONE};
use gv::adapters::clock::SystemClock;
use gv::adapters::dns::rfc2136::{Algorithm, Rfc2136, Rfc2136Settings};
use gv::domain::secret::Secret;
use gv::ports::dns_records::DnsRecords;
use std::sync::Arc;

const NAME: &str = "_acme-challenge.sites.example";

fn updates(names: &NameServer, key: &str) -> Rfc2136 {
    let settings = Rfc2136Settings {
        server: names.address(),
        zone: ZONE.to_owned(),
        key_name: KEY_NAME.to_owned(),
        key: Secret::new(key),
        algorithm: Algorithm::HmacSha256,
    };
    Rfc2136::new(&settings, Arc::new(SystemClock)).unwrap()
}

/// What every `DnsRecords` must do, however it does it.
async fn contract(records: &dyn DnsRecords, names: &NameServer) {
    records.add(NAME, "one").await.unwrap();
    records.add(NAME, "two").await.unwrap();
    assert_eq!(names.texts(NAME), ["one", "two"], "beside what is there");
    records.add(NAME, "two").await.unwrap();
    records.remove(NAME, "one").await.unwrap();
    assert_eq!(names.texts(NAME), ["two"], "this one alone");
    records.remove(NAME, "one").await.unwrap();
    records.remove(NAME, "two").await.unwrap();
    assert!(names.texts(NAME).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_added_and_removed_one_at_a_time() {
    let names = NameServer::start();
    contract(&updates(&names, KEY), &names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_wrong_or_may_not_is_told_in_words() {
    let names = NameServer::start();
    let wrong = updates(&names, "d3Jvbmc=").add(NAME, "x").await.unwrap_err().to_string();
    assert!(wrong.contains("the server does not know the key"), "{wrong}");
    let other = updates(&names, KEY).add("www.sites.example", "x").await.unwrap_err().to_string();
    assert!(other.contains("the key may not change this record"), "{other}");
    assert!(names.texts(NAME).is_empty());
}
