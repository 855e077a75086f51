//! `conf/kubernetes`: kubectl renders it, the schemas of Kubernetes judge it, and what it says of the
//! gateway is so: its configuration, its probes, its keys, and how long its end takes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::gateway::{Gateway, Setup};
use tests::http;
use tests::program::{Program, binary, free_port, run, run_in, workspace};
use tests::redis::Redis;

/// The folders that are rendered.
const FOLDERS: [&str; 2] = ["base", "example"];

/// The oldest version whose schema is asked, and the newest.
const VERSIONS: [&str; 2] = ["1.29.0", "1.37.0"];

/// What a pod waits for beside preStop and `timeouts.shutdown`.
const ENDING: u64 = 10;

/// A program of the virtual environment that `tests/run` makes.
fn tool(name: &str) -> PathBuf {
    workspace().join("tests/.work/kubernetes/bin").join(name)
}

async fn rendered(folder: &str) -> Result<String> {
    let path = workspace().join("conf/kubernetes").join(folder);
    let words = ["kustomize".to_owned(), path.display().to_string()];
    let (code, out, errors) = run(&tool("kubectl"), &words, "").await?;
    ensure!(code == 0, "{folder}: {errors}");
    Ok(out)
}

async fn objects(folder: &str) -> Result<Vec<Value>> {
    let script =
        "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
    let (code, out, errors) =
        run(&tool("python"), &["-c", script], &rendered(folder).await?).await?;
    ensure!(code == 0, "{folder}: {errors}");
    Ok(serde_json::from_str(&out)?)
}

/// The only object of this kind and name.
fn object<'a>(all: &'a [Value], kind: &str, name: &str) -> Result<&'a Value> {
    let is_it = |one: &&Value| {
        let found = one["metadata"]["name"].as_str().unwrap_or_default();
        // A ConfigMap's ends in a digest.
        one["kind"] == kind && (found == name || found.starts_with(&format!("{name}-")))
    };
    all.iter()
        .find(is_it)
        .with_context(|| format!("no {kind} {name}"))
}

/// The templates of pods, each with its object's name.
fn pods(all: &[Value]) -> Vec<(&str, &Value)> {
    let templates = all.iter().filter_map(|one| {
        let pod = one["spec"]["template"].get("spec")?;
        Some((one["metadata"]["name"].as_str()?, pod))
    });
    templates.collect()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"]
        .into_iter()
        .filter_map(|kind| pod[kind].as_array())
        .flatten()
}

#[tokio::test]
async fn kubectl_renders_it_and_the_schemas_of_kubernetes_take_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for name in FOLDERS {
        let file = folder.path().join(format!("{name}.yaml"));
        std::fs::write(&file, rendered(name).await?)?;
        for version in VERSIONS {
            let words = ["--strict", "-k", version, &file.display().to_string()];
            let (code, out, errors) = run(&tool("kubernetes-validate"), &words, "").await?;
            assert_eq!(code, 0, "{name}, {version}: {out}{errors}");
        }
    }
    // It would notice.
    let file = folder.path().join("wrong.yaml");
    let wrong = rendered("base")
        .await?
        .replace("replicas: 2", "replicas: two");
    std::fs::write(&file, wrong)?;
    let words = ["--strict".to_owned(), file.display().to_string()];
    let (code, _, _) = run(&tool("kubernetes-validate"), &words, "").await?;
    assert_ne!(code, 0);
    Ok(())
}

