//! Questions: the parameters of a GET, which one list of fields writes and reads, and takes from a command line.

use std::fmt;

use clap::Args;
use clap::builder::TypedValueParser;

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
    /// Name and value of each that is given.
    fn parameters(&self) -> Vec<(&'static str, String)>;

    /// Reads them. Others are left out of account.
    fn read(form: &Form) -> Result<Self, QueryError>;
}

/// A field of a query: a parameter of its name, or several.
trait Field: Sized {
    fn write(&self, name: &'static str) -> Vec<(&'static str, String)>;
    fn of(name: &'static str, form: &Form) -> Result<Self, QueryError>;
}

impl Field for Option<String> {
    fn write(&self, name: &'static str) -> Vec<(&'static str, String)> {
        self.iter().map(|value| (name, value.clone())).collect()
    }

    fn of(name: &'static str, form: &Form) -> Result<Self, QueryError> {
        Ok(form.one(name)?.map(str::to_owned))
    }
}

impl Field for String {
    fn write(&self, name: &'static str) -> Vec<(&'static str, String)> {
        vec![(name, self.clone())]
    }

    fn of(name: &'static str, form: &Form) -> Result<Self, QueryError> {
        <Option<String>>::of(name, form)?.ok_or(QueryError::Missing(name))
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

    fn parser() -> impl TypedValueParser<Value = Self> {
        let numbers = clap::value_parser!(u16).range(1..=i64::from(Self::MOST));
        numbers.map(Self)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Field for Limit {
    fn write(&self, name: &'static str) -> Vec<(&'static str, String)> {
        vec![(name, self.to_string())]
    }

    fn of(name: &'static str, form: &Form) -> Result<Self, QueryError> {
        match form.one(name)?.map_or(Ok(Self::USUAL), str::parse) {
            Ok(limit @ 1..=Self::MOST) => Ok(Self(limit)),
            _ => Err(QueryError::Limit),
        }
    }
}

impl Field for PageQuery {
    fn write(&self, _name: &'static str) -> Vec<(&'static str, String)> {
        self.parameters()
    }

    fn of(_name: &'static str, form: &Form) -> Result<Self, QueryError> {
        Self::read(form)
    }
}

/// A query whose parameters have the names of the fields.
macro_rules! query {
    ($(#[$about:meta])+ $name:ident { $($(#[$about_field:meta])+ $field:ident: $type:ty,)+ }) => {
        $(#[$about])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$about_field])+ pub $field: $type,)+ }

        impl Query for $name {
            fn parameters(&self) -> Vec<(&'static str, String)> {
                [$(Field::write(&self.$field, stringify!($field)),)+].concat()
            }

            fn read(form: &Form) -> Result<Self, QueryError> {
                Ok(Self { $($field: Field::of(stringify!($field), form)?,)+ })
            }
        }
    };
}

query! {
    /// Which part of a list.
    #[derive(Args)]
    PageQuery {
        /// How many, up to 1000
        #[arg(long, default_value_t = Limit(Limit::USUAL), value_parser = Limit::parser())]
        limit: Limit,
        /// Go on after this one
        #[arg(long, value_name = "ID")]
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
    #[derive(Args)]
    GrantsQuery {
        /// Of this person: a login name or an id
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Of this client
        #[arg(long, value_name = "ID")]
        client: Option<String>,
        /// Which part of them.
        #[command(flatten)]
        page: PageQuery,
    }
}

query! {
    /// Which streams.
    #[derive(Args)]
    StreamsQuery {
        /// Of this person: a login name or an id
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Of this client
        #[arg(long, value_name = "ID")]
        client: Option<String>,
        /// Of this grant
        #[arg(long, value_name = "ID")]
        grant: Option<String>,
        /// Which part of them.
        #[command(flatten)]
        page: PageQuery,
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
            user: Some("bob & co".to_owned()),
            client: None,
            grant: Some("g_1".to_owned()),
            page: PageQuery {
                limit: Limit(7),
                after: None,
            },
        };
        let mut written = url::form_urlencoded::Serializer::new(String::new());
        written.extend_pairs(query.parameters());
        assert_eq!(StreamsQuery::read(&form(&written.finish())), Ok(query));
        let missing = IdQuery::read(&form("")).unwrap_err();
        assert_eq!(missing.to_string(), "the parameter id is missing");
    }
}
