//! What a backend calls its own paths, as paths at its configured address.

use super::backend::Backend;

/// Where messages go that a backend's legacy stream names an endpoint for, as path and query at this
/// backend: absolute, or relative to the path and query of that stream (`stream`), which are those of a
/// redirect where it was redirected (RFC 3986 §5.1.3). It may call itself by another name than we do,
/// such as its public one: messages go to the configured address in any case. `None` for what is no
/// URL of http.
pub fn endpoint_path(backend: &Backend, stream: &str, text: &str) -> Option<String> {
    let base = url::Url::parse(&backend.origin()).ok()?;
    let resolved = base.join(stream).ok()?.join(text).ok()?;
    matches!(resolved.scheme(), "http" | "https").then(|| path_and_query(&resolved))
}

/// Path and query of a URL.
pub(super) fn path_and_query(url: &url::Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}
