//! What is fetched is what `go` itself makes of the repository, from every system and by every way.

use modtier_tests::forge::{Apache, GitRepository, PASSWORD, REALM, Sshd, USER, command};
use modtier_tests::{GoClient, Module};
use serde_json::{Value, json};

use super::place::{GIT, Place, SVN, VANITY};

/// `go mod download -json`, parsed.
async fn download(go: &GoClient, wanted: &str) -> Value {
    let output = go.ok(&["mod", "download", "-json", wanted]).await;
    serde_json::from_str(&output.stdout).unwrap()
}

/// A `go` that reads the repository itself; git is told to find it in the file system.
fn direct(place: &Place, repository: &GitRepository, url: &str) -> GoClient {
    let go = GoClient::new("direct");
    let config = place.forge.root().join("direct.gitconfig");
    let folder = repository.folder().display();
    std::fs::write(&config, format!("[url \"file://{folder}\"]\n\tinsteadOf = {url}\n")).unwrap();
    go.env("GIT_CONFIG_GLOBAL", &config.display().to_string()).env("GIT_ALLOW_PROTOCOL", "https:file")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_git_repository_over_https_gives_what_go_makes_of_it_directly() {
    let place = Place::new().await;
    // `go` needs no page to know what a path with `.git` in it is, so that it can do the same without the center.
    let module = format!("{GIT}/team/lib.git");
    let repository = place.forge.repository("team/lib");
    repository.release(&module, "v1.0.0");
    repository.commit(&[("sub/go.mod", &format!("module {module}/sub\n\ngo 1.21\n")), ("sub/sub.go", "package sub\n")]);
    repository.tag("sub/v0.1.0").release(&module, "v1.1.0-rc.1").release(&module, "v1.2.0");
    repository.commit(&[("go.mod", &format!("module {module}\n\ngo 1.21\n\nretract v1.2.0\n"))]).tag("v1.2.1");
    repository.commit(&[("late.go", "package lib\n")]);
    std::os::unix::fs::symlink(repository.folder(), place.forge.root().join("team/lib.git")).unwrap();
    // A higher version of the same path, in public.
    place.origin.publish(&Module::new(&module, "v1.9.9").package().build());
    let cluster = place.cluster().await;
    let through = GoClient::new(&cluster.goproxy());
    let direct = direct(&place, &repository, &format!("https://{GIT}/team/lib"));

    for wanted in ["@v1.0.0", "/sub@v0.1.0", "@main", "@v1.1.0-rc.1"] {
        let wanted = format!("{module}{wanted}");
        let (ours, theirs) = tokio::join!(download(&through, &wanted), download(&direct, &wanted));
        for key in ["Version", "Sum", "GoModSum"] {
            assert!(theirs[key].is_string(), "{wanted}: {theirs}");
            assert_eq!(ours[key], theirs[key], "{wanted}: {key}");
        }
    }
    for query in [&["list", "-m", "-versions"][..], &["list", "-m", "-retracted", "-versions"], &["list", "-m"]] {
        let args: Vec<&str> = query.iter().copied().chain([concat!("git.corp.test/team/lib.git", "@latest")]).collect();
        let (ours, theirs) = tokio::join!(through.ok(&args), direct.ok(&args));
        assert_eq!(ours.stdout, theirs.stdout, "{query:?}");
    }
    // Retracted versions are in the list all the same.
    let list = cluster.edge_web().get(&format!("{module}/@v/list")).await;
    assert_eq!(list.text(), "v1.0.0\nv1.1.0-rc.1\nv1.2.0\nv1.2.1\n");
    assert_eq!(place.leaked(), [""; 0], "the public origin was asked");
    assert!(!cluster.center.log().contains(modtier_tests::forge::PASSWORD), "the password is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_found_through_the_page_of_a_vanity_host() {
    let place = Place::new().await;
    let module = format!("{VANITY}/mono");
    let repository = place.forge.repository("team/mono");
    repository.release(&module, "v0.1.0").commit(&[("pkg/deep/deep.go", "package deep\n")]).release(&module, "v0.2.0");
    place.forge.import(&module, "git", &format!("https://{GIT}/team/mono"));
    let cluster = place.cluster().await;
    let go = GoClient::new(&cluster.goproxy());
    // `go` asks for a module at each of the longer paths first, and must be told that there is none.
    go.ok(&["get", &format!("{module}/pkg/deep@latest")]).await;
    assert!(go.read("go.mod").contains(&format!("{module} v0.2.0")), "{}", go.read("go.mod"));
    let asked = place.forge.asked().len();
    let again = GoClient::new(&cluster.goproxy());
    again.ok(&["mod", "download", &format!("{module}@v0.2.0")]).await;
    assert_eq!(place.forge.asked().len(), asked, "what is held was fetched again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_without_tags_is_its_newest_commit_and_many_clients_are_one_fetch() {
    let place = Place::new().await;
    let module = format!("{VANITY}/untagged");
    let repository = place.forge.repository("team/untagged");
    repository.commit(&[("go.mod", &format!("module {module}\n\ngo 1.21\n")), ("lib.go", "package lib\n")]);
    place.forge.import(&module, "git", &format!("https://{GIT}/team/untagged"));
    place.forge.set_delay(std::time::Duration::from_millis(300));
    let cluster = place.cluster().await;
    let web = cluster.repository_web("golang-private");
    let paths = ["@latest", "@v/list"].map(|artefact| format!("{module}/{artefact}"));
    let replies = futures_util::future::join_all((0..20).map(|number| web.get(&paths[number % 2]))).await;
    let commit = repository.git(&["rev-parse", "--short=12", "HEAD"]);
    for (number, reply) in replies.iter().enumerate() {
        assert_eq!(reply.status, 200, "{}", reply.text());
        match number % 2 {
            0 => assert!(reply.json()["Version"].as_str().unwrap().ends_with(&commit), "{}", reply.text()),
            _ => assert_eq!(reply.text(), ""),
        }
    }
    // Each run of `go` asks the page once where the repository is.
    let runs = place.forge.asked().into_iter().filter(|place| *place == module).count();
    assert_eq!(runs, 1, "{:?}", place.forge.asked());
    let go = GoClient::new(&cluster.goproxy());
    let output = go.ok(&["list", "-m", &format!("{module}@latest")]).await;
    assert!(output.stdout.trim().ends_with(&commit), "{}", output.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn git_mercurial_and_subversion_are_read_over_ssh() {
    let place = Place::new().await;
    let sshd = Sshd::start(GIT).await;
    let root = place.forge.root().to_owned();
    let user = command("id", &["-un"], &root);
    let at = |path: &str| format!("{user}@{GIT}{}", root.join(path).display());

    let gomod = |name: &str| format!("module {VANITY}/{name}\n\ngo 1.21\n");
    place.forge.repository("ssh/git").release(&format!("{VANITY}/over-git"), "v1.0.0");
    let hg = root.join("ssh/hg");
    std::fs::create_dir_all(&hg).unwrap();
    std::fs::write(hg.join("go.mod"), gomod("over-hg")).unwrap();
    std::fs::write(hg.join("lib.go"), "package lib\n").unwrap();
    for args in [&["init"][..], &["commit", "-q", "-A", "-m", "first"], &["tag", "v1.0.0"]] {
        command("hg", args, &hg);
    }
    let work = root.join("svn-work");
    command("svnadmin", &["create", "ssh/svn"], &root);
    let url = format!("file://{}", root.join("ssh/svn").display());
    command("svn", &["checkout", "-q", &url, "svn-work"], &root);
    std::fs::create_dir_all(work.join("trunk")).unwrap();
    std::fs::write(work.join("trunk/go.mod"), gomod("over-svn")).unwrap();
    std::fs::write(work.join("trunk/lib.go"), "package lib\n").unwrap();
    command("svn", &["add", "-q", "trunk"], &work);
    command("svn", &["commit", "-q", "-m", "first"], &work);

    place.forge.import(&format!("{VANITY}/over-git"), "git", &format!("ssh://{}", at("ssh/git")));
    place.forge.import(&format!("{VANITY}/over-hg"), "hg", &format!("ssh://{user}@{GIT}/{}", hg.display()));
    place.forge.import(&format!("{VANITY}/over-svn"), "svn", &format!("svn+ssh://{}", at("ssh/svn/trunk")));
    let mut settings = place.settings();
    let host = &mut settings.repository["fetcher"]["hosts"][GIT];
    host["ssh_key_file"] = json!(sshd.key());
    host["known_hosts_file"] = json!(sshd.known_hosts());
    settings.repository["fetcher"]["vcs"] = json!("*:git|hg|svn");
    settings.egress["connect_to"][format!("{GIT}:22")] = json!(sshd.address().to_string());
    let cluster = place.builder(&settings).start().await;
    let wanted = ["over-git@v1.0.0", "over-hg@v1.0.0", "over-svn@latest"].map(|wanted| format!("{VANITY}/{wanted}"));
    let goproxy = cluster.goproxy();
    let outputs = futures_util::future::join_all(wanted.iter().map(|wanted| {
        let go = GoClient::new(&goproxy);
        async move { go.run(&["mod", "download", "-json", wanted]).await }
    }));
    for (wanted, output) in wanted.iter().zip(outputs.await) {
        assert!(output.ok, "{wanted}: {output:?}\n{}\n{}", cluster.center.log(), sshd.log());
        assert!(output.stdout.contains("\"Sum\": \"h1:"), "{}", output.stdout);
    }
    assert_eq!(place.leaked(), [""; 0], "the public origin was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn subversion_over_https_with_a_password_and_fossil_are_read() {
    let place = Place::new().await;
    let root = place.forge.root().to_owned();
    let gomod = |name: &str| format!("module {VANITY}/{name}\n\ngo 1.21\n");
    command("svnadmin", &["create", "svn"], &root);
    command("svn", &["checkout", "-q", &format!("file://{}", root.join("svn").display()), "svn-work"], &root);
    let work = root.join("svn-work");
    std::fs::create_dir_all(work.join("trunk")).unwrap();
    std::fs::write(work.join("trunk/go.mod"), gomod("by-svn")).unwrap();
    std::fs::write(work.join("trunk/lib.go"), "package lib\n").unwrap();
    command("svn", &["add", "-q", "trunk"], &work);
    command("svn", &["commit", "-q", "-m", "first"], &work);
    let work = root.join("fossil-work");
    std::fs::create_dir(&work).unwrap();
    let fossil = |args: &[&str]| {
        // It keeps what it knows of its user in the home.
        let home = format!("HOME={}", root.display());
        command("env", &[&[home.as_str(), "FOSSIL_USER=ci", "fossil"], args].concat(), &work);
    };
    fossil(&["init", "../fossil"]);
    fossil(&["open", "../fossil"]);
    std::fs::write(work.join("go.mod"), gomod("by-fossil")).unwrap();
    std::fs::write(work.join("lib.go"), "package lib\n").unwrap();
    fossil(&["add", "go.mod", "lib.go"]);
    fossil(&["commit", "--no-warnings", "-m", "first"]);
    let apache = Apache::start(place.forge.authority(), &root.join("svn"), &root.join("fossil")).await;

    place.forge.import(&format!("{VANITY}/by-svn"), "svn", &format!("https://{SVN}/svn/trunk"));
    place.forge.import(&format!("{VANITY}/by-fossil"), "fossil", &format!("https://{SVN}/fossil"));
    let mut settings = place.settings();
    let authority = place.forge.authority().certificate();
    settings.repository["fetcher"]["hosts"][SVN] =
        json!({ "username": USER, "password_env": "FORGE_PASSWORD", "realm": REALM, "ca_file": authority });
    settings.repository["fetcher"]["vcs"] = json!("*:svn|fossil");
    for key in ["hosts", "internal_hosts"] {
        settings.egress[key] = json!([GIT, VANITY, SVN]);
    }
    settings.egress["connect_to"][format!("{SVN}:443")] = json!(apache.address().to_string());
    let cluster = place.builder(&settings).start().await;
    for name in ["by-svn", "by-fossil"] {
        let go = GoClient::new(&cluster.goproxy());
        let output = go.run(&["mod", "download", "-json", &format!("{VANITY}/{name}@latest")]).await;
        assert!(output.ok, "{name}: {output:?}\n{}\n{}", cluster.center.log(), apache.log());
        assert!(output.stdout.contains("\"Sum\": \"h1:"), "{}", output.stdout);
    }
    assert!(!cluster.center.log().contains(PASSWORD), "the password is in the log");

    // For another realm the password is not meant: it is not sent, and nobody is told that there is no such module.
    settings.repository["fetcher"]["hosts"][SVN]["realm"] = json!("another one");
    let other = place.builder(&settings).start().await;
    let reply = other.repository_web("golang-private").get(&format!("{VANITY}/by-svn/@latest")).await;
    assert_eq!(reply.status, 502, "{}", reply.text());
    assert_eq!(place.leaked(), [""; 0], "the public origin was asked");
}
