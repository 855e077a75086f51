//! The backends as the lane needs to know them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use gateway_lane::{self as lane, Address};
use gateway_upstream::{Backend, Connections, Failure, RESOLVED};
use parking_lot::Mutex;

/// Backends by name, their addresses for as long as a resolved name counts.
#[derive(Debug, Default)]
pub(super) struct Backends(Mutex<HashMap<String, CachedBackend>>, AtomicU64);

#[derive(Debug)]
struct CachedBackend {
    until: Instant,
    backend: Arc<lane::Backend>,
}

impl Backends {
    /// The backend and where it listens now.
    pub(super) async fn get(
        &self,
        backend: &Backend,
        connections: &Connections,
    ) -> Result<Arc<lane::Backend>, Failure> {
        let name = &backend.mount.name;
        if let Some(known) = self.0.lock().get(name)
            && Instant::now() < known.until
        {
            return Ok(Arc::clone(&known.backend));
        }
        // Boxed: it happens seldom.
        let addresses = Box::pin(connections.addresses(backend)).await?;
        let addresses: Vec<Address> = addresses.into_iter().map(Address::Tcp).collect();
        let mut all = self.0.lock();
        let before = all.get(name).map(|known| &known.backend);
        let known = match before {
            Some(before) if is_same(&before.addresses, &addresses) => Arc::clone(before),
            // Its connections are for nobody any more where it has moved.
            _ => Arc::new(lane::Backend {
                id: self.1.fetch_add(1, Ordering::Relaxed),
                addresses,
                connect_time: backend.connect_timeout,
                response_time: backend.response_timeout,
                comes_up_until: connections.comes_up_until(backend),
            }),
        };
        let known = CachedBackend {
            until: Instant::now() + RESOLVED,
            backend: known,
        };
        let backend = Arc::clone(&known.backend);
        all.insert(name.clone(), known);
        Ok(backend)
    }
}

/// Whether two lists name the same addresses. Names are often resolved to them in another order.
fn is_same(one: &[Address], other: &[Address]) -> bool {
    one.len() == other.len() && one.iter().all(|address| other.contains(address))
}
