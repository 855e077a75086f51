//! The embedded store's own proofs: the contract, the lock, a crash, a full disk.

use std::path::PathBuf;

use super::*;
use crate::store::contract;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = crate::secret::identifier("gateway-store-", &mut rand::rngs::OsRng);
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn embedded_keeps_every_promise_of_a_store() {
    let root = Folder::new();
    let number = std::sync::atomic::AtomicU64::new(0);
    contract::every_promise(|| async {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = root.0.join(number.to_string());
        Arc::new(Embedded::open(&folder).unwrap()) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn a_state_folder_has_one_gateway_and_only_its_user_reads_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let first = Embedded::open(&folder.0).unwrap();
    let refused = Embedded::open(&folder.0).unwrap_err();
    assert!(matches!(refused, OpenError::InUse(_)), "{refused}");
    assert!(refused.to_string().contains("another gateway is using"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.0), 0o700);
    assert_eq!(mode(&folder.0.join("gateway.redb")), 0o600);
    drop(first);
    Embedded::open(&folder.0).unwrap();
}
