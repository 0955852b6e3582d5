//! Retention of what was fetched from version control: it goes like anything that can be had again, and comes back as it was.

use modtier_tests::Web;
use reqwest::Method;

use super::place::{GIT, Place, VANITY};

#[tokio::test(flavor = "multi_thread")]
async fn what_went_is_fetched_again_and_is_what_it_was_though_its_tag_was_moved() {
    let place = Place::new().await;
    for name in ["stays", "moves"] {
        let module = format!("{VANITY}/{name}");
        place.forge.repository(&format!("team/{name}")).release(&module, "v1.0.0");
        place.forge.import(&module, "git", &format!("https://{GIT}/team/{name}"));
    }
    let builder = place.builder(&place.settings());
    let cluster = builder.center_env("MODTIER_CENTER_RETENTION", "{golang-private: {bytes_max: 1}}").start().await;
    let web = cluster.repository_web("golang-private");
    let zip = |name: &str| format!("{VANITY}/{name}/@v/v1.0.0.zip");
    let [stays, moves] = [zip("stays"), zip("moves")];
    let (before, other) = (web.get(&stays).await, web.get(&moves).await);
    assert_eq!((before.status, other.status), (200, 200), "{}", cluster.center.log());

    let retain = async |dry_run: bool| {
        let path = format!("api/v1/retention?dry_run={dry_run}");
        let request = cluster.center_web().request(Method::POST, &path).bearer_auth(cluster.token());
        Web::send(request).await.unwrap().json()["versions"].as_array().unwrap().len()
    };
    let held = async |path: &str| {
        Web::send(web.request(Method::GET, path).header("Disable-Module-Fetch", "true")).await.unwrap().status
    };
    assert_eq!(retain(true).await, 2);
    assert_eq!(held(&stays).await, 200, "a dry run changes nothing");
    assert_eq!(retain(false).await, 2);
    assert_eq!((held(&stays).await, held(&moves).await), (404, 404));

    let repository = place.forge.repository("team/moves");
    repository.commit(&[("lib.go", "package lib // other\n")]);
    repository.git(&["tag", "-f", "v1.0.0"]);
    let again = web.get(&stays).await;
    assert_eq!((again.status, again.body), (200, before.body), "{}", cluster.center.log());
    // The clone that is kept still has the tag as it was; one that is made anew has it otherwise, and its bytes are refused.
    let again = web.get(&moves).await;
    let is_refused = again.status == 502;
    assert!(is_refused || (again.status == 200 && again.body == other.body), "{} {:?}", again.status, again.body.len());
    assert_eq!(place.leaked(), [""; 0], "the public origin was asked");
}
