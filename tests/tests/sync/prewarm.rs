//! `modtier-syncer once --go-sum FILE`: a project's closure is at the edge before anybody asks for it.

use std::time::Duration;

use modtier_tests::{BuiltModule, Cluster, GoClient, Module, Origin, Process, ProcessSpec, binary};

/// Runs the syncer once over this go.sum, through the cluster's edge; its exit code and what it said.
async fn once(cluster: &Cluster, go_sum: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go.sum").display().to_string();
    std::fs::write(&file, go_sum).unwrap();
    let spec = ProcessSpec::new("once", binary("syncer"), folder.path())
        .args(&["once", "--go-sum", &file, "--through", &cluster.goproxy()])
        .env("MODTIER_SYNCER_CENTER", cluster.center_url());
    let mut process = Process::spawn(spec);
    let status = process.ended(Duration::from_mins(1)).await;
    (status.code(), process.log())
}

fn modules() -> Vec<BuiltModule> {
    let module = |index: u64| {
        Module::new(&format!("example.com/Group/m{index}"), "v1.2.3").package().ballast(50_000, index).build()
    };
    (0..20).map(module).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_it_the_edge_alone_serves_the_project() {
    let mut origin = Origin::start().await;
    let modules = modules();
    for module in &modules {
        origin.publish(module);
    }
    let mut cluster = Cluster::of(&origin).start().await;
    let go_sum: String = modules.iter().map(BuiltModule::go_sum).collect();
    let (code, said) = once(&cluster, &go_sum).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("60 warmed, 0 already warm, 0 failed"), "info, mod and zip of twenty modules: {said}");

    origin.go_down().await;
    cluster.center.kill9();
    let go = GoClient::new(&cluster.goproxy());
    let requires: Vec<_> = modules.iter().map(|module| format!("require {} {}", module.path, module.version)).collect();
    go.write("go.mod", &format!("module modtier.example/main\n\ngo 1.21\n\n{}\n", requires.join("\n")));
    go.write("go.sum", &go_sum);
    go.ok(&["mod", "download"]).await;

    let (code, said) = once(&cluster, &go_sum).await;
    assert_eq!(code, Some(0), "a second time needs nobody: {said}");
    assert!(said.contains("0 warmed, 60 already warm, 0 failed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_that_differs_is_told_and_is_exit_code_1() {
    let origin = Origin::start().await;
    let modules = modules();
    for module in &modules {
        origin.publish(module);
    }
    let cluster = Cluster::of(&origin).start().await;
    let mut other = modules[0].clone();
    other.h1.clone_from(&modules[1].h1);
    let absent = Module::new("example.com/absent", "v1.0.0").build();
    for wrong in [other, absent] {
        let go_sum = wrong.go_sum() + &modules[2].go_sum();
        let (code, said) = once(&cluster, &go_sum).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&wrong.path), "the module is named: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    assert_eq!(cluster.edge_web().get_held(&modules[2].zip_path()).await.status, 200, "the others are warm");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_go_sum_is_exit_code_2_and_names_the_line() {
    let origin = Origin::start().await;
    let cluster = Cluster::of(&origin).start().await;
    let (code, said) = once(&cluster, "example.com/a v1.0.0 h1:x\nthis is no line of a go.sum\n").await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("go.sum:"), "{said}");
    assert!(origin.seen().is_empty());
}
