//! How much is kept of what another side sends. An answer is bounded as a whole; these keep an account small
//! whatever is in it.

/// The longest access token, in bytes: it has to fit into a header.
pub(crate) const ACCESS_TOKEN: usize = 8 * 1024;

/// The longest refresh token, in bytes.
pub(crate) const REFRESH_TOKEN: usize = 16 * 1024;

/// The longest URL, client id or client secret, in bytes.
pub(crate) const NAME: usize = 2 * 1024;

/// The longest name of an account, in characters: of a longer one the beginning is kept.
pub(crate) const CALLED: usize = 200;

/// How many scopes there may be, and how long each, in bytes.
const SCOPES: usize = 100;
const SCOPE: usize = 200;

/// The text, if it is no longer than `most` bytes.
///
/// # Errors
///
/// A sentence that names `what`, and not the text.
pub(crate) fn text(what: &str, text: String, most: usize) -> Result<String, String> {
    if text.len() <= most {
        Ok(text)
    } else {
        Err(format!("its {what} is longer than {most} bytes"))
    }
}

/// The scopes that a text names, which some part by commas.
///
/// # Errors
///
/// A sentence for more or longer ones than are kept.
pub(crate) fn scopes<'t>(names: impl IntoIterator<Item = &'t str>) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for name in names {
        if all.len() == SCOPES {
            return Err(format!("it names more than {SCOPES} scopes"));
        }
        all.push(text("scope", name.to_owned(), SCOPE)?);
    }
    Ok(all)
}

/// What an account is called.
pub(crate) fn called(name: &str) -> String {
    name.chars().take(CALLED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_longer_is_refused_by_its_name_and_never_repeated() {
        assert!(text("refresh_token", "x".repeat(10), 10).is_ok());
        let refused = text("refresh_token", "secret".repeat(10), 10).unwrap_err();
        assert!(refused.contains("refresh_token") && !refused.contains("secret"));
        assert_eq!(scopes(["a", "b"]).unwrap(), ["a", "b"]);
        assert!(scopes(std::iter::repeat_n("a", 100)).is_ok());
        assert!(scopes(std::iter::repeat_n("a", 101)).is_err());
        assert!(scopes([&*"x".repeat(201)]).is_err());
        assert_eq!(called(&"\u{e9}".repeat(300)).chars().count(), 200);
    }
}
