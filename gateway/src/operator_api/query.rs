//! Questions: the parameters of a GET, which one list of fields writes and reads.

use gateway_core::protocol::form::{Form, FormError};

/// Why a query can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// It is no form, or a parameter stands twice.
    #[error(transparent)]
    Form(#[from] FormError),
    /// A parameter must be given.
    #[error("the parameter {0} is missing")]
    Missing(&'static str),
    /// More entries than a page has.
    #[error("limit is a number from 1 to {}", Limit::MOST)]
    Limit,
}

/// The parameters of a question.
pub trait Query: Sized {
    /// Name and value of each; `None`: it is left out.
    fn parameters(&self) -> Vec<(&'static str, Option<String>)>;

    /// Reads them. Others are left out of account.
    fn read(form: &Form) -> Result<Self, QueryError>;
}

/// One parameter.
trait Parameter: Sized {
    fn write(&self) -> Option<String>;
    fn read(name: &'static str, form: &Form) -> Result<Self, QueryError>;
}

impl Parameter for Option<String> {
    fn write(&self) -> Option<String> {
        self.clone()
    }

    fn read(name: &'static str, form: &Form) -> Result<Self, QueryError> {
        Ok(form.one(name)?.map(str::to_owned))
    }
}

impl Parameter for String {
    fn write(&self) -> Option<String> {
        Some(self.clone())
    }

    fn read(name: &'static str, form: &Form) -> Result<Self, QueryError> {
        <Option<String>>::read(name, form)?.ok_or(QueryError::Missing(name))
    }
}

/// How many entries a page may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub u16);

impl Limit {
    /// The largest page.
    pub const MOST: u16 = 1000;
    /// Where nothing else is asked for.
    pub const USUAL: u16 = 100;

    /// As a length.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

impl Parameter for Limit {
    fn write(&self) -> Option<String> {
        Some(self.0.to_string())
    }

    fn read(name: &'static str, form: &Form) -> Result<Self, QueryError> {
        match form.one(name)?.map_or(Ok(Self::USUAL), str::parse) {
            Ok(limit @ 1..=Self::MOST) => Ok(Self(limit)),
            _ => Err(QueryError::Limit),
        }
    }
}

/// A query whose parameters have the names of the fields.
macro_rules! query {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $about:literal])+ $field:ident: $type:ty,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[doc = $about])+ pub $field: $type,)+ }

        impl Query for $name {
            fn parameters(&self) -> Vec<(&'static str, Option<String>)> {
                vec![$((stringify!($field), self.$field.write()),)+]
            }

            fn read(form: &Form) -> Result<Self, QueryError> {
                Ok(Self { $($field: Parameter::read(stringify!($field), form)?,)+ })
            }
        }
    };
}

query! {
    /// Which part of a list.
    PageQuery {
        /// The most entries.
        limit: Limit,
        /// The last entry of the page before.
        after: Option<String>,
    }
}

query! {
    /// One entry.
    IdQuery {
        /// Its id.
        id: String,
    }
}

query! {
    /// Which grants.
    GrantsQuery {
        /// The most entries.
        limit: Limit,
        /// The last entry of the page before.
        after: Option<String>,
        /// Of this user: an id or a login name.
        user: Option<String>,
        /// Of this client.
        client: Option<String>,
    }
}

query! {
    /// Which streams.
    StreamsQuery {
        /// The most entries.
        limit: Limit,
        /// The last entry of the page before.
        after: Option<String>,
        /// Of this user: an id or a login name.
        user: Option<String>,
        /// Of this client.
        client: Option<String>,
        /// Of this grant.
        grant: Option<String>,
    }
}

query! {
    /// A page of a backup.
    BackupPageQuery {
        /// The id of the backup.
        id: String,
        /// The number of the page, from 0.
        page: String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(query: &str) -> Form {
        Form::parse(query.as_bytes()).unwrap()
    }

    #[test]
    fn a_page_has_bounds() {
        let limit = |query: &str| PageQuery::read(&form(query)).map(|query| query.limit.get());
        assert_eq!(limit(""), Ok(100));
        assert_eq!(limit("limit=1000"), Ok(1000));
        for wrong in [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=x",
            "limit=1&limit=2",
        ] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_query_is_read_as_it_was_written() {
        let query = StreamsQuery {
            limit: Limit(7),
            after: None,
            user: Some("bob & co".to_owned()),
            client: None,
            grant: Some("g_1".to_owned()),
        };
        let mut written = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in query.parameters() {
            written.extend_pairs(value.map(|value| (name, value)));
        }
        assert_eq!(StreamsQuery::read(&form(&written.finish())), Ok(query));
        let missing = IdQuery::read(&form("")).unwrap_err();
        assert_eq!(missing.to_string(), "the parameter id is missing");
    }
}