#[tokio::test]
async fn every_pod_is_unprivileged_on_a_read_only_root() -> Result<()> {
    for folder in FOLDERS {
        let all = objects(folder).await?;
        let pods = pods(&all);
        ensure!(!pods.is_empty(), "{folder} has no pods");
        for (name, pod) in pods {
            assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
            let context = &pod["securityContext"];
            assert_eq!(context["runAsNonRoot"], true, "{name}");
            assert_eq!(
                context["seccompProfile"]["type"], "RuntimeDefault",
                "{name}"
            );
            for container in containers(pod) {
                let context = &container["securityContext"];
                assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
                assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
                assert_eq!(
                    context["capabilities"]["drop"],
                    serde_json::json!(["ALL"]),
                    "{name}"
                );
                ensure!(
                    container["resources"]["limits"]["memory"].is_string(),
                    "{name}"
                );
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn whatever_a_pod_mounts_is_there_or_asked_for_in_the_manual() -> Result<()> {
    let manual = workspace().join("conf/documents/systemd-and-kubernetes.md");
    let manual = std::fs::read_to_string(manual)?;
    for folder in FOLDERS {
        let all = objects(folder).await?;
        for (name, pod) in pods(&all) {
            for volume in pod["volumes"].as_array().into_iter().flatten() {
                if let Some(map) = volume["configMap"]["name"].as_str() {
                    object(&all, "ConfigMap", map)?;
                }
                if let Some(secret) = volume["secret"]["secretName"].as_str() {
                    let asked = format!("create secret generic {secret} ");
                    ensure!(manual.contains(&asked), "{name}: {asked}");
                }
            }
            let mounted = containers(pod)
                .flat_map(|one| one["volumeMounts"].as_array())
                .flatten();
            for mount in mounted {
                let volumes = pod["volumes"].as_array().into_iter().flatten();
                let claims = all
                    .iter()
                    .flat_map(|one| one["spec"]["volumeClaimTemplates"].as_array());
                let named = volumes.map(|one| &one["name"]);
                let claimed = claims.flatten().map(|one| &one["metadata"]["name"]);
                ensure!(
                    named.chain(claimed).any(|one| *one == mount["name"]),
                    "{mount}"
                );
            }
        }
    }
    Ok(())
}

/// The configuration of a folder, out of its ConfigMap.
async fn configuration(folder: &str) -> Result<String> {
    let all = objects(folder).await?;
    let map = object(&all, "ConfigMap", "gateway-config")?;
    let text = map["data"]["gateway.toml"].as_str();
    Ok(text.context("no gateway.toml")?.to_owned())
}

/// Seconds of a key that is written as `NAME = "30s"`.
fn seconds(config: &str, name: &str) -> Result<u64> {
    let begin = format!("{name} = \"");
    let value = config.lines().find_map(|line| line.strip_prefix(&begin));
    let (value, _) = value
        .and_then(|value| value.split_once("s\""))
        .context("no such key")?;
    Ok(value.parse()?)
}

#[tokio::test]
async fn a_pod_has_the_time_that_its_gateway_takes_to_end() -> Result<()> {
    for folder in FOLDERS {
        let all = objects(folder).await?;
        let pod = &object(&all, "Deployment", "gateway")?["spec"]["template"]["spec"];
        let pre_stop = &pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"];
        assert_eq!(pre_stop[0], "sleep");
        let pause: u64 = pre_stop[1].as_str().context("no pause")?.parse()?;
        let grace = pod["terminationGracePeriodSeconds"]
            .as_u64()
            .context("no grace")?;
        let shutdown = seconds(&configuration(folder).await?, "shutdown")?;
        assert_eq!(grace, pause + shutdown + ENDING, "{folder}");
    }
    Ok(())
}

/// As in the pod, but for what is at other places here: ports, files and Redis.
#[tokio::test]
async fn its_configuration_and_probes_are_the_gateways() -> Result<()> {
    for folder in FOLDERS {
        let (home, redis) = (tempfile::tempdir()?, Redis::start().await?);
        let at = |name: &str| home.path().join(name).display().to_string();
        let config = configuration(folder).await?;
        // Redis has none here.
        let lines = config
            .lines()
            .filter(|line| !line.starts_with("password_file"));
        std::fs::write(at("gateway.toml"), lines.collect::<Vec<_>>().join("\n"))?;
        let (port, admin) = (free_port(), free_port());
        let environment = [
            ("GATEWAY_CONFIG", at("gateway.toml")),
            ("GATEWAY__LISTEN", format!("127.0.0.1:{port}")),
            ("GATEWAY__ADMIN_LISTEN", format!("127.0.0.1:{admin}")),
            ("GATEWAY__KEYS_DIR", at("keys")),
            ("GATEWAY__STORE__URL", redis.url()),
            ("GATEWAY__AUDIT__FILE", at("audit.jsonl")),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        let all = objects(folder).await?;
        let pod = &object(&all, "Deployment", "gateway")?["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let words: Vec<&str> = container["args"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let program = Program::start(&binary("gateway"), home.path(), &words, &environment)?;
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let ask = &container[probe]["httpGet"];
            assert_eq!(ask["port"], "admin");
            let path = ask["path"].as_str().context("no path")?;
            let url = format!("http://127.0.0.1:{admin}{path}");
            let mut tries = 0;
            while http::get(&url).await.map_or(0, |reply| reply.status) != 200 {
                tries += 1;
                ensure!(tries < 300, "{probe}: {}", program.last_words());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    Ok(())
}

/// The lines of the manual that make the keys, but for what needs a cluster.
fn manual_commands() -> Result<String> {
    let manual = workspace().join("conf/documents/systemd-and-kubernetes.md");
    let manual = std::fs::read_to_string(manual)?;
    let blocks = manual.split("```sh\n").skip(1);
    let block = blocks
        .filter_map(|block| block.split("```").next())
        .find(|block| block.contains("tags.key"))
        .context("no block makes the keys")?;
    let lines = block.lines().filter(|line| !line.contains("kubectl"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

#[tokio::test]
async fn the_keys_that_the_manual_makes_and_the_pod_copies_are_keys() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (code, _, errors) = run_in(
        folder.path(),
        std::path::Path::new("sh"),
        &["-euc", &manual_commands()?],
        "",
    )
    .await?;
    assert_eq!(code, 0, "{errors}");
    // As the first container of the pod does it.
    let all = objects("base").await?;
    let pod = &object(&all, "Deployment", "gateway")?["spec"]["template"]["spec"];
    let command = &pod["initContainers"][0]["command"];
    assert_eq!(command[0], "sh");
    let script = command[2].as_str().context("no script")?;
    let at = |name: &str| folder.path().join(name).display().to_string();
    let script = script
        .replace("/run/secrets/gateway-keys", &at("keys"))
        .replace("/run/gateway/keys", &at("copied"));
    let (code, _, errors) = run(std::path::Path::new("sh"), &["-euc", &script], "").await?;
    assert_eq!(code, 0, "{errors}");

    let gateway = Gateway::start(Setup {
        environment: vec![("GATEWAY__KEYS_DIR".to_owned(), at("copied"))],
        ..Setup::default()
    })
    .await?;
    let ready = http::get(&gateway.admin_url("/readyz")).await?;
    ensure!(!ready.text.contains("unsafe"), "{}", ready.text);
    gateway
        .prints(|line| line.contains("/copied (kept)"))
        .await?;
    // The token for the operator's commands is the one of the Secret.
    let token = std::fs::read_to_string(at("keys/admin.token"))?;
    let bearer = format!("Bearer {}", token.trim());
    let url = gateway.admin_url("/v1/grants");
    let reply = http::ask("GET", &url, &[("Authorization", &bearer)]).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    Ok(())
}
