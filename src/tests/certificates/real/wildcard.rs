//! One certificate for all sites below the domain, proved by DNS.

use super::fleet::{Fleet, eventually};
use crate::support::name_server::{KEY, KEY_NAME, NameServer, ZONE};
use crate::support::process::Settings;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

const LIFE: Duration = Duration::from_secs(86_400);

/// The zone of the operator takes updates.
pub fn rfc2136(settings: Settings, names: &NameServer) -> Settings {
    settings
        .set("GV_ACME__DNS_PROVIDER", "rfc2136")
        .set("GV_ACME__DNS_SERVER", names.address())
        .set("GV_ACME__DNS_ZONE", ZONE)
        .set("GV_ACME__DNS_KEY_NAME", KEY_NAME)
        .set("GV_ACME__DNS_KEY", KEY)
}

async fn expect_one_for_all(fleet: &Fleet) {
    for host in ["blog.sites.example", "shop.sites.example"] {
        fleet.publish(host, host).await;
    }
    let visit = async |edge, host| {
        fleet.visit(edge, host).await.unwrap_or_else(|why| panic!("{why}\n{}", fleet.logs()))
    };
    let blog = visit(0, "blog.sites.example").await;
    assert_eq!((blog.status, blog.text.as_str()), (200, "blog.sites.example"));
    let shop = visit(1, "shop.sites.example").await;
    assert_eq!((shop.text.as_str(), &shop.certificate), ("shop.sites.example", &blog.certificate));
    assert_eq!((fleet.pebble.ordered(), fleet.pebble.issued()), (1, 1), "{}", fleet.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_comes_by_updates_of_a_real_zone() {
    let fleet = Fleet::start_with(LIFE, |names| rfc2136(Settings::default(), names)).await;
    expect_one_for_all(&fleet).await;
    eventually("nothing is left in the zone", async || {
        fleet.names.texts("_acme-challenge.sites.example").is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_comes_by_a_program_of_the_operators() {
    let folder = tempfile::tempdir().unwrap();
    let (hook, calls) = (folder.path().join("hook"), folder.path().join("calls"));
    let fleet = Fleet::start_with(LIFE, |names| {
        // What knsupdate does not understand is an error, and so is what the server refuses.
        let script = format!(
            "#!/bin/sh\nset -e\n[ \"$1\" = --quiet ]\necho \"$2 $3\" >>{calls}\ncase $2 in\n  \
             present) verb=add ;;\n  cleanup) verb=del ;;\nesac\n[ -z \"$GV_SECRETS__KEYS\" ]\n\
             printf 'server {server} {port}\\nzone {ZONE}.\\nupdate %s %s. 60 TXT \"%s\"\\nsend\\n' \"$verb\" \"$3\" \"$4\" \
             | knsupdate -y hmac-sha256:{KEY_NAME}:{KEY}\n",
            calls = calls.display(),
            server = "127.0.0.1",
            port = names.address().rsplit_once(':').unwrap().1,
        );
        std::fs::write(&hook, script).unwrap();
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
        Settings::default()
            .set("GV_ACME__DNS_PROVIDER", "exec")
            .set("GV_ACME__DNS_EXEC", format!("{},--quiet", hook.display()))
    })
    .await;
    expect_one_for_all(&fleet).await;
    let calls = std::fs::read_to_string(calls).unwrap();
    let name = "_acme-challenge.sites.example";
    let expected = ["present", "present", "cleanup", "cleanup"].map(|verb| format!("{verb} {name}"));
    assert_eq!(calls.lines().collect::<Vec<_>>(), expected);
    assert!(fleet.names.texts(name).is_empty());
}
