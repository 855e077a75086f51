//! The style sheet, the script for passkeys and the mark. Each is named after its content and may be cached for good.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};

use gateway_core::protocol::web::Response;

const STYLE_SHEET_BODY: &str = include_str!("../../assets/pages.css");
const SCRIPT_BODY: &str = include_str!("../../assets/passkey.js");
const MARK_BODY: &str = include_str!("../../assets/mark.svg");

/// The name of the style sheet under `/assets/`.
pub(super) const STYLE_SHEET: &str = match std::str::from_utf8(&STYLE_SHEET_NAME) {
    Ok(name) => name,
    Err(_) => panic!("a name is ASCII"),
};
const STYLE_SHEET_NAME: [u8; 26] = name(b"pages-", STYLE_SHEET_BODY, b".css");

/// The name of the script under `/assets/`.
pub(super) const SCRIPT: &str = match std::str::from_utf8(&SCRIPT_NAME) {
    Ok(name) => name,
    Err(_) => panic!("a name is ASCII"),
};
const SCRIPT_NAME: [u8; 27] = name(b"passkey-", SCRIPT_BODY, b".js");

/// The name of the mark under `/assets/`.
pub(super) const MARK: &str = match std::str::from_utf8(&MARK_NAME) {
    Ok(name) => name,
    Err(_) => panic!("a name is ASCII"),
};
const MARK_NAME: [u8; 25] = name(b"mark-", MARK_BODY, b".svg");

/// The file at a path such as `/assets/pages-0123456789abcdef.css`. `None` for any other path,
/// also for a name of an earlier version.
pub fn asset(path: &str) -> Option<Response> {
    let name = path.strip_prefix("/assets/")?;
    let (media_type, body) = match name {
        STYLE_SHEET => ("text/css; charset=utf-8", STYLE_SHEET_BODY),
        SCRIPT => ("text/javascript; charset=utf-8", SCRIPT_BODY),
        MARK => ("image/svg+xml", MARK_BODY),
        _ => return None,
    };
    let mut response = Response::new(Bytes::from_static(body.as_bytes()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=31536000, immutable"),
    );
    Some(response)
}

/// `stem`, 64 bits of FNV-1a over the content in hexadecimal, `extension`. It tells versions
/// apart; it protects nothing.
const fn name<const N: usize>(stem: &[u8], content: &str, extension: &[u8]) -> [u8; N] {
    assert!(N == stem.len() + 16 + extension.len());
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let bytes = content.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    let mut name = [0; N];
    let mut to = 0;
    while to < N {
        name[to] = if to < stem.len() {
            stem[to]
        } else if to < stem.len() + 16 {
            let shift = 60 - 4 * (to - stem.len()) as u32;
            b"0123456789abcdef"[(hash >> shift & 15) as usize]
        } else {
            extension[to - stem.len() - 16]
        };
        to += 1;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_is_served_under_the_name_of_its_content_only() {
        let style = asset(&format!("/assets/{STYLE_SHEET}")).unwrap();
        assert_eq!(style.headers()[CONTENT_TYPE], "text/css; charset=utf-8");
        assert!(
            style.headers()[CACHE_CONTROL]
                .to_str()
                .unwrap()
                .ends_with("immutable")
        );
        assert!(asset(&format!("/assets/{MARK}")).is_some());
        let script = asset(&format!("/assets/{SCRIPT}")).unwrap();
        assert_eq!(
            script.headers()[CONTENT_TYPE],
            "text/javascript; charset=utf-8"
        );
        for path in [
            "/assets/",
            "/assets/pages.css",
            "/assets/../mark.svg",
            STYLE_SHEET,
        ] {
            assert!(asset(path).is_none(), "{path}");
        }
    }

    #[test]
    fn no_asset_reaches_outside() {
        for body in [
            STYLE_SHEET_BODY,
            SCRIPT_BODY,
            MARK_BODY.trim_start_matches("<svg xmlns=\"http://www.w3.org/2000/svg\""),
        ] {
            assert!(!body.contains("http"), "{body}");
            assert!(!body.contains("@import"));
            assert!(!body.contains("url("));
        }
    }
}
