//! What types have in common that are a text, and the `Debug` of those that must not be printed.

/// Whether a text has letters and digits of ASCII, and these others, and nothing else.
pub(crate) fn is_alphanumeric_or(text: &str, others: &[u8]) -> bool {
    let mut bytes = text.bytes();
    bytes.all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
}

/// Gives the text of each of these types, and shows them as it.
macro_rules! shown_as_text {
    ($($name:ident),+) => {$(
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

/// `Debug` for these types that tells nothing of a value but its type.
macro_rules! hidden {
    ($($name:ident),+) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )+};
}

pub(crate) use {hidden, shown_as_text};
