//! Rules that people already wrote, from a repository to what its visitors get.

use super::Stage;
use crate::support::git::Content;
use crate::support::gv::{command, id_of};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

impl Stage {
    /// Status, `Location` and body.
    async fn visit(&self, host: &str, path: &str) -> (u16, String, String) {
        let response = self.gv.site(host, path).send().await.unwrap();
        let location = response.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), location.unwrap_or_default(), response.text().await.unwrap())
    }

    async fn field(&self, host: &str, path: &str, name: &str) -> String {
        let response = self.gv.site(host, path).send().await.unwrap();
        response.headers().get(name).map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    }
}

fn moved(status: u16, location: &str) -> (u16, String, String) {
    (status, location.to_owned(), String::new())
}

fn shown(status: u16, text: &str) -> (u16, String, String) {
    (status, String::new(), text.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_speaks_the_rules_of_the_host_that_its_files_are_for() {
    let stage = Stage::set().await;
    let vercel = json!({
        "cleanUrls": true,
        "redirects": [{"source": "/old/:id(\\d+)", "destination": "/new/:id"}],
        "rewrites": [{"source": "/app/(.*)", "destination": "/index.html"}],
        "headers": [{"source": "/(.*)", "headers": [{"key": "X-From", "value": "vercel"}]}],
    });
    let pages = [("index.html", "home"), ("about.html", "about"), ("404.html", "lost")];
    let with = |more: &[(&'static str, &'static str)]| [&pages[..], more].concat();
    let vercel_text: &'static str = vercel.to_string().leak();
    for (name, files) in [
        ("on-vercel", with(&[("vercel.json", vercel_text), ("_redirects", "/old/* /no")])),
        (
            "on-netlify",
            with(&[
                ("netlify.toml", "[[headers]]\nfor = \"/*\"\nvalues = {X-From = \"netlify\"}\n"),
                ("_redirects", "/old/:id /new/:id\n/app/* /index.html 200\n/gone /404 410\n"),
            ]),
        ),
        (
            "on-cloudflare",
            with(&[
                ("wrangler.toml", "name = \"site\"\n"),
                ("_redirects", "/old/:id /new/:id\n/about /moved\n"),
                ("_headers", "/*\n  X-From: cloudflare\n"),
            ]),
        ),
        (
            "plainly",
            with(&[("_redirects", "/old/:id /new/:id 302\n"), ("_headers", "/*\n  X-From: plain\n")]),
        ),
    ] {
        let repository = stage.git.repository(name, &files).await;
        let deployment = stage.deploy(&repository).await;
        assert_eq!(deployment["files"], 3, "rule files are not published: {name}");
    }
    let (vercel, netlify) = ("on-vercel.localhost", "on-netlify.localhost");
    let (cloudflare, plain) = ("on-cloudflare.localhost", "plainly.localhost");
    for (host, path, expected) in [
        (vercel, "/old/5?a=1", moved(308, "/new/5?a=1")),
        (vercel, "/old/x", shown(404, "lost")),
        (vercel, "/app/users/5", shown(200, "home")),
        (vercel, "/about.html", moved(308, "/about")),
        (vercel, "/vercel.json", shown(404, "lost")),
        (netlify, "/old/5", moved(301, "/new/5")),
        (netlify, "/app/users/5", shown(200, "home")),
        (netlify, "/gone", shown(410, "lost")),
        (netlify, "/about.html", shown(200, "about")),
        (cloudflare, "/old/5", moved(302, "/new/5")),
        (cloudflare, "/about", moved(302, "/moved")),
        (cloudflare, "/x", shown(404, "lost")),
        (plain, "/old/5", moved(302, "/new/5")),
        (plain, "/_redirects", shown(404, "lost")),
    ] {
        assert_eq!(stage.visit(host, path).await, expected, "{host}{path}");
    }
    for (host, from) in
        [(vercel, "vercel"), (netlify, "netlify"), (cloudflare, "cloudflare"), (plain, "plain")]
    {
        assert_eq!(stage.field(host, "/", "x-from").await, from);
        assert_eq!(stage.field(host, "/nothing", "x-from").await, from);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_what_was_used_and_every_line_that_was_refused() {
    let stage = Stage::set().await;
    let files = [
        ("index.html", "home"),
        ("_redirects", "/a /b\n\n/bad\n/x https://y.example/ 200\n"),
        ("wrangler.toml", ""),
    ];
    let repository = stage.git.repository("told", &files).await;
    let deployment = stage.deploy(&repository).await;
    let log = stage.gv.deployment_log(&id_of(&deployment)).await;
    for line in [
        "Routing as cloudflare: there is a wrangler.toml. In use: 1 redirect.",
        "Warning: _redirects:3: has no target",
        "Warning: _redirects:4: shows another site's content",
    ] {
        assert!(log.contains(line), "{line} in {log}");
    }
    // A setting of the project wins over what the files say.
    let body = json!({"repo_url": repository.url(), "routing": "plain", "spa": true});
    let deployment = stage.gv.deploy(body).await;
    let log = stage.gv.deployment_log(&id_of(&deployment)).await;
    assert!(log.contains("Routing as plain: routing is set to plain."), "{log}");
    assert_eq!(stage.visit("told.localhost", "/a").await, moved(301, "/b"));
    assert_eq!(stage.visit("told.localhost", "/users/5").await, shown(200, "home"));
    let bad = json!({"repo_url": repository.url(), "routing": "apache"});
    let problem = stage.gv.post("/deployments", &bad, 422).await;
    assert_eq!(problem["errors"][0]["field"], "routing");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_vercel_json_fails_the_deployment_with_its_position() {
    let stage = Stage::set().await;
    let json = "{\n  \"redirects\": [\n    {\"source\": \"/a(\", \"destination\": \"/b\"}\n  ]\n}\n";
    let repository = stage.git.repository("wrong", &[("index.html", "home"), ("vercel.json", json)]).await;
    let (code, message) = stage.gv.deploy_failing(json!({"repo_url": repository.url()})).await;
    assert_eq!(code, "configuration_invalid");
    assert!(message.starts_with("vercel.json:3:16: source has a ( whose )"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_tells_what_answers_and_why_the_others_did_not() {
    let stage = Stage::set().await;
    let files = [("index.html", "home"), ("_redirects", "/x /y\n/old/* /new/:splat 302 Language=de\n")];
    let repository = stage.git.repository("explained", &files).await;
    let id = id_of(&stage.deploy(&repository).await);
    let path = format!("/deployments/{id}/explain");
    let explained =
        stage.gv.get(&format!("{path}?path=/old/a%3Fb=1&header=Accept-Language:de&header=X:y")).await;
    assert_eq!(explained["status"], 302, "{explained}");
    assert_eq!(explained["location"], "/new/a?b=1");
    assert_eq!(explained["dialect"], "plain");
    assert_eq!(explained["vary"], "accept-language, cookie");
    let steps = explained["steps"].as_array().unwrap();
    assert_eq!(
        steps[0],
        json!({"what": "_redirects:1", "taken": false, "because": "/x is not for this path"})
    );
    assert_eq!((&steps[1]["what"], &steps[1]["taken"]), (&json!("_redirects:2"), &json!(true)));
    let other = stage.gv.get(&format!("{path}?path=/old/a&header=Accept-Language:en")).await;
    assert_eq!((&other["status"], &other["location"]), (&json!(404), &Value::Null));
    let reason = other["steps"][1]["because"].as_str().unwrap();
    assert!(reason.contains("language de"), "{reason}");
    for (query, status) in [
        ("", 422),
        ("?path=x", 422),
        ("?path=/%25zz", 422),
        ("?path=/&header=x", 422),
        ("?path=/&what=x", 422),
    ] {
        let response = stage.gv.call(Method::GET, &format!("{path}{query}")).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{query}");
    }
    // Nobody else's business.
    let stranger = stage.gv.account("eve@example.com").await;
    let asked = stage.gv.anonymous(Method::GET, &format!("{path}?path=/")).bearer_auth(stranger);
    assert_eq!(asked.send().await.unwrap().status(), StatusCode::NOT_FOUND);

    let said = stage.gv.cli(&["explain", &id, "/old/a", "--header", "Accept-Language: de"]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.starts_with("/old/a: 302, redirect to /new/a (as plain)\n"), "{said}");
    assert!(said.contains("-> _redirects:2: "), "{said}");
    let port = stage.gv.edge.rsplit(':').next().unwrap().to_owned();
    let url = format!("http://explained.localhost:{port}/x?q=1");
    let output = stage.gv.cli(&["explain", &url, "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!((&json["status"], &json["location"]), (&json!(301), &json!("/y?q=1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_of_an_earlier_deployment_is_explained_by_the_rules_of_the_present_one() {
    let stage = Stage::set().await;
    let old = ("assets/app-3f9a1c2b.js", "old");
    let headers = |version: u8| format!("/*\n  X-V: {version}\n");
    let first = headers(1);
    let repository =
        stage.git.repository("kept", &[("index.html", "home"), old, ("_headers", first.as_str())]).await;
    let earlier = id_of(&stage.deploy(&repository).await);
    let (second, lost) = (headers(2), Content::Deleted);
    let changes = [("_headers", Content::File(second.as_bytes())), (old.0, lost)];
    repository.commit_contents("main", &changes, b"second").await;
    let present = id_of(&stage.deploy(&repository).await);
    assert_ne!(earlier, present);
    let path = "/assets/app-3f9a1c2b.js";
    assert_eq!(stage.visit("kept.localhost", path).await, shown(200, "old"));
    assert_eq!(stage.field("kept.localhost", path, "x-v").await, "2");

    let port = stage.gv.edge.rsplit(':').next().unwrap().to_owned();
    let said = stage.gv.cli(&["explain", &format!("http://kept.localhost:{port}{path}")]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.starts_with(&format!("{path}: 200, assets/app-3f9a1c2b.js (as plain)\n")), "{said}");
    assert!(said.contains("  x-v: 2\n"), "{said}");
    assert!(
        said.contains(&format!("-> skew protection: kept of an earlier deployment: {earlier} has")),
        "{said}"
    );
    // What no edge takes is no site's: it is told why.
    let refused = stage.gv.cli(&["explain", &format!("http://kept.localhost:{port}/%00")]);
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && why.contains("/%00 is answered with 400: the path has control"),
        "{why}"
    );
}

#[test]
fn a_folder_is_checked_without_deploying_it() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let check = |args: &[&str]| {
        let output = command().arg("check").arg(folder.path()).args(args).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    write("_redirects", "/a /b\n/bad\n");
    let (code, said) = check(&[]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("Routing as plain") && said.contains("Warning: _redirects:2: has no target"),
        "{said}"
    );
    let output = command().arg("check").arg(folder.path()).args(["--output", "nope"]).output().unwrap();
    let why = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && why.contains("nope is no folder in "), "{why}");
    write("vercel.json", "{\"cleanUrls\": 1}");
    let (code, said) = check(&[]);
    assert_eq!(code, 1);
    assert_eq!(said, "Error: vercel.json:1:15: cleanUrls must be true or false\n");
    let (code, said) = check(&["--json"]);
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &report["ok"], &report["notes"][0]["line"]), (1, &json!(false), &json!(1)));
    let (code, said) = check(&["--routing", "netlify", "--json"]);
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &report["dialect"]), (0, &json!("netlify")));
}
