//! `GET /documents/{id}`: a page that shows a document as plain text, so that citations open.
//!
//! Documents are written by others: everything is escaped, and the page may load nothing but its
//! own style sheet.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::catalog::{FIRST_READING, Library};
use crate::document::DocumentId;
use crate::entry::Page;

const SECURITY: [(header::HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "private, no-cache"),
];

const STYLE: &str = "\
:root { color-scheme: light dark; }
body { max-width: 46rem; margin: 0 auto; padding: 1.5rem; font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.4rem; line-height: 1.25; }
p.source, dt { opacity: .7; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; font-size: .9rem; }
dd { margin: 0; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: inherit; border-top: 1px solid; padding-top: 1rem; }
nav { display: flex; gap: 1.5rem; }
";

/// `GET /documents/{id}`
pub async fn page(State(library): State<Arc<Library>>, Path(id): Path<String>) -> Response {
    library.whole_within(FIRST_READING).await;
    let page = DocumentId::parse(&id).and_then(|id| library.catalog().fetch(&id));
    let (status, html) = match page {
        Some(page) => (StatusCode::OK, render(&page)),
        None if !library.is_whole() => (
            StatusCode::SERVICE_UNAVAILABLE,
            frame(
                "Not read yet",
                "<h1>Not read yet</h1>\n<p>The documents are still being read. Load this page again in some seconds.</p>\n",
            ),
        ),
        None => (
            StatusCode::NOT_FOUND,
            frame(
                "Not found",
                "<h1>Not found</h1>\n<p>No document has this address. It may have been moved or removed.</p>\n",
            ),
        ),
    };
    (
        status,
        SECURITY,
        [(header::CONTENT_TYPE, "text/html; charset=utf-8")],
        html,
    )
        .into_response()
}

/// `GET /documents/style.css`
pub async fn style() -> Response {
    (
        SECURITY,
        [(header::CONTENT_TYPE, "text/css; charset=utf-8")],
        STYLE,
    )
        .into_response()
}

fn render(page: &Page) -> String {
    let title = page.entry.title();
    let mut body = format!("<h1>{}</h1>\n<dl>\n", escaped(&title));
    let mut links = String::new();
    for (name, value) in &page.metadata {
        match name.as_str() {
            // Written by us, and an id: safe as a relative address.
            "previous" | "next" => links.push_str(&format!(
                "<a href=\"{0}\" rel=\"{name}\">{name}</a>\n",
                escaped(value)
            )),
            _ => body.push_str(&format!(
                "<dt>{}</dt><dd>{}</dd>\n",
                escaped(name),
                escaped(value)
            )),
        }
    }
    body.push_str(&format!(
        "</dl>\n<nav>\n{links}</nav>\n<pre>{}</pre>\n",
        escaped(&page.text)
    ));
    frame(&title, &body)
}

fn frame(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<link rel=\"stylesheet\" href=\"style.css\">\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escaped(title)
    )
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::entry::Entry;
    use crate::format::Format;

    #[test]
    fn nothing_from_a_document_is_markup() {
        let attack = "<script>alert('1')</script>\"&";
        let json = serde_json::json!([{ "id": attack, "title": attack, "text": attack, "metadata": { "next": attack, attack: attack } }]);
        let parsed = Format::Records
            .parse("r.json", json.to_string().as_bytes())
            .unwrap();
        let document = Arc::new(parsed.documents.into_iter().next().unwrap());
        let (_, entry) = Entry::all(&document).remove(0);
        let metadata: BTreeMap<_, _> = document.metadata.clone();
        let html = render(&Page {
            entry,
            text: document.text.clone(),
            metadata,
        });
        assert!(!html.contains("<script"), "{html}");
        assert!(!html.contains("href=\"<"), "{html}");
        assert!(html.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;"));
    }
}
